//! A layer-4 connection: a client, an endpoint, bytes both ways.
//!
//! In: events of both ends, outcomes of dials, timers. Out: the same bytes, half-closes and resets on the other side; the
//! same facts and the same recorder as exchanges have. Invariant: what one side does not take is not granted to the other,
//! and both directions end before the pipe does, unless one side is cut.

use std::rc::Rc;
use std::sync::Arc;

use super::Streams;
use super::binding::{Binding, End, FarEnd};
use super::direction::{Direction, Stage};
use super::notes::Notes;
use super::pools::{address_of, dial_tls, failure_of, signed};
use super::port::{Close, Dial, DialErrorKind, DialOutcome, Owner, Port, Speak};
use super::resend;
use super::shared::Turn;
use super::site::Site;
use super::timeouts::{Deadlines, Limit, Timer};
use crate::codec::contract::{Command, Event, StreamId};
use crate::filter::{Counts, NetworkContext, NetworkVerdict};
use crate::message::{Key, MILLISECOND, Protocol, ResetReason, ResponseFlags};
use crate::snapshot::{Chain, TcpProxy};
use crate::telemetry::{ClusterCounter, Group, TcpCounter};
use crate::upstream::{
    Endpoint, EndpointId, Failure, InFlight, Permit, PickContext, Priority, Report, Resource,
};

/// The one stream of a TCP codec.
const STREAM: StreamId = StreamId(0);

/// One end of the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Not there yet, or no more.
    None,
    Dialing(Key),
    Open(Key),
}

impl Side {
    fn open(self) -> Option<Key> {
        match self {
            Self::Open(key) => Some(key),
            _ => None,
        }
    }

    fn key(self) -> Option<Key> {
        match self {
            Self::Open(key) | Self::Dialing(key) => Some(key),
            Self::None => None,
        }
    }
}

/// A client's connection and its endpoint's.
#[derive(Debug)]
pub struct Pipe {
    key: Key,
    site: Rc<Site>,
    proxy: Arc<TcpProxy>,
    counters: Arc<Group<TcpCounter>>,
    client: Side,
    endpoint: Side,
    up: Direction,
    down: Direction,
    notes: Notes,
    deadlines: Deadlines,
    timer: Timer,
    tried: Vec<EndpointId>,
    held: Option<(Permit, Option<InFlight>)>,
    was_connected: bool,
    is_finished: bool,
}

impl Streams {
    pub(super) fn open_pipe<P: Port>(
        &mut self,
        port: &mut P,
        connection: Key,
        chain: &Arc<Chain>,
        proxy: &Arc<TcpProxy>,
    ) {
        let Some(peer) = port.peer(connection).cloned() else { return };
        let (now, wall) = (port.now(), port.wall());
        let counters = port.recorder().tcp(&proxy.stat_prefix);
        counters.increment(TcpCounter::CxTotal);
        let site = Rc::new(Site::of(chain, &peer, None, self.next_connection_id()));
        let key = self.pipes.next_key();
        let mut notes = Notes::new(Protocol::Tcp, now, wall);
        notes.client = peer.remote;
        if site.is_inbound() && peer.identity.is_some() {
            let labels = super::head::peer_metadata::labels(peer.identity.as_ref(), None);
            notes.client_labels = Some(Arc::new(labels));
        }
        let mut pipe = Pipe {
            key,
            site,
            proxy: Arc::clone(proxy),
            counters,
            client: Side::Open(connection),
            endpoint: Side::None,
            up: Direction::open(),
            down: Direction::open(),
            notes,
            deadlines: Deadlines::since(now),
            timer: Timer::default(),
            tried: Vec::new(),
            held: None,
            was_connected: false,
            is_finished: false,
        };
        pipe.deadlines.set_idle(proxy.idle_timeout.map(|limit| limit.saturating_mul(MILLISECOND)));
        let longest = proxy.max_connection_duration.map(|limit| now.after_milliseconds(limit));
        pipe.deadlines.set(Limit::Duration, longest);
        self.pipes.insert(pipe);
        if let Some(binding) = port.binding(connection) {
            *binding = Binding::Pipe { pipe: key, end: End::Client };
        }
        self.with_pipe(port, key, |pipe, turn| pipe.begin(turn));
    }

