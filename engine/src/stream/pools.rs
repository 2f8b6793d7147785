//! Carries out what the worker's pools decide, and tells them what became of connections.
//!
//! In: outcomes of dials, events that concern a whole connection to an endpoint. Out: dials, closes, exchanges served or not.

use std::rc::Rc;
use std::sync::Arc;

use super::Streams;
use super::binding::{Binding, FarEnd, Upstream};
use super::port::{Close, Dial, DialError, DialErrorKind, DialTls, Port, Speak, Traffic, is_http2};
use crate::codec::contract::Command;
use crate::codec::{h1, h2};
use crate::message::{Key, Protocol, ResetReason};
use crate::plan::{Address, UpstreamHttp};
use crate::telemetry::ClusterCounter;
use crate::tls::{ClientCell, FaultKind};
use crate::upstream::{DialOrder, Failure, PoolProtocol, Remote, Step};

/// Streams an HTTP/2 endpoint is believed to take before its SETTINGS say so (RFC 9113 §6.5.2 recommends no less).
const STREAMS_UNTIL_TOLD: u32 = 100;

/// In front of a framed protocol's name, by which a call's connection tells it to sidecars of the mesh (`compile/tls.py` has it too).
const RPC_NAME: &str = "mainstay-";

/// Where to dial.
pub fn address_of(remote: &Remote) -> Address {
    match remote {
        Remote::Socket(address) => Address::Socket { ip: address.ip(), port: address.port() },
        Remote::Pipe(path) => Address::Pipe { path: path.to_string() },
    }
}

/// TLS of a dial; `wanted` says which of the context's application protocols may be offered.
pub fn dial_tls(
    cell: &ClientCell,
    host: Option<Arc<str>>,
    wanted: impl Fn(&str) -> bool,
    instead: Option<&[&str]>,
) -> DialTls {
    let known = &cell.plan().application_protocols;
    let offered: Vec<&str> = match instead {
        Some(names) => names.to_vec(),
        None => known.iter().map(String::as_str).filter(|name| wanted(name)).collect(),
    };
    let differs =
        offered.len() != known.len() || offered.iter().zip(known).any(|(left, right)| left != right);
    DialTls {
        context: cell.load(),
        host,
        application_protocols: differs.then(|| offered.iter().map(|name| name.as_bytes().to_vec()).collect()),
    }
}

/// What a framed protocol may call itself: no HTTP. A context that knows nothing else names the mesh by HTTP's names, and the
/// server's chain goes by these. Within the mesh `own` goes first: a server whose port declares nothing has a chain for it, and
/// to all others the next name says what it always said.
fn rpc_offers<'a>(cell: &'a ClientCell, own: &'a str) -> Vec<&'a str> {
    let known = cell.plan().application_protocols.iter().map(String::as_str);
    let is_http = |name: &str| name.contains("http/1") || is_http2(name);
    let only_http = known.clone().all(is_http);
    let may_offer = |name: &&str| if only_http { name.starts_with("istio") } else { !is_http(name) };
    let mut offered: Vec<_> = known.filter(may_offer).collect();
    if offered.iter().any(|name| name.starts_with("istio")) {
        offered.insert(0, own);
    }
    offered
}

fn http1(policy: &UpstreamHttp) -> h1::Settings {
    h1::Settings {
        max_head_bytes: policy.max_response_headers_bytes as usize,
        max_fields: policy.max_response_headers as usize,
        head_timeout: None,
        ..h1::Settings::default()
    }
}

fn http2(policy: &UpstreamHttp) -> h2::Settings {
    h2::Settings {
        max_head_bytes: policy.max_response_headers_bytes as usize,
        max_fields: policy.max_response_headers as usize,
        head_timeout: None,
        max_concurrent_streams: policy.http2.max_concurrent_streams,
        stream_window: policy.http2.stream_window,
        connection_window: policy.http2.connection_window,
        keepalive_interval: policy.http2.keepalive_interval,
        keepalive_timeout: policy
            .http2
            .keepalive_timeout
            .unwrap_or(h2::Settings::default().keepalive_timeout),
        ..h2::Settings::default()
    }
}

