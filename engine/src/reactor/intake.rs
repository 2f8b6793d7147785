//! Connections that come in: listener filters over the first bytes, chain match, handshake, choice of the codec.
//!
//! In: a socket from a door. Out: a connection with chain, peer and codec, opened for `stream`. The first bytes are read
//! into the carry, not peeked at: whoever comes after the inspection finds them there. A connection whose listener has no
//! inspector is opened at once, so protocols whose server speaks first lose nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use super::choice::{Choice, choose, codec_of, recognise_in};
use super::connection::{Connection, Open, Phase, Secure, Transport};
use super::doors::{Admitted, Live};
use super::driver::{Driver, Incoming};
use super::inspection::{Inspection, Recognised};
use super::log::{Level, Room, Value};
use super::worker::Worker;
use crate::codec::detect::{Detected, detect};
use crate::codec::{AnyCodec, Framed, tcp};
use crate::message::{Key, Peer, ResetReason, ResponseFlags, Tick};
use crate::plan::ListenerFilter;
use crate::route::ChainInput;
use crate::snapshot::{Chain, Listener, Terminal};
use crate::stream::Binding;
use crate::stream::port::Port;
use crate::telemetry::{Facts, Group, ListenerCounter, Moments, PeerLabels};
use crate::tls::{self, FaultKind, TlsFault};

/// Milliseconds of silence on an HTTP connection whose version is not known yet, unless the manager says otherwise.
const CHOICE_TIMEOUT: u64 = 3_600_000;

/// Labels of a client of whom nothing is known.
static UNKNOWN: PeerLabels = PeerLabels::UNKNOWN;

/// Which listener a connection came through; its live connections are counted while this lives.
#[derive(Debug)]
pub(super) struct Origin {
    pub listener: Arc<Listener>,
    pub chain: Option<Arc<Chain>>,
    pub counters: Arc<Group<ListenerCounter>>,
    /// It came to a codec, and whoever is behind that records its end.
    served: bool,
    /// Why it did not come so far, with what the log says of it.
    failure: Failure,
    /// When it came: by the monotonic clock and on the wall.
    since: (Tick, u64),
    _live: Live,
}

/// What ended a connection before it had a codec.
#[derive(Debug, Default)]
enum Failure {
    /// The client left, or the listener went away.
    #[default]
    Gone,
    Silence,
    NoChain,
    Handshake(String),
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.counters.decrement(ListenerCounter::CxActive);
        self.counters.increment(ListenerCounter::CxDestroy);
    }
}

/// A connection whose chain is known and whose codec is not.
#[derive(Debug)]
pub(super) struct Arrival {
    pub chain: Arc<Chain>,
    pub detected: Option<Detected>,
    /// The framed protocol that the first bytes are of; `None`: nobody has looked.
    pub rpc: Option<Option<Framed>>,
}

