//! Engine-born exchanges: requests that no client's connection brought. Mirrors, filters' calls, health checks, and whatever else in
//! the engine asks a cluster something: one mechanism, with pools, breakers, TLS, outlier detection and counters as any other.

use std::rc::Rc;
use std::sync::Arc;

use super::Streams;
use super::exchange::{Errand, Exchange, Phase};
use super::origin::{Caller, Origin};
use super::port::Port;
use super::reply::flagged;
use super::shared::{FilterCaller, Todo, Turn, errand};
use super::timeouts::Limit;
use crate::message::{HeaderBlock, Key, RequestHead, ResetReason, ResponseFlags};
use crate::upstream::Priority;

/// Bytes that wait for a mirror's endpoint; one that lags further behind is given up.
const MIRROR_LAG: usize = 256 * 1024;

impl Streams {
    /// Asks a cluster. `end`: the head is all of the request; otherwise `send` follows. The answer comes to `caller`.
    pub fn call<P: Port>(
        &mut self,
        port: &mut P,
        errand: Errand,
        head: Box<RequestHead>,
        end: bool,
        caller: Box<dyn Caller>,
    ) -> Key {
        let key = self.bear(port, Origin::Caller(caller), errand, head, &[], end);
        self.run(port);
        key
    }

    /// More of a call's request. All of it is taken; `Caller::request_moved` says how much has left, so that the caller can
    /// hold back. False if the call is over.
    pub fn send<P: Port>(&mut self, port: &mut P, call: Key, bytes: &[u8], end: bool) -> bool {
        let known = self.with(port, call, |exchange, turn| exchange.request_data(turn, bytes, end));
        self.run(port);
        known
    }

    /// Ends a call's request with trailers.
    pub fn send_trailers<P: Port>(&mut self, port: &mut P, call: Key, trailers: Box<HeaderBlock>) -> bool {
        let known = self.with(port, call, |exchange, turn| exchange.request_trailers(turn, trailers));
        self.run(port);
        known
    }

    /// The caller takes more of the answer than it did.
    pub fn caller_ready<P: Port>(&mut self, port: &mut P, call: Key) {
        self.with(port, call, |exchange, turn| exchange.flush_down(turn));
        self.run(port);
    }

    /// The caller wants no answer any more; it is told nothing.
    pub fn cancel<P: Port>(&mut self, port: &mut P, call: Key) {
        self.with(port, call, |exchange, turn| exchange.origin_reset(turn, ResetReason::Cancelled));
        self.run(port);
    }

    /// `body`: what has come of the body so far.
    fn bear<P: Port>(
        &mut self,
        port: &mut P,
        origin: Origin,
        errand: Errand,
        head: Box<RequestHead>,
        body: &[u8],
        end: bool,
    ) -> Key {
        let key = self.exchanges.next_key();
        let (now, wall) = (port.now(), port.wall());
        let exchange = Exchange::new(key, origin, Rc::clone(&self.born), head, now, wall);
        self.exchanges.insert(exchange);
        self.with(port, key, |exchange, turn| {
            exchange.up.hold(body);
            exchange.set_out(turn, errand, end);
        });
        key
    }

    pub(super) fn start_born<P: Port>(&mut self, port: &mut P, todo: Todo) {
        match todo {
            Todo::Mirror { parent, head, errand, body, end } => {
                let key = self.bear(port, Origin::Nobody, errand, head, &body, end);
                if let Some(parent) = self.exchanges.get_mut(parent)
                    && !end
                {
                    parent.rare.get_or_insert_default().mirrors.push(key);
                }
            }
            Todo::Call(call) => {
                let timeout = Some(call.deadline.since(port.now()));
                let caller = Box::new(FilterCaller::new(call.token, &self.shared.answers));
                let errand = errand(&call.cluster, timeout);
                self.bear(port, Origin::Caller(caller), errand, call.head, &call.body, true);
            }
        }
    }

    /// The mirrors that still want the body of this exchange.
    pub(super) fn mirrors_of(&self, key: Key) -> Vec<Key> {
        let rare = self.exchanges.get(key).and_then(|exchange| exchange.rare.as_ref());
        rare.map_or_else(Vec::new, |rare| rare.mirrors.clone())
    }

    pub(super) fn mirror_data<P: Port>(&mut self, port: &mut P, mirror: Key, bytes: &[u8], end: bool) {
        self.with(port, mirror, |exchange, turn| {
            exchange.request_data(turn, bytes, end);
            if exchange.up.waiting().len() > MIRROR_LAG {
                exchange.origin_reset(turn, ResetReason::Overloaded);
            }
        });
    }
}

impl Exchange {
    /// Starts an engine-born exchange: no route and no filters, straight to the cluster.
    fn set_out<P: Port>(&mut self, turn: &mut Turn<'_, P>, errand: Errand, end: bool) {
        let now = turn.now();
        if end {
            self.request_ended(turn);
        }
        self.deadlines.set(Limit::Duration, errand.timeout.map(|limit| now + limit));
        self.phase = Phase::Connecting;
        let pinned = errand.pinned.as_ref().map(|(cluster, _)| Arc::clone(cluster));
        if pinned.is_some() {
            // Pools of their own, so that probes neither wait for requests nor take their place.
            self.priority = Priority::High;
        }
        let found = pinned.or_else(|| turn.port.snapshot().cluster(&errand.cluster).map(Arc::clone));
        self.rare.get_or_insert_default().errand = Some(errand);
        match found {
            Some(cluster) => {
                self.notes.cluster = Some(cluster);
                self.attempt(turn);
            }
            None => {
                self.reply(turn, flagged(503, "", "cluster_not_found", ResponseFlags::NO_CLUSTER));
            }
        }
    }
}
