//! The end of an attempt: its stream or its place in a queue is given back, exactly once, and its outcome reported.

use super::super::binding::Binding;
use super::super::exchange::Exchange;
use super::super::port::Port;
use super::super::shared::Turn;
use super::super::timeouts::Limit;
use super::{Attempt, Place};
use crate::codec::contract::Command;
use crate::message::ResetReason;
use crate::telemetry::ClusterCounter;
use crate::upstream::Report;

impl Exchange {
    /// For outlier detection.
    pub fn report<P: Port>(&mut self, turn: &mut Turn<'_, P>, report: Report) {
        let (Some(cluster), Some(attempt), Some(endpoint)) =
            (&self.notes.cluster, &self.attempt, &self.notes.endpoint)
        else {
            return;
        };
        if cluster.policy().outlier.is_none() || attempt.counters.is_none() {
            return;
        }
        let now = turn.now();
        turn.shared.seats.take(cluster, turn.port.recorder(), now).report(endpoint, report, now);
    }

    /// The response is whole: once the request is too, the stream is over and the connection free.
    pub fn attempt_ended<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        self.release_if_over(turn);
    }

    pub fn release_if_over<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.up.end_sent && self.down.is_complete() && !self.down.is_ours {
            self.forget_stream(turn, true);
        }
    }

    /// Gives back the attempt's place without a word to the endpoint: its stream is over already.
    pub fn forget_stream<P: Port>(&mut self, turn: &mut Turn<'_, P>, ended_well: bool) {
        let now = turn.now();
        let Some(attempt) = &mut self.attempt else { return };
        attempt.held = None;
        match std::mem::replace(&mut attempt.place, Place::Ended) {
            Place::Ended => return,
            Place::Nowhere => {}
            Place::Queued(pool) => {
                turn.shared.pools.cancel(pool, self.key);
            }
            Place::Open { connection, stream } => {
                if let Some(Binding::Upstream(bound)) = turn.port.binding(connection) {
                    bound.streams.remove(stream);
                }
                let reusable = turn.port.is_open(connection);
                turn.shared.pools.give_back(connection, reusable, now);
            }
        }
        if let Some(counters) = &attempt.counters {
            counters.decrement(ClusterCounter::RqActive);
            if ended_well {
                counters.increment(ClusterCounter::RqCompleted);
            }
        }
    }

    /// Ends the attempt, wherever it is: its stream is reset.
    pub fn drop_attempt<P: Port>(&mut self, turn: &mut Turn<'_, P>, reason: ResetReason) {
        if let Some((connection, stream)) = self.attempt.as_ref().and_then(Attempt::open_stream) {
            let _ = turn.port.perform(connection, Command::ResetStream { stream, reason });
            if let Some(counters) = self.attempt.as_ref().and_then(|attempt| attempt.counters.as_ref()) {
                counters.increment(ClusterCounter::RqTxReset);
            }
        }
        self.forget_stream(turn, false);
        self.attempt = None;
        self.tries.take_permit();
        self.deadlines.set(Limit::BackOff, None);
    }
}