/// The dial that a pool ordered.
fn dial_of<P: Port>(port: &P, order: &DialOrder, resends: bool) -> Dial {
    let policy = order.cluster.policy();
    let key = &order.key;
    // Endpoints that take HTTP/1 within HTTP/2 are Mainstay's, and know what it means.
    let http2 =
        |policy| h2::Settings { resends: resends && order.endpoint.takes_http1_in_http2(), ..http2(policy) };
    let speak = match (&key.rpc, key.protocol) {
        (Some(spoken), _) => Speak::Rpc(spoken.protocol.clone()),
        (None, PoolProtocol::Http1) => Speak::Http1(http1(&policy.http)),
        (None, PoolProtocol::Http2) if !key.carries_http1 => Speak::Http2(http2(&policy.http)),
        (None, PoolProtocol::Http2 | PoolProtocol::Auto) => {
            Speak::Auto { http1: http1(&policy.http), http2: http2(&policy.http) }
        }
    };
    let host = key.server_name.clone();
    let own = key.rpc.as_ref().map(|spoken| format!("{RPC_NAME}{}", spoken.protocol.name()));
    let tls = order.endpoint.tls().map(|cell| match key.protocol {
        _ if let Some(own) = &own => dial_tls(cell, host, |_| true, Some(&rpc_offers(cell, own))),
        // Envoy's fallbacks, where the context itself offers nothing.
        kind if !key.carries_http1 && cell.plan().application_protocols.is_empty() => {
            let names: &[&str] = match kind {
                PoolProtocol::Http1 => &["http/1.1"],
                PoolProtocol::Http2 => &["h2"],
                PoolProtocol::Auto => &["h2", "http/1.1"],
            };
            dial_tls(cell, host, |_| true, Some(names))
        }
        _ if key.carries_http1 => dial_tls(cell, host, |_| true, Some(&["istio-h2", "h2"])),
        PoolProtocol::Http1 => dial_tls(cell, host, |name| !is_http2(name), None),
        PoolProtocol::Http2 => dial_tls(cell, host, |name| !name.contains("http/1"), None),
        PoolProtocol::Auto => dial_tls(cell, host, |_| true, None),
    });
    Dial {
        address: address_of(order.endpoint.address()),
        source: policy.source_address.clone(),
        tls,
        speak,
        deadline: port.now().after_milliseconds(policy.connect_timeout),
        keepalive: policy.tcp_keepalive,
        buffer_limit: policy.buffer_limit,
        binding: Binding::Upstream(Box::new(Upstream {
            carries_http1: key.carries_http1,
            ..Upstream::default()
        })),
    }
}

impl Streams {
    /// One step of the pools.
    pub(super) fn perform_step<P: Port>(&mut self, port: &mut P, step: Step) {
        match step {
            Step::Dial(order) => {
                let dial = dial_of(port, &order, self.shared.resends);
                let connection = port.dial(dial);
                let now = port.now();
                self.shared.pools.dialing(order.pool, connection, now);
            }
            Step::Serve { waiter, connection } => {
                let served = self.with(port, waiter, |exchange, turn| exchange.served(turn, connection));
                if !served {
                    let now = port.now();
                    self.shared.pools.give_back(connection, true, now);
                }
            }
            Step::Fail { waiter, why } => {
                let what = self.dial_failure.clone();
                self.with(port, waiter, |exchange, turn| {
                    exchange.notes.upstream_failure = what;
                    exchange.unserved(turn, why);
                });
            }
            Step::Close(connection) => {
                // HTTP/2 says goodbye; HTTP/1 has no word for it.
                let _ = port.perform(connection, Command::GoAway { gentle: false });
                port.close(connection, Close::Flushed);
            }
        }
    }

