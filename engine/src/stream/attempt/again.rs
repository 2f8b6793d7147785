//! Whether another attempt follows, and when.
//!
//! In: what became of the last one. Out: a back-off and then an attempt, or the answer that there is none. Invariant: no attempt
//! follows once anything has gone to the client, or once the body can no longer be sent from its beginning.

use std::sync::Arc;

use super::super::exchange::{Exchange, Phase};
use super::super::port::Port;
use super::super::resend::Whereto;
use super::super::shared::Turn;
use super::super::timeouts::Limit;
use super::Outcome;
use super::place::overflowed;
use crate::filter::LocalReply;
use crate::message::{ResetReason, ResponseFlags};
use crate::telemetry::ClusterCounter;
use crate::upstream::{Failure, Report, Resource, RetryDecision, RetryHistory, retry};

impl Exchange {
    /// No connection came about.
    #[cold]
    pub fn unserved<P: Port>(&mut self, turn: &mut Turn<'_, P>, why: Failure) {
        if self.attempt.is_none() || self.is_finished() {
            return;
        }
        self.forget_stream(turn, false);
        if let Failure::Overflow(_) = why {
            return self.reply(turn, *overflowed());
        }
        self.report(turn, Report::ConnectFailure);
        if self.try_again(turn, &Outcome::ConnectFailure, true) || self.send_again(turn, Whereto::Elsewhere) {
            return;
        }
        let reason =
            if why == Failure::ConnectTimeout { "connection_timeout" } else { "remote_connection_failure" };
        let details = format!("upstream_reset_before_response_started{{{reason}}}");
        if self.decline(turn, &details) {
            return;
        }
        let mut body = format!(
            "upstream connect error or disconnect/reset before headers. reset reason: {}",
            reason.replace('_', " ")
        );
        if !self.notes.upstream_failure.is_empty() {
            body.push_str(", transport failure reason: ");
            body.push_str(&self.notes.upstream_failure);
        }
        let flags = ResponseFlags::UPSTREAM_CONNECTION_FAILURE;
        let mut reply =
            LocalReply { body: body.into_bytes().into(), flags, ..LocalReply::new(503, "", details) };
        self.tell_unreached(turn, &mut reply);
        self.reply(turn, reply);
    }

    /// Asks the policy; true if another attempt follows (now, or after its back-off). `ended`: the stream of this one is over.
    pub fn try_again<P: Port>(&mut self, turn: &mut Turn<'_, P>, outcome: &Outcome<'_>, ended: bool) -> bool {
        let Some(policy) = self.retry_policy() else { return false };
        if self.head_sent || self.is_tunnel || !self.up.can_rewind() || self.origin_gone {
            return false;
        }
        let history = self.tries.again.as_ref().map_or_else(RetryHistory::default, |again| again.history);
        let decision = retry::decide(policy, outcome, history, turn.port.random());
        if decision == RetryDecision::No && history.retries == 0 {
            return false;
        }
        let Some(cluster) = &self.notes.cluster else { return false };
        let now = turn.now();
        let seat = turn.shared.seats.take(cluster, turn.port.recorder(), now);
        let after = match decision {
            RetryDecision::No => {
                if matches!(outcome, Outcome::Answered { .. }) {
                    seat.counters.increment(ClusterCounter::RqRetrySuccess);
                }
                return false;
            }
            RetryDecision::Exhausted => {
                seat.counters.increment(ClusterCounter::RqRetryLimit);
                self.notes.flags.add(ResponseFlags::UPSTREAM_RETRY_LIMIT);
                return false;
            }
            RetryDecision::Retry { after } => after,
        };
        // The permit of the retry that has just failed is free for this one.
        self.tries.take_permit();
        let Some(permit) = seat.acquire(self.priority, Resource::Retries) else {
            self.notes.flags.add(ResponseFlags::UPSTREAM_OVERFLOW);
            return false;
        };
        seat.counters.increment(ClusterCounter::RqRetry);
        let is_unseen = match outcome {
            Outcome::ConnectFailure => true,
            Outcome::Reset { unprocessed, .. } => *unprocessed,
            _ => false,
        };
        let again = self.tries.again();
        again.was_seen |= !is_unseen;
        again.history.retries += 1;
        if let (Some(_), Some(endpoint)) = (&self.attempt, &self.notes.endpoint) {
            self.tries.note_tried(endpoint);
        }
        if ended && self.up.end_sent {
            self.forget_stream(turn, true);
        }
        self.drop_attempt(turn, ResetReason::Cancelled);
        self.tries.again().permit = Some(permit);
        self.notes.upstream_failure.clear();
        self.up.rewind(&self.request.headers);
        self.deadlines.end_of_try();
        self.phase = Phase::Connecting;
        self.deadlines.set(Limit::BackOff, Some(now + after));
        true
    }

    /// The back-off is over.
    pub fn try_now<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        self.deadlines.set(Limit::BackOff, None);
        if self.phase == Phase::Connecting && self.attempt.is_none() {
            // The cluster may have changed, or gone, in the meantime.
            if let Some(cluster) = &self.notes.cluster
                && let Some(current) = turn.port.snapshot().cluster(cluster.name())
            {
                self.notes.cluster = Some(Arc::clone(current));
            }
            self.attempt(turn);
        }
    }
}