    pub(super) fn pipe_event<P: Port>(&mut self, port: &mut P, key: Key, end: End, event: Event<'_>) {
        self.with_pipe(port, key, |pipe, turn| match event {
            Event::DataReceived { bytes, end: ends, .. } => pipe.data(turn, end, bytes, ends),
            Event::StreamWritable { .. } => pipe.flush(turn, end),
            Event::StreamReset { reason, .. } => pipe.reset(turn, end, reason),
            _ => {}
        });
    }

    pub(super) fn pipe_dialed<P: Port>(
        &mut self,
        port: &mut P,
        key: Key,
        connection: Key,
        outcome: DialOutcome,
    ) {
        let known = self.with_pipe(port, key, |pipe, turn| pipe.dialed(turn, connection, outcome));
        if !known {
            port.close(connection, Close::Reset);
        }
    }

    pub(super) fn pipe_closed<P: Port>(&mut self, port: &mut P, key: Key, end: End) {
        self.with_pipe(port, key, |pipe, turn| {
            match end {
                End::Client => pipe.client = Side::None,
                End::Endpoint => pipe.endpoint = Side::None,
            }
            // Both its directions had ended; what waits for the other end still goes there.
            let (given, taken) = match end {
                End::Client => (&pipe.up, &pipe.down),
                End::Endpoint => (&pipe.down, &pipe.up),
            };
            if given.is_complete() && taken.end_sent {
                return;
            }
            // A close without an end or a reset before it: the rest will not come.
            pipe.reset(turn, end, ResetReason::ConnectionClosed);
        });
    }

    pub(super) fn pipe_timer<P: Port>(&mut self, port: &mut P, key: Key) {
        self.with_pipe(port, key, |pipe, turn| pipe.timer_fired(turn));
    }

    fn with_pipe<P: Port>(
        &mut self,
        port: &mut P,
        key: Key,
        act: impl FnOnce(&mut Pipe, &mut Turn<'_, P>),
    ) -> bool {
        let Some(pipe) = self.pipes.get_mut(key) else { return false };
        act(pipe, &mut Turn::new(port, &mut self.shared));
        if pipe.is_finished {
            self.finish_pipe(port, key);
        } else {
            pipe.timer.cover(port, Owner::Pipe(key), pipe.deadlines.nearest());
        }
        true
    }

    /// The one place that takes a pipe out, and records it.
    fn finish_pipe<P: Port>(&mut self, port: &mut P, key: Key) {
        let Some(mut pipe) = self.pipes.remove(key) else { return };
        pipe.timer.disarm(port, Owner::Pipe(key));
        pipe.release(&mut Turn::new(port, &mut self.shared));
        let now = port.clock();
        pipe.notes.moments.ended = now;
        pipe.notes.received = pipe.up.received;
        pipe.notes.sent = pipe.down.received;
        pipe.counters.add(TcpCounter::CxRxBytes, signed(pipe.up.received));
        pipe.counters.add(TcpCounter::CxTxBytes, signed(pipe.down.received));
        if pipe.was_connected
            && let Some(cluster) = &pipe.notes.cluster
        {
            let seat = self.shared.seats.take(cluster, port.recorder(), now);
            seat.counters.add(ClusterCounter::CxTxBytes, signed(pipe.up.received));
            seat.counters.add(ClusterCounter::CxRxBytes, signed(pipe.down.received));
        }
        if let Some(chain) = pipe.site.chain_ref() {
            let context = NetworkContext { now, peer: &pipe.site.peer, counts: Counts::Tcp(&pipe.counters) };
            chain.network_filters.on_close(&context);
            let facts = pipe.notes.facts(&pipe.site, None, None);
            port.recorder().record(&facts);
            port.log(chain, &facts);
        }
    }
}

impl Pipe {
    pub fn held(&self) -> usize {
        self.up.held() + self.down.held()
    }

