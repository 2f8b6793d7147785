//! Exchanges (one request with its response) and layer-4 pipes: where policy meets traffic, whatever the protocol.
//!
//! In: events of codecs, outcomes of dials, timers, from the reactor. Out: commands through a `Port`. Invariant: every
//! exchange that began ends once, in `finish`, with its facts recorded; keys are the only way from a connection to an
//! exchange and back, so what is gone is simply not found.
//!
//! **What the reactor owes.** It hands each event over before it asks the codec for the next. After a `ConnectionFault` it calls
//! `fault`, then hands over a `StreamReset` for each stream that `next_reset` names; likewise (without `fault`) when the
//! socket is lost. A connection that was `opened`, or `dialed` with `Ok`, gets `closed` exactly once, when it is about to leave its
//! slot (its binding can still be asked for). During `dialed` with `Err` the slot is still there, and goes afterwards without `closed`.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod attempt;
mod binding;
mod born;
mod call;
mod chain;
mod connection;
mod decide;
mod direction;
mod exchange;
mod expiry;
mod finish;
mod head;
mod notes;
mod origin;
mod pipe;
mod pools;
pub mod port;
mod probe;
mod redirect;
mod reply;
mod request;
mod resend;
mod response;
mod shared;
mod site;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod timeouts;
mod tunnel;

pub use binding::{Binding, End};
pub use call::GrpcCall;
pub use exchange::Errand;
pub use origin::{Caller, Failure};
pub use port::{
    Close, Dial, DialError, DialErrorKind, DialOutcome, DialTls, Owner, Port, Speak, TimerSlot, Traffic,
};
pub use probe::{ProbeKey, Verdict};

use std::collections::HashMap;
use std::rc::Rc;

use crate::codec::contract::{ConnectionFault, Event};
use crate::message::{Key, ResetReason, Slab};
use crate::plan::LocalWorkload;
use crate::telemetry::ClusterCounter;
use exchange::Exchange;
use origin::Origin;
use pipe::Pipe;
use probe::Probing;
use shared::{Shared, Turn, Whole};
use site::Site;
use timeouts::Timers;

/// All exchanges and pipes of one worker, and its pools.
#[derive(Debug)]
pub struct Streams {
    exchanges: Slab<Exchange>,
    timers: Timers,
    pipes: Slab<Pipe>,
    /// TCP probes under way, by their connections.
    probes: HashMap<Key, Probing>,
    shared: Shared,
    /// Where engine-born exchanges come in.
    born: Rc<Site>,
    /// gRPC calls of Python.
    lent: call::Lent,
    /// What went wrong with the dial whose waiters are being told.
    dial_failure: String,
    connections: u64,
}

impl Streams {
    /// Made in its worker's thread, which it does not leave. `workers`: of the process; `seed`: another for each worker.
    pub fn new(workers: u32, seed: u64, own: &LocalWorkload) -> Self {
        Self {
            exchanges: Slab::default(),
            timers: Timers::default(),
            pipes: Slab::default(),
            probes: HashMap::new(),
            shared: Shared::new(workers, seed, own),
            born: Rc::new(Site::born()),
            lent: call::Lent::default(),
            dial_failure: String::new(),
            connections: 0,
        }
    }

    /// Name and cluster of the node that we are.
    #[must_use]
    pub fn named(mut self, id: &str, cluster: &str) -> Self {
        self.shared.own.node = (id.to_owned(), cluster.to_owned());
        self
    }

    /// Whether what surely was not processed is sent again, routes' retries apart (else as Envoy does it: never).
    #[must_use]
    pub fn resending(mut self, resends: bool) -> Self {
        self.shared.resends = resends;
        self
    }

    /// An event of a connection's codec.
    pub fn event<P: Port>(&mut self, port: &mut P, connection: Key, event: Event<'_>) {
        match port.binding(connection) {
            Some(Binding::Downstream(bound)) => match event {
                Event::RequestReceived { stream, head, body, end } => {
                    let born = bound.admit(stream, self.exchanges.next_key());
                    self.begin_exchange(port, Origin::Client { connection, stream }, born, head, (body, end));
                }
                event => {
                    if let Some(key) = event.stream().and_then(|stream| bound.streams.find(stream)) {
                        self.client_event(port, key, event);
                    }
                }
            },
            Some(Binding::Upstream(bound)) => {
                let key = event.stream().and_then(|stream| bound.streams.find(stream));
                self.endpoint_event(port, connection, key, event);
            }
            Some(Binding::Probe) => self.probe_event(port, connection, event),
            Some(Binding::Pipe { pipe, end }) => {
                let (pipe, end) = (*pipe, *end);
                self.pipe_event(port, pipe, end, event);
            }
            _ => {}
        }
        self.run(port);
    }

    /// The codec of a connection has given up; the resets of its streams follow as events.
    pub fn fault<P: Port>(&mut self, port: &mut P, connection: Key, fault: &ConnectionFault) {
        match port.binding(connection) {
            Some(Binding::Downstream(_)) => self.client_fault(port, connection, fault),
            Some(Binding::Upstream(_)) => {
                self.count_of(port, connection, ClusterCounter::CxProtocolError);
                self.shared.pools.retire(connection);
                self.run(port);
            }
            _ => {}
        }
    }

