//! One connection's TLS: cipher text in, plain bytes out, and the other way round. Both roles.
//!
//! In: contiguous bytes as they arrived (what is not consumed is offered again with more behind it) and plain bytes to
//! send. Out: plain bytes, handshake bytes to send, and once the handshake is over what is known of the peer.
//! Edge-triggered trap: `open` consumes every whole record of its input, so nothing waits that no event announces.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{CommonState, HandshakeKind};

use super::certificate::describe;
use super::context::{ClientContext, ServerContext};
use super::fault::{FaultKind, TlsFault};
use super::step::{Next, Payload, step};
use super::verify::identity;
use crate::message::Peer;

/// Handshake messages that may wait in front of what we want to write (tickets, key updates, alerts).
const MAX_PENDING: usize = 32;

enum Side {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// The TLS state of one connection.
pub struct Transport {
    side: Side,
    established: bool,
    peer_closed: bool,
    sent_close: bool,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Transport(established: {})", self.established)
    }
}

/// What `open` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opened {
    /// Bytes of the input that are done with; the rest belongs into the carry.
    pub consumed: usize,
    /// The handshake ended in this call: `peer` may be asked now.
    pub established: bool,
    /// The peer sent close_notify: no more plain bytes will come.
    pub peer_closed: bool,
}

impl Transport {
    /// Fails where a secret of the context has not come yet.
    pub fn server(context: &ServerContext) -> Result<Self, TlsFault> {
        let config = context.config.as_ref().map_err(|missing| TlsFault {
            what: format!("secret \"{missing}\" is not there"),
            kind: FaultKind::NotReady,
        })?;
        let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self::new(Side::Server(Box::new(connection))))
    }

    /// `host`: the request's host, used when the context takes its server name from there.
    /// `protocols`: offered by ALPN instead of what the context says.
    pub fn client(
        context: &ClientContext,
        host: Option<&str>,
        protocols: Option<&[Vec<u8>]>,
    ) -> Result<Self, TlsFault> {
        let wanted = match host {
            Some(host) if context.auto_server_name => host,
            _ => context.server_name.as_str(),
        };
        // rustls wants some name even when none is sent; it is not checked unless the context says so.
        let name = ServerName::try_from(wanted.to_owned())
            .or_else(|_| ServerName::try_from("no-name.invalid"))
            .map_err(|_| TlsFault {
                what: "server name cannot be used".to_owned(),
                kind: FaultKind::Other,
            })?;
        let config = Arc::clone(&context.config);
        let connection = match protocols {
            Some(protocols) => UnbufferedClientConnection::new_with_alpn(config, name, protocols.to_vec())?,
            None => UnbufferedClientConnection::new(config, name)?,
        };
        Ok(Self::new(Side::Client(Box::new(connection))))
    }

    fn new(side: Side) -> Self {
        Self { side, established: false, peer_closed: false, sent_close: false }
    }

    pub fn is_established(&self) -> bool {
        self.established
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection) => connection,
            Side::Server(connection) => connection,
        }
    }

    /// Takes what has arrived: plain bytes are appended to `plain`, bytes to send to `outgoing`. A client's first call has
    /// an empty input and yields its hello.
    pub fn open(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<Opened, TlsFault> {
        let was_established = self.established;
        let mut opened = Opened::default();
        loop {
            let rest = input.get_mut(opened.consumed..).unwrap_or(&mut []);
            let step = match &mut self.side {
                Side::Client(connection) => step(connection.process_tls_records(rest), plain, outgoing, None),
                Side::Server(connection) => step(connection.process_tls_records(rest), plain, outgoing, None),
            };
            opened.consumed += step.discard;
            match step.next {
                Next::Again => {}
                Next::PeerClosed => self.peer_closed = true,
                Next::Traffic => {
                    self.established = true;
                    break;
                }
                Next::Wrote | Next::Blocked => break,
                Next::Fault(fault) => {
                    // A record that was refused is refused again when it is read again, with an alert of its own.
                    let rest = match fault.kind {
                        FaultKind::Malformed => &mut [],
                        _ => input.get_mut(opened.consumed..).unwrap_or(&mut []),
                    };
                    self.flush_alert(rest, outgoing);
                    return Err(fault);
                }
            }
        }
        opened.established = self.established && !was_established;
        opened.peer_closed = self.peer_closed;
        Ok(opened)
    }

    /// Encrypts plain bytes behind `outgoing`, in records of at most 16 KiB. Only after the handshake.
    pub fn seal(&mut self, plain: &[u8], outgoing: &mut Vec<u8>) -> Result<(), TlsFault> {
        if plain.is_empty() {
            return Ok(());
        }
        self.write(Payload::Data(plain), outgoing)
    }

    /// Tells the peer that nothing more will come (close_notify); once.
    pub fn close(&mut self, outgoing: &mut Vec<u8>) {
        if self.established && !self.sent_close {
            self.sent_close = true;
            // A connection that can no longer write has nothing to say goodbye on.
            let _ = self.write(Payload::Close, outgoing);
        }
    }

    fn write(&mut self, payload: Payload<'_>, outgoing: &mut Vec<u8>) -> Result<(), TlsFault> {
        // `open` has taken all there was to read, so no plain bytes can turn up here.
        let mut plain = Vec::new();
        for _ in 0..MAX_PENDING {
            let step = match &mut self.side {
                Side::Client(connection) => {
                    step(connection.process_tls_records(&mut []), &mut plain, outgoing, Some(payload))
                }
                Side::Server(connection) => {
                    step(connection.process_tls_records(&mut []), &mut plain, outgoing, Some(payload))
                }
            };
            match step.next {
                Next::Wrote => return Ok(()),
                Next::PeerClosed => self.peer_closed = true,
                Next::Again => {}
                Next::Traffic | Next::Blocked => break,
                Next::Fault(fault) => return Err(fault),
            }
        }
        Err(TlsFault { what: "the connection cannot be written to".to_owned(), kind: FaultKind::Other })
    }

    /// After a failure rustls may have queued an alert: let the peer know why. `rest`: the input that was not consumed, to
    /// which half-read handshake messages still refer.
    fn flush_alert(&mut self, rest: &mut [u8], outgoing: &mut Vec<u8>) {
        let mut plain = Vec::new();
        let mut consumed = 0;
        for _ in 0..MAX_PENDING {
            let rest = rest.get_mut(consumed..).unwrap_or(&mut []);
            let step = match &mut self.side {
                Side::Client(connection) => {
                    step(connection.process_tls_records(rest), &mut plain, outgoing, None)
                }
                Side::Server(connection) => {
                    step(connection.process_tls_records(rest), &mut plain, outgoing, None)
                }
            };
            consumed += step.discard;
            if !matches!(step.next, Next::Again) {
                return;
            }
        }
    }

    /// Fills in what the handshake has shown. The identity counts only if the certificate was verified, which a completed
    /// handshake implies for contexts with trust roots.
    pub fn describe_peer(&self, peer: &mut Peer, verified: bool) {
        let common = self.common();
        peer.is_tls = true;
        peer.application_protocol =
            common.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned().into());
        peer.tls_version = common.protocol_version().map(|version| match version {
            rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => "TLSv1.2",
        });
        peer.tls_cipher = common.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        if verified && let Some(leaf) = common.peer_certificates().and_then(|chain| chain.first()) {
            let certificate = describe(leaf);
            peer.identity = identity(&certificate);
            peer.certificate = Some(Arc::new(certificate));
        }
    }

    /// The handshake was shortened by a session of before.
    pub fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }
}
