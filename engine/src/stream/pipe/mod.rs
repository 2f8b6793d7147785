//! A layer-4 connection: a client, an endpoint, bytes both ways.
//!
//! In: events of both ends, outcomes of dials, timers. Out: the same bytes, half-closes and resets on the other side; the
//! same facts and the same recorder as exchanges have. Invariant: what one side does not take is not granted to the other,
//! and both directions end before the pipe does, unless one side is cut.
//!
//! Here is its life from beginning to record; `reach` is the way to an endpoint, `relay` what passes between the ends.

mod reach;
mod relay;

use std::rc::Rc;
use std::sync::Arc;

use super::Streams;
use super::binding::{Binding, End};
use super::direction::Direction;
use super::notes::Notes;
use super::pools::signed;
use super::port::{Close, DialOutcome, Owner, Port};
use super::shared::Turn;
use super::site::Site;
use super::timeouts::{Deadlines, Limit, Timer};
use crate::codec::contract::{Command, Event, StreamId};
use crate::filter::{Counts, NetworkChain, NetworkContext, NetworkVerdict};
use crate::message::{Key, MILLISECOND, Protocol, ResetReason, ResponseFlags};
use crate::snapshot::{Chain, TcpProxy};
use crate::telemetry::{ClusterCounter, Group, TcpCounter};
use crate::upstream::{EndpointId, InFlight, Permit, Report};

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
        ask: impl FnOnce(&NetworkChain, &NetworkContext<'_>) -> NetworkVerdict,
    ) -> NetworkVerdict {
        let Some(chain) = self.site.chain_ref() else { return NetworkVerdict::Continue };
        let counts = Counts::Tcp(&self.counters);
        let context = NetworkContext { now: turn.now(), peer: &self.site.peer, counts };
        ask(&chain.network_filters, &context)
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
}
