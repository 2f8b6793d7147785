//! What happens when a time limit of an exchange is reached.

use super::attempt::Outcome;
use super::exchange::{Exchange, Phase};
use super::port::Port;
use super::reply::flagged;
use super::shared::Turn;
use super::timeouts::Limit;
use crate::filter::LocalReply;
use crate::message::{ResetReason, ResponseFlags};
use crate::telemetry::{ClusterCounter, HttpCounter};
use crate::upstream::Report;

/// gRPC's status of that name.
const DEADLINE_EXCEEDED: u32 = 4;

impl Exchange {
    /// The exchange's timer has fired: everything that is due.
    #[cold]
    pub fn timer_fired<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        self.deadlines.look_again();
        let now = turn.now();
        while !self.is_finished()
            && let Some(expired) = self.deadlines.expired(now)
        {
            self.expire(turn, expired);
        }
    }

    fn expire<P: Port>(&mut self, turn: &mut Turn<'_, P>, expired: Limit) {
        // A client that has sent all of its request waits for a server: 504; one that has not is late itself: 408.
        let late = if self.up.is_complete() { 504 } else { 408 };
        match expired {
            Limit::BackOff => self.try_now(turn),
            Limit::Wake => self.wake_filters(turn),
            Limit::PerTry | Limit::PerTryIdle => {
                self.try_expired(
                    turn,
                    ClusterCounter::RqPerTryTimeout,
                    ResponseFlags::UPSTREAM_REQUEST_TIMEOUT,
                );
            }
            Limit::Upstream => {
                self.deadlines.set(Limit::Upstream, None);
                let flags = ResponseFlags::UPSTREAM_MAX_STREAM_DURATION;
                if self.phase >= Phase::Answered {
                    self.count_upstream(turn, ClusterCounter::RqMaxDuration);
                    let reply = flagged(504, "", "upstream_max_stream_duration_reached", flags);
                    return self.reply(turn, reply);
                }
                self.try_expired(turn, ClusterCounter::RqMaxDuration, flags);
            }
            Limit::Route => {
                self.deadlines.set(Limit::Route, None);
                self.count_upstream(turn, ClusterCounter::RqTimeout);
                self.report(turn, Report::Timeout);
                let grpc_status = self.tries.is_callers_deadline.then_some(DEADLINE_EXCEEDED);
                let reply = self.late_answer(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT);
                self.reply(turn, LocalReply { grpc_status: grpc_status.or(reply.grpc_status), ..reply });
            }
            Limit::Request => {
                self.deadlines.set(Limit::Request, None);
                self.count(HttpCounter::RqTimeout);
                let flags = ResponseFlags::default();
                self.reply(turn, flagged(408, "request timeout", "request_overall_timeout", flags));
            }
            Limit::Idle => {
                self.deadlines.set_idle(None);
                self.count(HttpCounter::RqIdleTimeout);
                let flags = ResponseFlags::STREAM_IDLE_TIMEOUT;
                self.reply(turn, flagged(late, "stream timeout", "stream_idle_timeout", flags));
            }
            Limit::Duration => {
                self.deadlines.set(Limit::Duration, None);
                self.count(HttpCounter::RqMaxDuration);
                let flags = ResponseFlags::DURATION_TIMEOUT;
                let reply = flagged(late, "downstream duration timeout", "max_duration_timeout", flags);
                self.reply(turn, LocalReply { grpc_status: Some(DEADLINE_EXCEEDED), ..reply });
            }
        }
    }

    /// This try has had its time; another may follow.
    fn try_expired<P: Port>(
        &mut self,
        turn: &mut Turn<'_, P>,
        counter: ClusterCounter,
        flags: ResponseFlags,
    ) {
        self.deadlines.end_of_try();
        if self.phase >= Phase::Answered {
            return;
        }
        self.count_upstream(turn, counter);
        self.report(turn, Report::Timeout);
        if self.try_again(turn, &Outcome::TryTimeout, false) {
            return;
        }
        self.drop_attempt(turn, ResetReason::Timeout);
        let reply = self.late_answer(flags);
        self.reply(turn, reply);
    }

    /// 504, or 204 for callers who asked for that.
    fn late_answer(&self, flags: ResponseFlags) -> LocalReply {
        if self.tries.alternate_timeout {
            return flagged(204, "", "response_timeout", flags);
        }
        flagged(504, "upstream request timeout", "response_timeout", flags)
    }

    fn count(&self, counter: HttpCounter) {
        if let Some(http) = &self.site.http {
            http.counters.increment(counter);
        }
    }

    fn count_upstream<P: Port>(&mut self, turn: &mut Turn<'_, P>, counter: ClusterCounter) {
        let Some(cluster) = &self.notes.cluster else { return };
        let now = turn.now();
        turn.shared.seats.take(cluster, turn.port.recorder(), now).counters.increment(counter);
    }
}