    fn begin<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        let verdict = self.judge(turn, |filters, context| filters.on_connection(context));
        if let NetworkVerdict::Close { details } = verdict {
            self.notes.details = details;
            return self.end_both(turn, Close::Flushed);
        }
        let random = turn.port.random();
        let found = self.proxy.cluster(random).and_then(|name| turn.port.snapshot().cluster(name)).cloned();
        let Some(cluster) = found else {
            self.counters.increment(TcpCounter::CxNoRoute);
            return self.fail(turn, ResponseFlags::NO_CLUSTER, "cluster_not_found");
        };
        self.notes.cluster = Some(cluster);
        self.attempt(turn, None);
    }

    fn judge<P: Port>(
        &self,
        turn: &Turn<'_, P>,
        ask: impl FnOnce(&crate::filter::NetworkChain, &NetworkContext<'_>) -> NetworkVerdict,
    ) -> NetworkVerdict {
        let Some(chain) = self.site.chain_ref() else { return NetworkVerdict::Continue };
        let counts = Counts::Tcp(&self.counters);
        let context = NetworkContext { now: turn.now(), peer: &self.site.peer, counts };
        ask(&chain.network_filters, &context)
    }

    /// Picks an endpoint, unless `other` is to be it, and dials it.
    fn attempt<P: Port>(&mut self, turn: &mut Turn<'_, P>, other: Option<Arc<Endpoint>>) {
        let Some(cluster) = self.notes.cluster.clone() else { return };
        let now = turn.now();
        self.notes.attempts += 1;
        let context = PickContext {
            now,
            original_destination: self.site.peer.original_destination.or(self.site.peer.local),
            destination_header: None,
            tried: &self.tried,
            reselections: self.tried.len() as u32 * 3,
        };
        let seat = turn.shared.seats.take(&cluster, turn.port.recorder(), now);
        let Some(permit) = seat.acquire(Priority::Default, Resource::Connections) else {
            return self.fail(turn, ResponseFlags::UPSTREAM_OVERFLOW, "upstream_overflow");
        };
        let Some(endpoint) = other.or_else(|| seat.pick(&context)) else {
            return self.fail(turn, ResponseFlags::NO_HEALTHY_UPSTREAM, "no_healthy_upstream");
        };
        seat.counters.increment(ClusterCounter::CxTotal);
        seat.counters.increment(ClusterCounter::CxActive);
        let policy = cluster.policy();
        let in_flight = policy.counts_active().then(|| endpoint.begin());
        let dial = Dial {
            address: address_of(endpoint.address()),
            source: policy.source_address.clone(),
            tls: endpoint.tls().map(|cell| dial_tls(cell, None, |_| true, None)),
            speak: Speak::Tcp,
            deadline: now.after_milliseconds(policy.connect_timeout),
            keepalive: policy.tcp_keepalive,
            buffer_limit: policy.buffer_limit,
            binding: Binding::Pipe { pipe: self.key, end: End::Endpoint },
        };
        self.held = Some((permit, in_flight));
        self.tried.push(endpoint.id());
        self.notes.endpoint = Some(endpoint);
        self.endpoint = Side::Dialing(turn.port.dial(dial));
    }

    fn dialed<P: Port>(&mut self, turn: &mut Turn<'_, P>, connection: Key, outcome: DialOutcome) {
        if self.endpoint != Side::Dialing(connection) {
            return;
        }
        match outcome {
            Ok(()) => self.connected(turn, connection),
            Err(error) => {
                self.endpoint = Side::None;
                let timed_out = failure_of(&error) == Failure::ConnectTimeout;
                if error.kind == DialErrorKind::Connect
                    && let (Some(cluster), Some(endpoint)) = (&self.notes.cluster, &self.notes.endpoint)
                {
                    cluster.note_declined(endpoint, turn.now());
                }
                self.notes.upstream_failure = error.what;
                self.count(turn, ClusterCounter::CxConnectFail);
                if timed_out {
                    self.count(turn, ClusterCounter::CxConnectTimeout);
                }
                self.report(turn, Report::ConnectFailure);
                self.release(turn);
                if self.notes.attempts < self.proxy.max_connect_attempts {
                    return self.attempt(turn, None);
                }
                if let Some(other) = self.find_other(turn) {
                    return self.attempt(turn, Some(other));
                }
                self.notes.flags.add(ResponseFlags::UPSTREAM_RETRY_LIMIT);
                self.fail(turn, ResponseFlags::UPSTREAM_CONNECTION_FAILURE, "upstream_connection_failure");
            }
        }
    }

    /// Nothing of the client's has left: another endpoint may have it, beyond the attempts that the proxy allows.
    fn find_other<P: Port>(&mut self, turn: &mut Turn<'_, P>) -> Option<Arc<Endpoint>> {
        let cluster = self.notes.cluster.as_ref()?;
        let now = turn.now();
        let may = turn.shared.resends
            && self.notes.attempts <= u32::from(resend::MAX_RESENDS)
            && resend::is_early(cluster, self.notes.moments.started, now);
        if !may {
            return None;
        }
        let tried = self.tried.len() as u32;
        let context =
            PickContext { now, tried: &self.tried, reselections: tried * 3, ..PickContext::default() };
        let seat = turn.shared.seats.take(cluster, turn.port.recorder(), now);
        let other = seat.pick_other(&context)?;
        seat.counters.increment(ClusterCounter::RqResent);
        Some(other)
    }

    fn connected<P: Port>(&mut self, turn: &mut Turn<'_, P>, connection: Key) {
        let now = turn.port.clock();
        self.endpoint = Side::Open(connection);
        self.was_connected = true;
        self.notes.upstream = turn.port.peer(connection).cloned().map(|peer| Rc::new(FarEnd(peer)));
        self.report(turn, Report::Answered(200));
        if let Some(endpoint) = &self.notes.endpoint {
            endpoint.note_connected();
        }
        let _ = turn.port.open_stream(connection);
        let facts = self.notes.facts(&self.site, None, None);
        turn.port.recorder().opened(&facts, now);
        self.deadlines.touch(now);
        self.flush(turn, End::Endpoint);
    }

    /// Bytes of one end, for the other.
    fn data<P: Port>(&mut self, turn: &mut Turn<'_, P>, from: End, bytes: &[u8], end: bool) {
        self.deadlines.touch(turn.now());
        if from == End::Client
            && let NetworkVerdict::Close { details } =
                self.judge(turn, |filters, context| filters.on_data(context, bytes))
        {
            self.notes.details = details;
            return self.end_both(turn, Close::Flushed);
        }
        let (source, target, direction) = self.ends(from);
        direction.received += bytes.len() as u64;
        if end {
            direction.stage = Stage::Ended;
        }
        let target = target.open().filter(|_| direction.waiting().is_empty());
        let Some(target) = target else {
            direction.hold(bytes);
            return;
        };
        let command = Command::SendData { stream: STREAM, bytes, end: direction.is_complete() };
        let Ok(accepted) = turn.port.perform(target, command) else {
            // Its reset is under way.
            return;
        };
        direction.end_sent = direction.is_complete() && accepted.bytes == bytes.len();
        let credit = direction.pass(bytes, accepted.bytes);
        grant(turn, source, credit);
        self.settle(turn);
    }

    /// Sends on what waits for this end.
    fn flush<P: Port>(&mut self, turn: &mut Turn<'_, P>, to: End) {
        let from = if to == End::Client { End::Endpoint } else { End::Client };
        let (source, target, direction) = self.ends(from);
        let Some(target) = target.open() else { return };
        let waiting = direction.waiting();
        let end = direction.is_complete();
        if waiting.is_empty() && (!end || direction.end_sent) {
            return;
        }
        let size = waiting.len();
        let command = Command::SendData { stream: STREAM, bytes: waiting, end };
        let Ok(accepted) = turn.port.perform(target, command) else { return };
        direction.end_sent |= end && accepted.bytes == size;
        let credit = direction.advance(accepted.bytes);
        grant(turn, source, credit);
        self.deadlines.touch(turn.now());
        self.settle(turn);
    }

    /// Where bytes of `from` come from, where they go, and what lies between.
    fn ends(&mut self, from: End) -> (Side, Side, &mut Direction) {
        match from {
            End::Client => (self.client, self.endpoint, &mut self.up),
            End::Endpoint => (self.endpoint, self.client, &mut self.down),
        }
    }

    fn settle<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.up.end_sent && self.down.end_sent {
            self.release(turn);
            self.is_finished = true;
        }
    }

