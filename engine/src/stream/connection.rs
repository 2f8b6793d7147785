//! Connections of clients and of endpoints, as a whole: opened, told what happens on their streams, drained, closed.

use std::rc::Rc;
use std::sync::Arc;

use super::Streams;
use super::binding::{Binding, Born, Downstream, StreamTable};
use super::exchange::Exchange;
use super::origin::Origin;
use super::port::{Close, Owner, Port, TimerSlot, Traffic};
use super::shared::Whole;
use super::site::{HttpSite, Site};
use crate::codec::contract::{Command, ConnectionFault, Event};
use crate::filter::{Counts, NetworkContext, NetworkVerdict};
use crate::message::{Key, MILLISECOND, Protocol, RequestHead, ResetReason, Tick};
use crate::snapshot::{Chain, HttpManager, Terminal};
use crate::telemetry::{HttpCounter, class_of};

impl Streams {
    /// A client's connection whose chain is known, TLS done, codec made: `Server` of HTTP for a chain that ends in an HTTP
    /// manager, `tcp` for one that ends in a TCP proxy. Its binding is set here. It may be closed at once by a network filter.
    pub fn opened<P: Port>(&mut self, port: &mut P, connection: Key, chain: &Arc<Chain>) {
        match &chain.terminal {
            Terminal::Http(manager) => self.open_http(port, connection, chain, manager),
            Terminal::Tcp(proxy) => self.open_pipe(port, connection, chain, proxy),
        }
        self.run(port);
    }