impl<D: Driver> Worker<D> {
    /// Gives a connection that came in its slot. `None`: it is closed again (its listener is gone).
    pub(super) fn receive_connection(&mut self, admitted: Admitted<D::Socket>) -> Option<Key> {
        let Admitted { listener, incoming: Incoming { socket, remote }, live } = admitted;
        let bound = self.board.snapshot.listeners.get(&listener).cloned()?;
        let local = self.board.driver.local_address(&socket);
        let finds_original = bound.use_original_destination
            || bound.filters.iter().any(|filter| matches!(filter, ListenerFilter::OriginalDestination {}));
        let original =
            if finds_original { self.board.driver.original_destination(&socket).or(local) } else { None };
        let meant = original
            .filter(|_| bound.use_original_destination)
            .and_then(|destination| self.destinations.find(destination).cloned())
            .unwrap_or_else(|| Arc::clone(&bound));
        if let Some(keepalive) = &meant.tcp_keepalive {
            self.board.driver.set_keepalive(&socket, keepalive);
        }
        let destination = original.or(local);
        let listeners = [Some(&bound), (!Arc::ptr_eq(&bound, &meant)).then_some(&meant)];
        let filters = listeners
            .into_iter()
            .flatten()
            .flat_map(|listener| listener.filters.iter().map(|filter| (filter, &listener.sought)));
        let inspection = Inspection::new(filters, destination.map(|address| address.port()));
        let counters = self.listener_counters(&meant);
        counters.increment(ListenerCounter::CxTotal);
        counters.increment(ListenerCounter::CxActive);
        let peer = Peer { remote, local, original_destination: original, ..Peer::default() };
        let key = self.board.connections.next_key();
        let watched = self.board.driver.watch(&socket, key.to_bits());
        let mut connection =
            Connection::new(Some(socket), Phase::Inspecting(Box::new(inspection)), Arc::new(peer));
        connection.outbox.limit(meant.buffer_limit.unwrap_or(0));
        connection.deadline = meant.detection_timeout.map(|limit| self.board.now.after_milliseconds(limit));
        connection.origin = Some(Box::new(Origin {
            listener: meant,
            chain: None,
            counters,
            served: false,
            failure: Failure::default(),
            since: (self.board.now, self.board.wall()),
            _live: live,
        }));
        // What it holds is tried at once: most clients have spoken by now, and a new socket takes what is written.
        (connection.readable, connection.writable) = (true, true);
        self.board.insert(connection);
        if let Err(error) = watched {
            self.lose(key, &error.to_string());
            return None;
        }
        self.board.mark_ready(key);
        Some(key)
    }

    fn listener_counters(&mut self, listener: &Listener) -> Arc<Group<ListenerCounter>> {
        self.board.recorder.listener(&listener.stat_prefix)
    }