    /// One end is gone before its time: so is the other.
    fn reset<P: Port>(&mut self, turn: &mut Turn<'_, P>, end: End, reason: ResetReason) {
        if self.is_finished {
            return;
        }
        let (flag, details) = match end {
            End::Client => (ResponseFlags::DOWNSTREAM_TERMINATION, "downstream_remote_disconnect"),
            End::Endpoint => (ResponseFlags::UPSTREAM_TERMINATION, "upstream_remote_disconnect"),
        };
        self.notes.flags.add(flag);
        if self.notes.details.is_empty() {
            self.notes.details = details.into();
        }
        if end == End::Endpoint {
            self.report(turn, Report::Reset);
        }
        let other = if end == End::Client { self.endpoint } else { self.client };
        match other {
            Side::Open(other) => {
                let _ = turn.port.perform(other, Command::ResetStream { stream: STREAM, reason });
            }
            Side::Dialing(other) => turn.port.close(other, Close::Reset),
            Side::None => {}
        }
        self.is_finished = true;
    }

    /// No endpoint: the client is let go.
    fn fail<P: Port>(&mut self, turn: &mut Turn<'_, P>, flag: ResponseFlags, details: &'static str) {
        self.notes.flags.add(flag);
        self.notes.details = details.into();
        self.end_both(turn, Close::Flushed);
    }