    pub(super) fn next_connection_id(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    fn open_http<P: Port>(
        &mut self,
        port: &mut P,
        connection: Key,
        chain: &Arc<Chain>,
        manager: &Arc<HttpManager>,
    ) {
        let Some(peer) = port.peer(connection).cloned() else { return };
        let now = port.now();
        let counters = port.recorder().http(&manager.stat_prefix);
        counters.increment(HttpCounter::CxTotal);
        counters.increment(HttpCounter::CxActive);
        counters.increment(match port.protocol(connection) {
            Some(Protocol::Http2) => HttpCounter::CxHttp2Total,
            Some(Protocol::Rpc) => HttpCounter::CxRpcTotal,
            _ => HttpCounter::CxHttp1Total,
        });
        let context = NetworkContext { now, peer: &peer, counts: Counts::Http(&counters) };
        let verdict = chain.network_filters.on_connection(&context);
        let filters = self.shared.instances.of(&manager.filters);
        let http = HttpSite { manager: Arc::clone(manager), filters, counters };
        let site = Site::of(chain, &peer, Some(http), self.next_connection_id());
        let bound = Downstream {
            site: Rc::new(site),
            streams: StreamTable::default(),
            timer: TimerSlot::default(),
            since: now,
            idle_since: now,
            requests: 0,
            draining: false,
        };
        if let Some(binding) = port.binding(connection) {
            *binding = Binding::Downstream(Box::new(bound));
        }
        if let NetworkVerdict::Close { .. } = verdict {
            return port.close(connection, Close::Flushed);
        }
        self.arm_client(port, connection);
    }

    /// What happens to the exchange `key` of a client's stream.
    pub(super) fn client_event<P: Port>(&mut self, port: &mut P, key: Key, event: Event<'_>) {
        match event {
            Event::DataReceived { bytes, end, .. } => {
                let mirrors = self.mirrors_of(key);
                self.with(port, key, |exchange, turn| exchange.request_data(turn, bytes, end));
                for mirror in mirrors {
                    self.mirror_data(port, mirror, bytes, end);
                }
            }
            Event::TrailersReceived { trailers, .. } => {
                for mirror in self.mirrors_of(key) {
                    let trailers = trailers.clone();
                    self.with(port, mirror, |exchange, turn| exchange.request_trailers(turn, trailers));
                }
                self.with(port, key, |exchange, turn| exchange.request_trailers(turn, trailers));
            }
            Event::StreamReset { reason, .. } => {
                for mirror in self.mirrors_of(key) {
                    self.with(port, mirror, |exchange, turn| {
                        if !exchange.up.is_complete() {
                            exchange.origin_reset(turn, reason);
                        }
                    });
                }
                self.with(port, key, |exchange, turn| exchange.origin_reset(turn, reason));
            }
            Event::StreamWritable { .. } => {
                self.with(port, key, |exchange, turn| exchange.flush_down(turn));
            }
            Event::RequestReceived { .. }
            | Event::InterimReceived { .. }
            | Event::ResponseReceived { .. }
            | Event::CapacityChanged { .. }
            | Event::GoAwayReceived { .. }
            | Event::InputEnded => {}
        }
    }

    pub(super) fn begin_exchange<P: Port>(
        &mut self,
        port: &mut P,
        origin: Origin,
        born: Born,
        head: Box<RequestHead>,
        (body, end): (&[u8], bool),
    ) {
        let Born { key, site, requests } = born;
        let Some(http) = &site.http else { return };
        http.counters.increment(HttpCounter::RqTotal);
        http.counters.increment(HttpCounter::RqActive);
        http.counters.increment(match head.protocol {
            Protocol::Http2 => HttpCounter::RqHttp2Total,
            Protocol::Rpc => HttpCounter::RqRpcTotal,
            _ => HttpCounter::RqHttp1Total,
        });
        if head.one_way {
            http.counters.increment(HttpCounter::RqOneWayTotal);
        }
        if let Origin::Client { connection, .. } = origin
            && http.manager.options.max_requests_per_connection.is_some_and(|most| requests >= most)
        {
            let _ = port.perform(connection, Command::GoAway { gentle: true });
        }
        let (now, wall) = (port.clock(), port.wall());
        let exchange = Exchange::new(key, origin, site, head, now, wall);
        self.exchanges.insert(exchange);
        self.with_whole(port, key, Whole::request(body), |exchange, turn| exchange.begin(turn, end));
    }

    /// What happens on an endpoint's connection. `key`: the exchange of the event's stream, if it is there.
    pub(super) fn endpoint_event<P: Port>(
        &mut self,
        port: &mut P,
        connection: Key,
        key: Option<Key>,
        event: Event<'_>,
    ) {
        match event {
            Event::CapacityChanged { streams } => return self.shared.pools.capacity(connection, streams),
            Event::GoAwayReceived { .. } | Event::InputEnded => return self.shared.pools.retire(connection),
            _ => {}
        }
        let Some(key) = key else { return };
        match event {
            Event::ResponseReceived { head, body, end, .. } => {
                let whole = Whole::response(body);
                self.with_whole(port, key, whole, |exchange, turn| {
                    exchange.response_received(turn, head, end)
                });
            }
            Event::InterimReceived { head, .. } => {
                self.with(port, key, |exchange, turn| exchange.interim_received(turn, &head));
            }
            Event::DataReceived { bytes, end, .. } => {
                self.with(port, key, |exchange, turn| exchange.response_data(turn, bytes, end));
            }
            Event::TrailersReceived { trailers, .. } => {
                self.with(port, key, |exchange, turn| exchange.response_trailers(turn, trailers));
            }
            Event::StreamReset { reason, unprocessed, .. } => {
                self.with(port, key, |exchange, turn| exchange.upstream_reset(turn, reason, unprocessed));
            }
            Event::StreamWritable { .. } => {
                self.with(port, key, |exchange, turn| exchange.flush_up(turn));
            }
            Event::RequestReceived { .. }
            | Event::CapacityChanged { .. }
            | Event::GoAwayReceived { .. }
            | Event::InputEnded => {}
        }
    }

    /// The codec has answered a request that nobody saw, and given up.
    pub(super) fn client_fault<P: Port>(&mut self, port: &mut P, connection: Key, fault: &ConnectionFault) {
        let Some(Binding::Downstream(bound)) = port.binding(connection) else { return };
        let site = Rc::clone(&bound.site);
        let Some(http) = &site.http else { return };
        if fault.reason == ResetReason::ProtocolError {
            http.counters.increment(HttpCounter::CxProtocolError);
        }
        let protocol = port.protocol(connection).unwrap_or_default();
        let Some(status) = fault.answered else {
            // Nobody can be told of bytes that are no frame. Without a line, an operator would not find them either.
            if protocol == Protocol::Rpc && fault.reason != ResetReason::ConnectionClosed {
                self.log_unseen(port, &site, protocol, 0, fault.what);
            }
            return;
        };
        http.counters.increment(HttpCounter::RqTotal);
        http.counters.increment(class_of(status).1);
        if status == 408 {
            http.counters.increment(HttpCounter::RqHeaderTimeout);
        }
        self.log_unseen(port, &site, protocol, status, fault.what);
    }

    pub(super) fn client_closed<P: Port>(&mut self, port: &mut P, connection: Key, traffic: Traffic) {
        let Some(Binding::Downstream(bound)) = port.binding(connection) else { return };
        let (site, left) = (Rc::clone(&bound.site), bound.streams.keys());
        let mut timer = std::mem::take(&mut bound.timer);
        port.arm(&mut timer, Owner::Connection(connection), None);
        if let Some(http) = &site.http {
            http.counters.decrement(HttpCounter::CxActive);
            http.counters.add(HttpCounter::CxRxBytes, super::pools::signed(traffic.received));
            http.counters.add(HttpCounter::CxTxBytes, super::pools::signed(traffic.sent));
            if !left.is_empty() {
                http.counters.increment(HttpCounter::CxDestroyRemoteWithActive);
            }
            if let Some(chain) = site.chain_ref() {
                let counts = Counts::Http(&http.counters);
                let context = NetworkContext { now: port.now(), peer: &site.peer, counts };
                chain.network_filters.on_close(&context);
            }
        }
        for key in left {
            self.with(port, key, |exchange, turn| {
                exchange.origin_reset(turn, ResetReason::ConnectionClosed);
            });
        }
    }

    /// These connections of clients are to end: HTTP says so on the next response or by GOAWAY; pipes go on.
    pub fn drain<P: Port>(&mut self, port: &mut P, connections: &[Key]) {
        for &connection in connections {
            self.drain_client(port, connection);
        }
        self.run(port);
    }

    fn drain_client<P: Port>(&mut self, port: &mut P, connection: Key) {
        let Some(Binding::Downstream(bound)) = port.binding(connection) else { return };
        if std::mem::replace(&mut bound.draining, true) {
            return;
        }
        if let Some(http) = &bound.site.http {
            http.counters.increment(HttpCounter::CxDrainClose);
        }
        let _ = port.perform(connection, Command::GoAway { gentle: true });
    }

    /// When the connection's timer has to look again: the end of its idle time, or of its life.
    fn arm_client<P: Port>(&mut self, port: &mut P, connection: Key) {
        let now = port.now();
        let Some(Binding::Downstream(bound)) = port.binding(connection) else { return };
        let Some(http) = &bound.site.http else { return };
        let options = &http.manager.options;
        let after =
            |since: Tick, limit: Option<u64>| limit.map(|limit| since + limit.saturating_mul(MILLISECOND));
        // While streams run, the time since the last one ended does not count.
        let idle_since = if bound.streams.is_empty() { bound.idle_since } else { now };
        let idle = after(idle_since, options.idle_timeout);
        let life = match bound.draining {
            false => after(bound.since, options.max_connection_duration),
            // Streams that go on then are the connection's end when they are over.
            true => after(bound.since, life_and_drain(options)).filter(|end| *end > now),
        };
        let at = [idle, life].into_iter().flatten().min();
        let mut slot = std::mem::take(&mut bound.timer);
        port.arm(&mut slot, Owner::Connection(connection), at);
        if let Some(Binding::Downstream(bound)) = port.binding(connection) {
            bound.timer = slot;
        }
    }

    pub(super) fn client_timer<P: Port>(&mut self, port: &mut P, connection: Key) {
        let now = port.now();
        let Some(Binding::Downstream(bound)) = port.binding(connection) else { return };
        bound.timer = TimerSlot::default();
        let Some(http) = &bound.site.http else { return };
        let options = &http.manager.options;
        let over = |since: Tick, limit: Option<u64>| {
            limit.is_some_and(|limit| now.since(since) >= limit.saturating_mul(MILLISECOND))
        };
        if bound.streams.is_empty() && over(bound.idle_since, options.idle_timeout) {
            http.counters.increment(HttpCounter::CxIdleTimeout);
            let _ = port.perform(connection, Command::GoAway { gentle: false });
            return port.close(connection, Close::Flushed);
        }
        if !bound.draining && over(bound.since, options.max_connection_duration) {
            http.counters.increment(HttpCounter::CxMaxDuration);
            self.drain_client(port, connection);
        } else if bound.draining && bound.streams.is_empty() && over(bound.since, life_and_drain(options)) {
            // It was told, or would have been by its next response; HTTP/1 has no other word for it.
            return port.close(connection, Close::Flushed);
        }
        self.arm_client(port, connection);
    }
}

/// Milliseconds after which a connection of limited life is closed though its client has not asked again.
fn life_and_drain(options: &crate::plan::HttpConnectionManager) -> Option<u64> {
    options.max_connection_duration.map(|life| life.saturating_add(options.drain_timeout))
}
