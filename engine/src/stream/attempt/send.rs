//! An attempt leaves: its request's head on the stream that was opened for it.
//!
//! In: a connection with a stream. Out: one `SendRequest`, and the limits of this try. Invariant: what differs from try to try is
//! fitted anew, everything else of the head stays as the route made it.

use super::super::binding::Binding;
use super::super::exchange::Exchange;
use super::super::port::Port;
use super::super::reply::flagged;
use super::super::shared::Turn;
use super::super::timeouts::Limit;
use super::Attempt;
use crate::bytes::decimal;
use crate::codec::contract::{Command, StreamId};
use crate::filter::LocalReply;
use crate::message::{Key, MILLISECOND, NameId, Protocol, ResetReason, ResponseFlags, Tick};
use crate::route::set_host;

impl Exchange {
    pub(super) fn send_head<P: Port>(&mut self, turn: &mut Turn<'_, P>, connection: Key, stream: StreamId) {
        self.fit_head(turn, connection);
        if turn.shared.resends && !self.up.end_sent && self.may_be_declined(turn, connection) {
            self.up.keep_for_replay(self.replay_limit());
        }
        let now = turn.port.clock();
        self.set_try_limits(now);
        let fresh = self.take_body(turn);
        let body = match (fresh, self.up.paused_at) {
            ([], None) => self.up.waiting(),
            _ => fresh,
        };
        let is_all = body.len() == fresh.len() + self.up.waiting().len();
        let end = is_all && self.up.is_complete() && self.up.trailers().is_none();
        let size = body.len();
        let command = Command::SendRequest { stream, head: &self.request, body, end };
        let Ok(accepted) = turn.port.perform(connection, command) else {
            self.up.hold(fresh);
            if turn.port.is_open(connection) {
                return self.unwritable(turn);
            }
            return self.upstream_reset(turn, ResetReason::ConnectionClosed, true);
        };
        let now = turn.port.now();
        if let Some(attempt) = &mut self.attempt {
            attempt.sent_in = now;
        }
        let accepted = accepted.bytes;
        if size > 0 {
            let credit = match fresh {
                [] => self.up.advance(accepted),
                _ if accepted == size => {
                    self.up.pass_whole(fresh, &mut self.request.headers);
                    0
                }
                fresh => self.up.pass(fresh, accepted),
            };
            self.origin.grant(turn.port, credit);
        }
        self.up.end_sent = end && accepted == size;
        if self.up.end_sent {
            self.after_sending_up(turn);
        } else {
            self.flush_up(turn);
        }
    }

    /// No codec of this protocol can write such a request, wherever it goes: who asked is told so, no endpoint is to blame, and another
    /// attempt would fare the same.
    #[cold]
    pub fn unwritable<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if let Some((connection, stream)) = self.attempt.as_ref().and_then(Attempt::open_stream) {
            let _ = turn
                .port
                .perform(connection, Command::ResetStream { stream, reason: ResetReason::Cancelled });
        }
        self.forget_stream(turn, false);
        if self.request.upgrade.is_some() {
            return self.reply(turn, LocalReply::new(403, "", "upgrade_failed"));
        }
        let body = "the request cannot be written in the protocol of its endpoint";
        self.reply(turn, flagged(400, body, "request_cannot_be_written", ResponseFlags::INVALID_REQUEST));
    }

    /// The endpoint may say that it has not processed the request when some of the body is there already.
    fn may_be_declined<P: Port>(&self, turn: &mut Turn<'_, P>, connection: Key) -> bool {
        let has_body = !self.up.is_complete() || !self.up.waiting().is_empty();
        has_body && self.request.upgrade.is_none() && turn.port.protocol(connection) == Some(Protocol::Http2)
    }

    /// What differs from try to try in the request's head.
    fn fit_head<P: Port>(&mut self, turn: &mut Turn<'_, P>, connection: Key) {
        let Some(endpoint) = &self.notes.endpoint else { return };
        if self.tries.take_host_of_endpoint && !endpoint.hostname().is_empty() {
            let host = endpoint.hostname().as_bytes();
            if std::mem::replace(&mut self.tries.has_taken_host, true) {
                // What the caller said stays noted.
                self.request.set_authority(host);
            } else {
                set_host(&mut self.request, host, self.tries.append_forwarded_host);
            }
        }
        let count = self.notes.attempts;
        if count > 1 {
            self.tell_rest_of_time(turn.now());
        }
        let Some(endpoint) = &self.notes.endpoint else { return };
        let headers = &mut self.request.headers;
        if self.tries.send_count {
            headers.set_id(NameId::X_ENVOY_ATTEMPT_COUNT, decimal(count.into()).as_bytes());
        }
        headers.remove_id(NameId::MAINSTAY_ORIG_PROTO);
        let carries = endpoint.takes_http1_in_http2()
            && self.notes.protocol == Protocol::Http11
            && turn.port.protocol(connection) == Some(Protocol::Http2)
            && matches!(turn.port.binding(connection), Some(Binding::Upstream(bound)) if bound.carries_http1);
        if carries {
            headers.push_id(NameId::MAINSTAY_ORIG_PROTO, b"HTTP/1.1");
        }
    }

    /// Another attempt has no more time than is left of the whole.
    fn tell_rest_of_time(&mut self, now: Tick) {
        let Some(until) = self.deadlines.route() else { return };
        let rest = (until.since(now) / MILLISECOND).max(1);
        let expected = self.tries.per_try_timeout(self.retry_policy()).map_or(rest, |limit| limit.min(rest));
        let headers = &mut self.request.headers;
        headers.set_id(NameId::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, expected.to_string().as_bytes());
    }

    fn set_try_limits(&mut self, now: Tick) {
        let longest =
            self.notes.cluster.as_ref().and_then(|cluster| cluster.policy().http.max_stream_duration);
        self.deadlines.set(Limit::Upstream, longest.map(|limit| now.after_milliseconds(limit)));
        let Some(policy) = self.retry_policy() else { return };
        let per_try = self.tries.per_try_timeout(Some(policy)).map(|limit| now.after_milliseconds(limit));
        let idle = policy.per_try_idle_timeout.map(|limit| limit.saturating_mul(MILLISECOND));
        self.touch(now);
        self.deadlines.set(Limit::PerTry, per_try);
        self.deadlines.set_per_try_idle(idle);
    }
}
