//! Ending in peace: what drains is told so, may finish what runs, and is cut when its time is up.
//!
//! Two steps, as HTTP/2 wants it: first a gentle announcement (`Connection: close` on the next response, GOAWAY without a
//! last stream), later the final one. A drain is over when its least time has passed and no stream is open, or at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::board::Alarm;
use super::connection::{Connection, Phase};
use super::driver::Driver;
use super::worker::Worker;
use crate::codec::contract::{Codec, Command};
use crate::message::{Key, MILLISECOND, SECOND, Tick};
use crate::plan::TrafficDirection;
use crate::snapshot::{Chain, Snapshot};
use crate::stream::{Close, Port};

/// How often a drain looks whether it is over.
const LOOK: u64 = 50 * MILLISECOND;
/// From the gentle announcement to the final one, at least.
const BETWEEN_STEPS: u64 = 100 * MILLISECOND;
/// How long connections of a chain that was removed or changed may go on.
const CHAIN_DRAIN: u64 = 45 * SECOND;

/// What drains.
#[derive(Debug, Clone)]
pub enum Scope {
    /// All connections of clients.
    All,
    /// Those of inbound listeners, and of listeners without a direction.
    Inbound,
    /// Those that one of these chains took: they are no longer in force.
    Chains(Vec<Arc<Chain>>),
}

impl Scope {
    fn holds<S>(&self, connection: &Connection<S>) -> bool {
        let Some(origin) = connection.origin.as_deref() else { return false };
        match self {
            Self::All => true,
            Self::Inbound => origin.listener.direction != TrafficDirection::Outbound,
            Self::Chains(chains) => {
                origin.chain.as_ref().is_some_and(|chain| chains.iter().any(|gone| Arc::ptr_eq(gone, chain)))
            }
        }
    }
}

/// A drain of all workers; the last one to be done says so.
pub struct DrainOrder {
    pub scope: Scope,
    pub min: Tick,
    pub max: Tick,
    left: AtomicUsize,
    cut: AtomicU64,
    done: Box<dyn Fn(u64) + Send + Sync>,
}

impl std::fmt::Debug for DrainOrder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "DrainOrder({:?})", self.scope)
    }
}

impl DrainOrder {
    /// `done` is called with the number of streams that were cut.
    pub fn new(
        scope: Scope,
        min: Tick,
        max: Tick,
        workers: usize,
        done: Box<dyn Fn(u64) + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self { scope, min, max, left: AtomicUsize::new(workers), cut: AtomicU64::new(0), done })
    }

    fn report(&self, cut: u64) {
        self.cut.fetch_add(cut, Ordering::AcqRel);
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            (self.done)(self.cut.load(Ordering::Acquire));
        }
    }
}

/// A drain as one worker carries it out.
#[derive(Debug)]
pub(super) struct Draining {
    order: Arc<DrainOrder>,
    final_at: Tick,
    said_final: bool,
}

impl<D: Driver> Worker<D> {
    pub(super) fn begin_drain(&mut self, order: Arc<DrainOrder>) {
        self.announce(&order.scope, true);
        let final_at = order.min.max(self.board.now + BETWEEN_STEPS).min(order.max);
        self.drains.push(Draining { order, final_at, said_final: false });
        self.look_again();
    }

    /// Connections whose chain is no longer in force end as their streams do.
    pub(super) fn drain_changed(&mut self, former: &Snapshot) {
        let gone = chains_gone(former, &self.board.snapshot);
        if !gone.is_empty() {
            let (now, max) = (self.board.now, self.board.now + CHAIN_DRAIN);
            self.begin_drain(DrainOrder::new(Scope::Chains(gone), now, max, 1, Box::new(|_| {})));
        }
    }

    /// A connection that comes while a drain runs is told at once what the others were told.
    pub(super) fn join_drains(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get(key) else { return };
        if self.drains.iter().any(|draining| draining.order.scope.holds(connection)) {
            self.streams.drain(&mut self.board, &[key]);
        }
    }

    fn look_again(&mut self) {
        if self.drain_timer.is_none() {
            let at = self.board.now + LOOK;
            self.board.wheel.arm(&mut self.drain_timer, Alarm::Drain, Some(at));
        }
    }

    pub(super) fn step_drains(&mut self) {
        let now = self.board.now;
        for mut draining in std::mem::take(&mut self.drains) {
            if !draining.said_final && draining.final_at <= now {
                draining.said_final = true;
                self.announce(&draining.order.scope, false);
            }
            let busy = self.in_scope(&draining.order.scope, |connection| match &connection.phase {
                Phase::Open(open) => open.codec.open_streams() > 0,
                // Who has said nothing yet misses nothing.
                Phase::Inspecting(_) | Phase::Choosing(_) => !connection.carry.is_empty(),
                _ => true,
            });
            if now >= draining.order.max {
                let mut cut = 0;
                for key in self.in_scope(&draining.order.scope, |_| true) {
                    cut += self.board.open_streams(key) as u64;
                    self.board.close(key, Close::Reset);
                }
                draining.order.report(cut);
            } else if busy.is_empty() && now >= draining.order.min && draining.said_final {
                for key in self.in_scope(&draining.order.scope, |_| true) {
                    self.board.close(key, Close::Flushed);
                }
                draining.order.report(0);
            } else {
                self.drains.push(draining);
            }
        }
        if !self.drains.is_empty() {
            self.look_again();
        }
    }

    fn announce(&mut self, scope: &Scope, gentle: bool) {
        let connections = self.in_scope(scope, |connection| connection.open().is_some());
        if gentle {
            return self.streams.drain(&mut self.board, &connections);
        }
        let silent = self.in_scope(scope, |connection| {
            matches!(connection.phase, Phase::Inspecting(_) | Phase::Choosing(_))
                && connection.carry.is_empty()
        });
        for key in silent {
            self.board.close(key, Close::Flushed);
        }
        for key in connections {
            // A codec without such words (TCP) just goes on.
            let _ = self.board.perform(key, Command::GoAway { gentle });
        }
    }

    fn in_scope(&self, scope: &Scope, also: impl Fn(&Connection<D::Socket>) -> bool) -> Vec<Key> {
        let connections = self.board.connections.iter();
        connections
            .filter(|(_, connection)| scope.holds(connection) && also(connection))
            .map(|(key, _)| key)
            .collect()
    }
}

/// Chains of `former` that `now` does not hold.
fn chains_gone(former: &Snapshot, now: &Snapshot) -> Vec<Arc<Chain>> {
    let mut gone = Vec::new();
    for (name, listener) in &former.listeners {
        let current = now.listeners.get(name);
        if current.is_some_and(|current| Arc::ptr_eq(current, listener)) {
            continue;
        }
        let chains = listener.chains.iter().chain(&listener.default_chain);
        gone.extend(chains.filter(|chain| !current.is_some_and(|current| current.holds(chain))).cloned());
    }
    gone
}
