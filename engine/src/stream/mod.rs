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

mod binding;
#[allow(dead_code)] // Used by the exchange.
mod direction;
#[allow(dead_code)]
mod head;
pub mod port;
#[cfg(test)]
mod testing;
#[allow(dead_code)]
mod timeouts;

pub use binding::Binding;
pub use port::{
    Close, Dial, DialError, DialErrorKind, DialOutcome, DialTls, Owner, Port, Speak, TimerSlot, Traffic,
};

use std::sync::Arc;

use crate::codec::contract::{ConnectionFault, Event};
use crate::message::Key;
use crate::plan::LocalWorkload;
use crate::snapshot::Chain;

/// All exchanges and pipes of one worker, and its pools.
#[derive(Debug, Default)]
pub struct Streams {}

impl Streams {
    /// Made in its worker's thread, which it does not leave. `workers`: of the process; `seed`: another for each worker.
    pub fn new(_workers: u32, _seed: u64, _own: &LocalWorkload) -> Self {
        Self::default()
    }

    /// A client's connection whose chain is known, TLS done, codec made: `Server` of HTTP for a chain that ends in an HTTP
    /// manager, `tcp` for one that ends in a TCP proxy. Its binding is set here. It may be closed at once by a network filter.
    pub fn opened<P: Port>(&mut self, _port: &mut P, _connection: Key, _chain: &Arc<Chain>) {}

    /// Housekeeping (pools, seats), about once a second.
    pub fn sweep<P: Port>(&mut self, _port: &mut P) {}

    /// The clients' connections given are to end: HTTP says so, pipes go on until `Port::close`.
    pub fn drain<P: Port>(&mut self, _port: &mut P, _connections: &[Key]) {}

    /// An event of a connection's codec.
    pub fn event<P: Port>(&mut self, _port: &mut P, _connection: Key, _event: Event<'_>) {}

    /// The codec of a connection has given up; the resets of its streams follow as events.
    pub fn fault<P: Port>(&mut self, _port: &mut P, _connection: Key, _fault: &ConnectionFault) {}

    /// A connection has ended.
    pub fn closed<P: Port>(&mut self, _port: &mut P, _connection: Key, _traffic: Traffic) {}

    /// What became of `Port::dial`.
    pub fn dialed<P: Port>(&mut self, _port: &mut P, _connection: Key, _outcome: DialOutcome) {}

    /// A timer has run out (its slot is empty already).
    pub fn timer<P: Port>(&mut self, _port: &mut P, _owner: Owner) {}

    /// The worker has taken up a new snapshot.
    pub fn snapshot_changed<P: Port>(&mut self, _port: &mut P) {}

    /// Exchanges, pipes and calls that have not finished: what a drain waits for.
    pub fn active(&self) -> usize {
        0
    }
}