    /// A pooled connection is open.
    pub(super) fn pooled_connected<P: Port>(&mut self, port: &mut P, connection: Key) {
        let streams = match port.protocol(connection) {
            Some(Protocol::Http2) => STREAMS_UNTIL_TOLD,
            Some(Protocol::Rpc) => self.shared.pools.calls_of(connection),
            _ => 1,
        };
        let now = port.now();
        if port.peer(connection).is_some_and(|peer| peer.is_tls) {
            self.count_of(port, connection, ClusterCounter::SslHandshake);
            if port.peer(connection).is_some_and(|peer| peer.is_resumed) {
                self.count_of(port, connection, ClusterCounter::SslResumed);
            }
        }
        if let Some((_, endpoint)) = self.shared.pools.owner(connection) {
            endpoint.note_connected();
        }
        let peer = port.peer(connection).cloned().map(|peer| Rc::new(FarEnd(peer)));
        if let Some(Binding::Upstream(bound)) = port.binding(connection) {
            bound.peer = peer;
        }
        self.shared.pools.connected(connection, streams > 1, streams, now);
    }

    /// A pooled connection did not come about.
    pub(super) fn pooled_failed<P: Port>(&mut self, port: &mut P, connection: Key, error: DialError) {
        if let DialErrorKind::Tls(fault) = error.kind {
            match fault {
                FaultKind::UntrustedCertificate => {
                    self.count_of(port, connection, ClusterCounter::SslFailVerifyCa);
                }
                FaultKind::WrongName => self.count_of(port, connection, ClusterCounter::SslFailVerifySan),
                FaultKind::NoCertificate | FaultKind::Malformed | FaultKind::NotReady | FaultKind::Other => {}
            }
            self.count_of(port, connection, ClusterCounter::SslError);
        }
        if error.kind == DialErrorKind::Connect
            && let Some((cluster, endpoint)) = self.shared.pools.owner(connection)
        {
            cluster.note_declined(endpoint, port.now());
        }
        self.dial_failure = error.what;
        self.shared.pools.failed(connection, error.kind == DialErrorKind::Timeout);
        self.run(port);
        self.dial_failure.clear();
    }

    /// A connection to an endpoint is gone; what still ran on it goes with it.
    pub(super) fn pooled_closed<P: Port>(&mut self, port: &mut P, connection: Key, traffic: Traffic) {
        let left = match port.binding(connection) {
            Some(Binding::Upstream(bound)) => bound.streams.keys(),
            _ => Vec::new(),
        };
        let counter = match (traffic.by_peer, left.is_empty()) {
            (true, true) => &[ClusterCounter::CxDestroyRemote][..],
            (true, false) => &[ClusterCounter::CxDestroyRemote, ClusterCounter::CxDestroyRemoteWithActive],
            (false, true) => &[ClusterCounter::CxDestroyLocal],
            (false, false) => &[ClusterCounter::CxDestroyLocal, ClusterCounter::CxDestroyLocalWithActive],
        };
        for counter in counter {
            self.count_of(port, connection, *counter);
        }
        if let Some((cluster, _)) = self.shared.pools.owner(connection) {
            let cluster = Arc::clone(cluster);
            let now = port.now();
            let seat = self.shared.seats.take(&cluster, port.recorder(), now);
            seat.counters.add(ClusterCounter::CxRxBytes, signed(traffic.received));
            seat.counters.add(ClusterCounter::CxTxBytes, signed(traffic.sent));
        }
        for key in left {
            self.with(port, key, |exchange, turn| {
                exchange.upstream_reset(turn, ResetReason::ConnectionClosed, false);
            });
        }
        self.shared.pools.closed(connection);
    }

    pub(super) fn count_of<P: Port>(&mut self, port: &mut P, connection: Key, counter: ClusterCounter) {
        let Some((cluster, _)) = self.shared.pools.owner(connection) else { return };
        let cluster = Arc::clone(cluster);
        let now = port.now();
        self.shared.seats.take(&cluster, port.recorder(), now).counters.increment(counter);
    }
}

/// Counters are signed.
pub fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Why a dial of a pipe failed, as pools say it.
pub fn failure_of(error: &DialError) -> Failure {
    match error.kind {
        DialErrorKind::Timeout => Failure::ConnectTimeout,
        DialErrorKind::Connect | DialErrorKind::Tls(_) => Failure::Connect,
    }
}