    /// New bytes for a connection without codec; they lie in its carry.
    pub(super) fn look(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let ended = connection.ended;
        if ended && connection.carry.is_empty() {
            // Nobody has spoken and nobody will.
            return self.finish(key, ResetReason::ConnectionClosed);
        }
        match &mut connection.phase {
            Phase::Inspecting(inspection) => {
                if inspection.is_over() || inspection.look(&connection.carry) || ended {
                    self.choose_chain(key);
                } else {
                    self.board.arm_connection(key);
                }
            }
            Phase::Choosing(arrival) => {
                let (framed, first) =
                    (recognise_in(&arrival.chain, &connection.carry), detect(&connection.carry));
                match (framed, first, ended) {
                    (Recognised::Yes(protocol), ..) => {
                        arrival.rpc = Some(Some(protocol));
                        self.choose_codec(key);
                    }
                    (Recognised::Wait, Detected::Wait | Detected::Tcp, false)
                    | (_, Detected::Wait, false) => {
                        self.board.arm_connection(key);
                    }
                    (_, found, _) => {
                        (arrival.detected, arrival.rpc) = (Some(found), Some(None));
                        self.choose_codec(key);
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn detection_timed_out(&mut self, key: Key) {
        let Some(origin) = self.origin_of(key) else { return };
        if origin.listener.continue_on_detection_timeout {
            origin.counters.increment(ListenerCounter::DetectedTcpByTimeout);
            self.choose_chain(key);
        } else {
            origin.counters.increment(ListenerCounter::PreCxTimeout);
            origin.failure = Failure::Silence;
            self.finish(key, ResetReason::Timeout);
        }
    }

    fn choose_chain(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let Some(origin) = connection.origin.as_deref_mut() else { return };
        let Phase::Inspecting(inspection) = std::mem::replace(&mut connection.phase, Phase::Lingering) else {
            return;
        };
        connection.deadline = None;
        let chain = find_chain(&origin.listener, &inspection, &connection.peer);
        let Some(chain) = chain else {
            origin.counters.increment(ListenerCounter::NoFilterChainMatch);
            origin.failure = Failure::NoChain;
            let (name, peer) = (Arc::clone(&origin.listener.name), connection.peer.remote);
            self.board.shared.log.say(Room::Reactor, Level::Debug, || {
                let peer = peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
                format!("no filter chain for a client listener={} peer={peer}", Value(name))
            });
            return self.finish(key, ResetReason::Refused);
        };
        origin.chain = Some(Arc::clone(&chain));
        let Inspection { hello, detected, .. } = *inspection;
        if let Some(name) = hello.and_then(|hello| hello.server_name) {
            let peer = Peer { server_name: Some(name.into()), ..Peer::clone(&connection.peer) };
            connection.peer = Arc::new(peer);
        }
        let Some(cell) = &chain.tls else {
            connection.phase = Phase::Accepting(Box::new(Arrival { chain, detected, rpc: None }));
            return self.choose_codec(key);
        };
        let session = match tls::Transport::server(&cell.load()) {
            Ok(session) => session,
            Err(fault) => {
                self.count_tls_fault(key, &fault);
                return self.lose(key, &fault.what);
            }
        };
        let limit = chain.handshake_timeout;
        connection.deadline = Some(self.board.now.after_milliseconds(limit));
        connection.phase = Phase::Accepting(Box::new(Arrival { chain, detected: None, rpc: None }));
        let mut secure = Secure::new(session);
        secure.carry = std::mem::take(&mut connection.carry);
        let has_bytes = !secure.carry.is_empty();
        connection.transport = Transport::Tls(secure);
        self.board.arm_connection(key);
        if has_bytes {
            self.advance(key);
        }
    }

    /// The handshake of a client is over: who it is, is known before its first byte.
    pub(super) fn accepted(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let (Phase::Accepting(arrival), Transport::Tls(secure)) = (&connection.phase, &connection.transport)
        else {
            return;
        };
        let verifies = arrival.chain.tls.as_ref().is_some_and(|cell| cell.verifies());
        let mut peer = Peer::clone(&connection.peer);
        secure.session.describe_peer(&mut peer, verifies);
        if peer.certificate.is_some() {
            let shown = |cell: &tls::ServerCell| cell.load().own_uri(peer.server_name.as_deref());
            peer.own_uri = arrival.chain.tls.as_ref().and_then(|cell| shown(cell));
        }
        connection.peer = Arc::new(peer);
        connection.deadline = None;
        if let Some(origin) = connection.origin.as_deref() {
            origin.counters.increment(ListenerCounter::SslHandshake);
            if secure.session.is_resumed() {
                origin.counters.increment(ListenerCounter::SslResumed);
            }
        }
        self.choose_codec(key);
    }

    /// By ALPN, else by the plan, else by the first bytes.
    fn choose_codec(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let arrival = match std::mem::replace(&mut connection.phase, Phase::Lingering) {
            Phase::Accepting(arrival) | Phase::Choosing(arrival) => arrival,
            _ => return,
        };
        let is_tls = connection.peer.is_tls;
        let codec: AnyCodec = match &arrival.chain.terminal {
            Terminal::Tcp(_) => tcp::Connection::new().into(),
            Terminal::Http(manager) => {
                let alpn = connection.peer.application_protocol.as_deref();
                match choose(manager, alpn, &arrival) {
                    Choice::Http(version) => codec_of(&manager.options, version, is_tls),
                    Choice::Rpc(protocol) => protocol.server(),
                    Choice::Look => {
                        let limit = manager.options.idle_timeout.unwrap_or(CHOICE_TIMEOUT);
                        connection.deadline = Some(self.board.now.after_milliseconds(limit));
                        connection.phase = Phase::Choosing(arrival);
                        if connection.carry.is_empty() && !connection.ended {
                            self.board.arm_connection(key);
                        } else {
                            self.look(key);
                        }
                        return;
                    }
                }
            }
        };
        connection.deadline = None;
        if let Some(origin) = connection.origin.as_deref_mut() {
            origin.served = true;
        }
        connection.phase = Phase::Open(Open { codec, binding: Binding::None });
        self.streams.opened(&mut self.board, key, &arrival.chain);
        self.join_drains(key);
        self.board.mark_dirty(key);
        if self
            .board
            .connections
            .get(key)
            .is_some_and(|connection| !connection.carry.is_empty() || connection.ended)
        {
            self.advance(key);
        }
    }

    fn origin_of(&mut self, key: Key) -> Option<&mut Origin> {
        self.board.connections.get_mut(key)?.origin.as_deref_mut()
    }

    /// The listener's logs tell of a connection that ends without having come to a codec; of others its chain tells.
    pub(super) fn log_unserved(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get(key) else { return };
        let Some(origin) = connection.origin.as_deref() else { return };
        if origin.served || origin.listener.access_logs.is_empty() {
            return;
        }
        let (flags, details, downstream_failure) = match &origin.failure {
            Failure::Gone => (ResponseFlags::DOWNSTREAM_TERMINATION, "downstream_remote_disconnect", ""),
            Failure::Silence => (ResponseFlags::default(), "listener_filters_timeout", ""),
            Failure::NoChain => (ResponseFlags::NO_ROUTE, "filter_chain_not_found", ""),
            Failure::Handshake(what) => {
                (ResponseFlags::default(), "downstream_handshake_failed", what.as_str())
            }
        };
        let (started, started_wall) = origin.since;
        let facts = Facts {
            filter_chain: origin.chain.as_ref().map_or("", |chain| &chain.name),
            flags,
            details,
            downstream_failure,
            moments: Moments { started, started_wall, ended: self.board.now, ..Moments::default() },
            connection_id: key.to_bits(),
            ..Facts::of_connection(&connection.peer, &UNKNOWN)
        };
        self.board.recorder.log(&origin.listener.access_logs, &facts);
    }

    pub(super) fn count_tls_fault(&mut self, key: Key, fault: &TlsFault) {
        let peer = self.board.connections.get(key).and_then(|connection| connection.peer.remote);
        let shared = Arc::clone(&self.board.shared);
        let Some(origin) = self.origin_of(key) else { return };
        origin.failure = Failure::Handshake(fault.what.clone());
        if fault.kind != FaultKind::NotReady {
            origin.counters.increment(ListenerCounter::SslError);
        }
        shared.log.say(Room::Tls, Level::Debug, || {
            let peer = peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
            let (listener, why) = (Value(&origin.listener.name), Value(&fault.what));
            format!("handshake with a client failed listener={listener} peer={peer} why={why}")
        });
        match fault.kind {
            FaultKind::NoCertificate => origin.counters.increment(ListenerCounter::SslNoCertificate),
            FaultKind::UntrustedCertificate => origin.counters.increment(ListenerCounter::SslFailVerifyCa),
            FaultKind::WrongName => origin.counters.increment(ListenerCounter::SslFailVerifySan),
            FaultKind::NotReady => origin.counters.increment(ListenerCounter::SecretsNotReady),
            FaultKind::Malformed | FaultKind::Other => {}
        }
    }

    pub(super) fn count_handshake_timeout(&mut self, key: Key) {
        if let Some(origin) = self.origin_of(key) {
            origin.counters.increment(ListenerCounter::CxTransportTimeout);
            origin.failure = Failure::Handshake("handshake timeout".to_owned());
        }
    }
}

fn find_chain(listener: &Listener, inspection: &Inspection, peer: &Peer) -> Option<Arc<Chain>> {
    let destination: Option<SocketAddr> = peer.original_destination.or(peer.local);
    let protocols = inspection.protocols();
    let input = ChainInput {
        destination,
        server_name: inspection.hello.as_ref().and_then(|hello| hello.server_name.as_deref()),
        is_tls: inspection.hello.is_some(),
        application_protocols: &protocols,
        direct_source: peer.remote,
        source: peer.remote,
    };
    listener.find_chain(&input).cloned()
}
