//! One connection's TLS: cipher text in, plain bytes out, and the other way round. Both roles.
//!
//! In: contiguous bytes as they arrived (what is not consumed is offered again with more behind it) and plain bytes to
//! send. Out: plain bytes, handshake bytes to send, and once the handshake is over what is known of the peer.
//! Edge-triggered trap: `open` consumes every whole record of its input, so nothing waits that no event announces.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error, HandshakeKind};

use super::certificate::describe;
use super::context::{ClientContext, ServerContext};
use super::verify::identity;
use crate::message::Peer;

/// Cipher text is at most this much longer than a 16 KiB piece of plain text.
const RECORD_OVERHEAD: usize = 64;
/// Handshake messages that may wait in front of what we want to write (tickets, key updates, alerts).
const MAX_PENDING: usize = 32;

/// What we want to write.
#[derive(Clone, Copy)]
enum Payload<'a> {
    Data(&'a [u8]),
    /// close_notify
    Close,
}

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

/// The handshake or a record failed. An alert for the peer already lies in the outgoing bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFault {
    /// For the log: rustls' words, without key material.
    pub what: String,
    pub kind: FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The peer had to show a certificate and did not.
    NoCertificate,
    /// Its chain is not trusted, expired, or for another use.
    UntrustedCertificate,
    /// Its chain is trusted, its names are not those wanted.
    WrongName,
    /// Bytes that are no TLS, or no record of this connection.
    Malformed,
    Other,
}

impl From<Error> for TlsFault {
    fn from(error: Error) -> Self {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let kind = match &error {
            Error::NoCertificatesPresented => FaultKind::NoCertificate,
            Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                FaultKind::WrongName
            }
            Error::InvalidCertificate(_) => FaultKind::UntrustedCertificate,
            Error::InvalidMessage(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord
            | Error::PeerMisbehaved(rustls::PeerMisbehaved::IllegalMiddleboxChangeCipherSpec) => {
                FaultKind::Malformed
            }
            _ => FaultKind::Other,
        };
        Self { what: error.to_string(), kind }
    }
}

impl Transport {
    pub fn server(context: &ServerContext) -> Result<Self, TlsFault> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&context.config))?;
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

enum Next {
    /// Something was done; ask again.
    Again,
    /// The payload is encrypted.
    Wrote,
    PeerClosed,
    /// All input is taken, and the connection may write.
    Traffic,
    /// More input is needed, or the connection is over.
    Blocked,
    Fault(TlsFault),
}

struct Step {
    discard: usize,
    next: Next,
}

fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
    payload: Option<Payload<'_>>,
) -> Step {
    let mut discard = status.discard;
    let next = match status.state {
        Err(error) => Next::Fault(error.into()),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut next = Next::Again;
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                    Err(error) => {
                        next = Next::Fault(error.into());
                        break;
                    }
                }
            }
            next
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            match grow(outgoing, 2_048, |target| data.encode(target).map_err(Refusal::from)) {
                Ok(()) => Next::Again,
                Err(fault) => Next::Fault(fault),
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Next::Again
        }
        Ok(ConnectionState::PeerClosed) => Next::PeerClosed,
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let wrote = match payload {
                None => return Step { discard, next: Next::Traffic },
                Some(Payload::Data(bytes)) => {
                    let size = bytes.len() + RECORD_OVERHEAD * (bytes.len() / 16_384 + 1);
                    grow(outgoing, size, |target| traffic.encrypt(bytes, target).map_err(Refusal::from))
                }
                Some(Payload::Close) => grow(outgoing, RECORD_OVERHEAD, |target| {
                    traffic.queue_close_notify(target).map_err(Refusal::from)
                }),
            };
            match wrote {
                Ok(()) => Next::Wrote,
                Err(fault) => Next::Fault(fault),
            }
        }
        Ok(ConnectionState::ReadEarlyData(_)) => {
            Next::Fault(TlsFault { what: "early data is not accepted".to_owned(), kind: FaultKind::Other })
        }
        Ok(_) => Next::Blocked,
    };
    Step { discard, next }
}