    fn end_both<P: Port>(&mut self, turn: &mut Turn<'_, P>, how: Close) {
        for connection in [self.client, self.endpoint].into_iter().filter_map(Side::key) {
            turn.port.close(connection, how);
        }
        self.is_finished = true;
    }

    fn timer_fired<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        self.timer.fired();
        self.deadlines.look_again();
        match self.deadlines.expired(turn.now()) {
            Some(Limit::Duration) => {
                self.counters.increment(TcpCounter::MaxDuration);
                self.notes.flags.add(ResponseFlags::DURATION_TIMEOUT);
                self.notes.details = "max_connection_duration".into();
                self.end_both(turn, Close::Flushed);
            }
            Some(Limit::Idle) => {
                self.counters.increment(TcpCounter::IdleTimeout);
                self.notes.flags.add(ResponseFlags::STREAM_IDLE_TIMEOUT);
                self.notes.details = "idle_timeout".into();
                self.end_both(turn, Close::Flushed);
            }
            _ => {}
        }
    }

    fn report<P: Port>(&self, turn: &mut Turn<'_, P>, report: Report) {
        let (Some(cluster), Some(endpoint)) = (&self.notes.cluster, &self.notes.endpoint) else { return };
        let now = turn.now();
        turn.shared.seats.take(cluster, turn.port.recorder(), now).report(endpoint, report, now);
    }

    fn count<P: Port>(&self, turn: &mut Turn<'_, P>, counter: ClusterCounter) {
        let Some(cluster) = &self.notes.cluster else { return };
        let now = turn.now();
        turn.shared.seats.take(cluster, turn.port.recorder(), now).counters.increment(counter);
    }

    /// The endpoint's connection, or the attempt at one, is over.
    fn release<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.held.take().is_none() {
            return;
        }
        let Some(cluster) = &self.notes.cluster else { return };
        let now = turn.now();
        turn.shared
            .seats
            .take(cluster, turn.port.recorder(), now)
            .counters
            .decrement(ClusterCounter::CxActive);
    }
}

fn grant<P: Port>(turn: &mut Turn<'_, P>, source: Side, bytes: usize) {
    if let Some(source) = source.open().filter(|_| bytes > 0) {
        let _ = turn.port.perform(source, Command::GrantCredit { stream: STREAM, bytes });
    }
}