    /// A connection has ended.
    pub fn closed<P: Port>(&mut self, port: &mut P, connection: Key, traffic: Traffic) {
        match port.binding(connection) {
            Some(Binding::Downstream(_)) => self.client_closed(port, connection, traffic),
            Some(Binding::Upstream(_)) => self.pooled_closed(port, connection, traffic),
            Some(Binding::Pipe { pipe, end }) => {
                let (pipe, end) = (*pipe, *end);
                self.pipe_closed(port, pipe, end);
            }
            Some(Binding::Probe) => self.end_probe(port, connection, false),
            _ => {}
        }
        self.run(port);
    }

    /// What became of `Port::dial`.
    pub fn dialed<P: Port>(&mut self, port: &mut P, connection: Key, outcome: DialOutcome) {
        match (port.binding(connection), outcome) {
            (Some(Binding::Upstream(_)), Ok(())) => self.pooled_connected(port, connection),
            (Some(Binding::Upstream(_)), Err(error)) => self.pooled_failed(port, connection, error),
            (Some(Binding::Probe), outcome) => self.probed(port, connection, outcome.is_ok()),
            (Some(Binding::Pipe { pipe, .. }), outcome) => {
                let pipe = *pipe;
                self.pipe_dialed(port, pipe, connection, outcome);
            }
            _ => {}
        }
        self.run(port);
    }

    /// A timer has run out (its slot is empty already).
    pub fn timer<P: Port>(&mut self, port: &mut P, owner: Owner) {
        match owner {
            Owner::Exchange(place) => {
                self.timers.fired(place);
                if let Some(key) = self.exchanges.key_at(place) {
                    self.with(port, key, |exchange, turn| exchange.timer_fired(turn));
                }
            }
            Owner::Pipe(key) => self.pipe_timer(port, key),
            Owner::Connection(key) if self.probes.contains_key(&key) => self.end_probe(port, key, false),
            Owner::Connection(key) => self.client_timer(port, key),
        }
        self.run(port);
    }

    /// The worker has taken up a new snapshot.
    pub fn snapshot_changed<P: Port>(&mut self, port: &mut P) {
        self.sweep(port);
    }

    /// Housekeeping (pools, seats), about once a second.
    pub fn sweep<P: Port>(&mut self, port: &mut P) {
        let now = port.now();
        self.shared.found.clear();
        let snapshot = std::sync::Arc::clone(port.snapshot());
        self.shared.pools.sweep(now, &|name| snapshot.cluster(name).cloned());
        self.shared.seats.sweep(now);
        self.run(port);
    }

    /// Exchanges, pipes and calls that have not finished: what a drain waits for.
    pub fn active(&self) -> usize {
        self.exchanges.len() + self.pipes.len()
    }

    /// Bytes of bodies that exchanges and pipes hold.
    pub fn held(&self) -> usize {
        let exchanges = self.exchanges.iter().map(|(_, exchange)| exchange.up.held() + exchange.down.held());
        let pipes = self.pipes.iter().map(|(_, pipe)| pipe.held());
        exchanges.sum::<usize>() + pipes.sum::<usize>()
    }

    /// Lends an exchange out for one action; false if it is gone. Sees to its timer and its end.
    fn with<P: Port>(
        &mut self,
        port: &mut P,
        key: Key,
        act: impl FnOnce(&mut Exchange, &mut Turn<'_, P>),
    ) -> bool {
        self.with_whole(port, key, Whole::default(), act)
    }

    /// As `with`, for a head that came with the body of its message.
    fn with_whole<P: Port>(
        &mut self,
        port: &mut P,
        key: Key,
        whole: Whole<'_>,
        act: impl FnOnce(&mut Exchange, &mut Turn<'_, P>),
    ) -> bool {
        let Some(exchange) = self.exchanges.get_mut(key) else { return false };
        let mut turn = Turn { whole, ..Turn::new(port, &mut self.shared) };
        act(exchange, &mut turn);
        if exchange.is_finished() {
            self.finish(port, key);
        } else {
            let nearest = exchange.deadlines.nearest();
            self.timers.cover(port, key, nearest);
        }
        true
    }

    /// Does what exchanges have left for each other, until nothing is left. Asked after each event, nearly always in vain.
    #[inline]
    fn run<P: Port>(&mut self, port: &mut P) {
        if !self.is_quiet() {
            self.run_all(port);
        }
    }

    fn is_quiet(&self) -> bool {
        self.shared.is_quiet() && self.lent.is_quiet()
    }

    #[inline(never)]
    fn run_all<P: Port>(&mut self, port: &mut P) {
        while !self.is_quiet() {
            if let Some(todo) = self.shared.todo.pop_front() {
                self.start_born(port, todo);
                continue;
            }
            if let Some(exchange) = self.lent.next_ended() {
                self.with(port, exchange, |exchange, turn| {
                    exchange.origin_reset(turn, ResetReason::Cancelled);
                });
                continue;
            }
            let answer = self.shared.answers.borrow_mut().pop_front();
            if let Some(answer) = answer {
                let exchange = answer.token.exchange;
                self.with(port, exchange, |exchange, turn| exchange.filter_answered(turn, &answer));
                continue;
            }
            if !self.shared.pools.has_steps() {
                return;
            }
            let now = port.now();
            match self.shared.pools.next_step(now) {
                Some(step) => self.perform_step(port, step),
                None => return,
            }
        }
    }
}