/// Why rustls did not fill the buffer.
enum Refusal {
    TooSmall(usize),
    Other(String),
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::TooSmall(required_size)
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<EncryptError> for Refusal {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::TooSmall(required_size)
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// Appends to `outgoing` what `act` writes, giving it more room if it asks.
fn grow(
    outgoing: &mut Vec<u8>,
    guess: usize,
    mut act: impl FnMut(&mut [u8]) -> Result<usize, Refusal>,
) -> Result<(), TlsFault> {
    let start = outgoing.len();
    let mut size = guess;
    loop {
        outgoing.resize(start + size, 0);
        match act(outgoing.get_mut(start..).unwrap_or(&mut [])) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(Refusal::TooSmall(needed)) if needed > size => size = needed,
            Err(refusal) => {
                outgoing.truncate(start);
                let what = match refusal {
                    Refusal::TooSmall(_) => "no room for a record".to_owned(),
                    Refusal::Other(what) => what,
                };
                return Err(TlsFault { what, kind: FaultKind::Other });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        AlternativeNames, CertificateChain, DownstreamTls, SecretMaterial, StringMatch, StringTest,
        TlsVersion, TrustDomainBundle, UpstreamTls, ValidationContext,
    };
    use crate::tls::{Material, Secrets};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
    use std::collections::HashMap;

    struct Held(HashMap<String, Arc<SecretMaterial>>);

    impl Secrets for Held {
        fn material(&self, name: &str) -> Option<Arc<Material>> {
            Some(Arc::new(Material::compile(self.0.get(name)?, &|_| None).unwrap()))
        }
    }

    fn authority() -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (pem, Issuer::new(params, key))
    }

    fn leaf(issuer: &Issuer<'static, KeyPair>, uri: &str) -> SecretMaterial {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        SecretMaterial::Certificate {
            chain: CertificateChain {
                certificates: certificate.pem().into_bytes(),
                key: key.serialize_pem().into_bytes(),
                key_id: None,
            },
        }
    }

    const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/front";
    const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/cart";

    fn secrets() -> Held {
        let (root, issuer) = authority();
        let (other_root, other_issuer) = authority();
        let roots = SecretMaterial::Validation {
            context: ValidationContext {
                roots: vec![],
                domains: vec![
                    TrustDomainBundle { domain: "cluster.local".into(), roots: root.into_bytes() },
                    TrustDomainBundle { domain: "other.example".into(), roots: other_root.into_bytes() },
                ],
            },
        };
        let held = [
            ("client", leaf(&issuer, CLIENT)),
            ("server", leaf(&issuer, SERVER)),
            ("forged", leaf(&other_issuer, CLIENT)),
            ("foreign", leaf(&other_issuer, "spiffe://other.example/ns/a/sa/b")),
            ("roots", roots),
        ];
        Held(held.into_iter().map(|(name, material)| (name.to_owned(), Arc::new(material))).collect())
    }

    fn downstream(required: bool) -> DownstreamTls {
        DownstreamTls {
            certificates: vec!["server".into()],
            validation: Some("roots".into()),
            alternative_names: AlternativeNames::default(),
            require_client_certificate: required,
            application_protocols: vec!["h2".into(), "istio".into()],
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        }
    }

    fn upstream(certificate: Option<&str>, server: &str) -> UpstreamTls {
        UpstreamTls {
            certificates: certificate.map(str::to_owned).into_iter().collect(),
            validation: Some("roots".into()),
            alternative_names: AlternativeNames {
                any_of: vec![StringMatch {
                    test: StringTest::Exact { text: server.into() },
                    ignore_case: false,
                }],
            },
            server_name: "outbound_.80_._.cart".into(),
            auto_server_name: false,
            auto_san_validation: false,
            application_protocols: vec!["istio".into()],
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        }
    }

    /// Bytes on their way to one side, with what it could not use yet.
    #[derive(Default)]
    struct Line {
        waiting: Vec<u8>,
        plain: Vec<u8>,
    }

    fn pass(
        line: &mut Line,
        to: &mut Transport,
        bytes: &[u8],
        split: usize,
    ) -> Result<(Vec<u8>, Opened), TlsFault> {
        let (mut answer, mut last) = (Vec::new(), Opened::default());
        for piece in bytes.chunks(split) {
            line.waiting.extend_from_slice(piece);
            let opened = to.open(&mut line.waiting, &mut line.plain, &mut answer)?;
            line.waiting.drain(..opened.consumed);
            last.established |= opened.established;
            last.peer_closed = opened.peer_closed;
        }
        Ok((answer, last))
    }

    struct Pair {
        client: Transport,
        server: Transport,
        to_client: Line,
        to_server: Line,
    }

    fn shake(server: &ServerContext, client: &ClientContext, split: usize) -> Result<Pair, TlsFault> {
        let mut pair = Pair {
            client: Transport::client(client, None, None)?,
            server: Transport::server(server)?,
            to_client: Line::default(),
            to_server: Line::default(),
        };
        let mut flight = Vec::new();
        pair.client.open(&mut [], &mut Vec::new(), &mut flight)?;
        for _ in 0..8 {
            let (answer, _) = pass(&mut pair.to_server, &mut pair.server, &flight, split)?;
            let (next, _) = pass(&mut pair.to_client, &mut pair.client, &answer, split)?;
            flight = next;
            if flight.is_empty() && pair.client.is_established() && pair.server.is_established() {
                break;
            }
        }
        Ok(pair)
    }

    #[test]
    fn a_pair_shakes_hands_and_talks_whatever_the_split() {
        let held = secrets();
        let server = ServerContext::compile(&downstream(true), &held).unwrap();
        let client = ClientContext::compile(&upstream(Some("client"), SERVER), &held).unwrap();
        for split in [1, 7, 100_000] {
            let mut pair = shake(&server, &client, split).unwrap();
            let mut peer = Peer::default();
            pair.server.describe_peer(&mut peer, true);
            assert_eq!(peer.identity.as_ref().map(|id| id.as_str()), Some(CLIENT));
            assert_eq!(peer.application_protocol.as_deref(), Some("istio"));
            let message: Vec<u8> = (0..40_000u32).map(|number| number as u8).collect();
            let mut sealed = Vec::new();
            pair.client.seal(&message, &mut sealed).unwrap();
            pair.client.close(&mut sealed);
            let (_, opened) = pass(&mut pair.to_server, &mut pair.server, &sealed, split).unwrap();
            assert_eq!(pair.to_server.plain, message);
            assert!(opened.peer_closed);
            let mut answer = Vec::new();
            pair.server.seal(b"after your close", &mut answer).unwrap();
            pass(&mut pair.to_client, &mut pair.client, &answer, split).unwrap();
            assert_eq!(pair.to_client.plain, b"after your close");
        }
    }

    #[test]
    fn bytes_that_are_no_tls_get_one_alert() {
        let server = ServerContext::compile(&downstream(false), &secrets()).unwrap();
        let mut transport = Transport::server(&server).unwrap();
        let (mut plain, mut answer) = (Vec::new(), Vec::new());
        let mut request = *b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
        let fault = transport.open(&mut request, &mut plain, &mut answer).unwrap_err();
        assert_eq!((fault.kind, plain.len()), (FaultKind::Malformed, 0));
        // One record: type alert, two bytes, fatal (2).
        assert_eq!((answer.len(), answer.first(), answer.get(5)), (7, Some(&21), Some(&2)), "{answer:?}");
    }

    #[test]
    fn a_server_knows_the_uri_of_what_it_shows() {
        let server = ServerContext::compile(&downstream(false), &secrets()).unwrap();
        assert_eq!(server.own_uri(None).as_deref(), Some(SERVER));
    }

    #[test]
    fn who_may_not_talk_is_turned_away() {
        let held = secrets();
        let cases = [
            (Some("forged"), true, SERVER, "signed by the bundle of another domain"),
            (None, true, SERVER, "no certificate though one is required"),
            (Some("client"), true, "spiffe://cluster.local/ns/shop/sa/other", "server is another workload"),
        ];
        for (certificate, required, expected_server, what) in cases {
            let server = ServerContext::compile(&downstream(required), &held).unwrap();
            let client = ClientContext::compile(&upstream(certificate, expected_server), &held).unwrap();
            assert!(shake(&server, &client, 100_000).is_err(), "{what}");
        }
    }

    #[test]
    fn a_peer_of_another_trust_domain_is_judged_by_its_own_bundle() {
        let held = secrets();
        let server = ServerContext::compile(&downstream(true), &held).unwrap();
        let client = ClientContext::compile(&upstream(Some("foreign"), SERVER), &held).unwrap();
        let pair = shake(&server, &client, 100_000).unwrap();
        let mut peer = Peer::default();
        pair.server.describe_peer(&mut peer, true);
        assert_eq!(peer.identity.unwrap().trust_domain(), "other.example");
    }

    #[test]
    fn an_optional_certificate_may_be_missing() {
        let held = secrets();
        let server = ServerContext::compile(&downstream(false), &held).unwrap();
        let client = ClientContext::compile(&upstream(None, SERVER), &held).unwrap();
        let pair = shake(&server, &client, 100_000).unwrap();
        let mut peer = Peer::default();
        pair.server.describe_peer(&mut peer, true);
        assert_eq!(peer.identity, None);
        assert!(peer.is_tls);
    }

    #[test]
    fn a_second_connection_resumes_and_keeps_the_identity() {
        let held = secrets();
        let server = ServerContext::compile(&downstream(true), &held).unwrap();
        let client = ClientContext::compile(&upstream(Some("client"), SERVER), &held).unwrap();
        let first = shake(&server, &client, 100_000).unwrap();
        assert!(!first.server.is_resumed());
        let second = shake(&server, &client, 100_000).unwrap();
        assert!(second.server.is_resumed() && second.client.is_resumed());
        let mut peer = Peer::default();
        second.server.describe_peer(&mut peer, true);
        assert_eq!(peer.identity.as_ref().map(|id| id.as_str()), Some(CLIENT));
    }

    #[test]
    fn contexts_say_what_is_wrong() {
        let held = secrets();
        let mut plan = downstream(true);
        plan.certificates = vec!["nothing".into()];
        let refused = ServerContext::compile(&plan, &held).unwrap_err();
        assert_eq!(
            (refused.path.as_str(), refused.reason.as_str()),
            ("certificates[0]", "secret \"nothing\" is not there")
        );
        plan.certificates = vec!["roots".into()];
        assert!(ServerContext::compile(&plan, &held).unwrap_err().reason.contains("holds trust roots"));
        plan.certificates = vec!["server".into()];
        plan.min_version = TlsVersion::V1_3;
        plan.max_version = TlsVersion::V1_2;
        assert_eq!(ServerContext::compile(&plan, &held).unwrap_err().path, "min_version");
    }
}
