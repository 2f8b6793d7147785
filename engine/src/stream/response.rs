//! The response on its way down: is it taken or tried again, then head, body and trailers towards who asked.

use super::attempt::Outcome;
use super::direction::Stage;
use super::exchange::{Exchange, Phase};
use super::head;
use super::notes::Known;
use super::origin::Origin;
use super::port::Port;
use super::reply::{flagged, status_of_grpc};
use super::request::BETWEEN_SIDECARS;
use super::resend::Whereto;
use super::shared::{Own, Turn};
use crate::bytes::decimal;
use crate::codec::contract::Command;
use crate::filter::Run;
use crate::message::{HeaderBlock, MILLISECOND, NameId, Protocol, ResetReason, ResponseFlags, ResponseHead};
use crate::telemetry::{HttpCounter, class_of};
use crate::upstream::Report;

impl Exchange {
    /// A 1xx head of the endpoint.
    pub fn interim_received<P: Port>(&mut self, turn: &mut Turn<'_, P>, head: &ResponseHead) {
        self.touch(turn.now());
        // 100-continue has been answered by the codec, unless the plan passes it on.
        let passes = self.site.http.as_ref().is_some_and(|http| http.manager.options.proxy_100_continue);
        if self.phase == Phase::Sending && (head.status != 100 || passes) {
            self.origin.interim(turn.port, head);
        }
    }

    /// The endpoint has answered. `end`: this is all of it, with the body that lies in the turn.
    pub fn response_received<P: Port>(&mut self, turn: &mut Turn<'_, P>, head: Box<ResponseHead>, end: bool) {
        if turn.whole.body.is_empty() {
            return self.answered(turn, head, end, false);
        }
        // Filters see a body when its head has gone on its way.
        turn.whole.goes_along =
            self.site.http.as_ref().is_none_or(|http| !http.filters.wants_response_data());
        self.answered(turn, head, end, true);
        let body = turn.whole.take();
        if !body.is_empty() {
            // It could not go with its head, or is not wanted.
            self.response_data(turn, body, end);
        }
    }

    fn answered<P: Port>(
        &mut self,
        turn: &mut Turn<'_, P>,
        mut head: Box<ResponseHead>,
        is_over: bool,
        has_body: bool,
    ) {
        if self.phase != Phase::Sending {
            return;
        }
        let end = is_over && !has_body;
        let now = turn.port.clock();
        self.touch(now);
        self.notes.moments.first_upstream_received.get_or_insert(now);
        let is_grpc = self.request.is_grpc();
        if is_grpc {
            self.notes.grpc_status = None;
            self.notes.note_grpc_status(&head.headers);
        }
        let grpc_status = self.notes.grpc_status;
        let seen = grpc_status.map_or(head.status, status_of_grpc);
        // How a gRPC call went is known by its trailers.
        if !is_grpc || grpc_status.is_some() || end || head.status != 200 {
            self.report(turn, Report::Answered(seen));
        }
        if self.follow_redirect(turn, &head) {
            return;
        }
        if self.try_again(turn, &Outcome::Answered { head: &head, grpc_status }, is_over) {
            return;
        }
        self.notes.grpc_status = grpc_status;
        self.note_details("via_upstream");
        self.count_answer(head.status);
        self.deadlines.end_of_try();
        self.up.stop_keeping();
        self.phase = Phase::Answered;
        self.down.stage = if end { Stage::Ended } else { Stage::Body };
        if self.request.upgrade.is_some() {
            self.accept_upgrade(&mut head);
        }
        if end {
            self.attempt_ended(turn);
        }
        self.add_router_fields(&turn.shared.own, &mut head, now);
        self.begin_response(turn, head);
    }

    fn count_answer(&self, status: u16) {
        if let Some(counters) = self.attempt.as_ref().and_then(|attempt| attempt.counters.as_ref()) {
            counters.increment(class_of(status).0);
        }
    }

    /// What Envoy's router says of the upstream.
    fn add_router_fields(&mut self, own: &Own, head: &mut ResponseHead, now: crate::message::Tick) {
        if self.site.http.is_none() {
            return;
        }
        let headers = &mut head.headers;
        headers.remove_ids(BETWEEN_SIDECARS);
        if self.notes.asked_who_we_are {
            headers.push_id(NameId::X_ENVOY_PEER_METADATA, own.metadata.as_bytes());
            headers.push_id(NameId::X_ENVOY_PEER_METADATA_ID, own.metadata_id.as_bytes());
        }
        if let Some(complete) = self.notes.moments.request_complete {
            let milliseconds = now.since(complete) / MILLISECOND;
            if self.request.protocol == Protocol::Rpc {
                // No frame has a place for it; the log asks the notes.
                self.notes.service_time = u32::try_from(milliseconds).ok();
            } else {
                headers.set_id(NameId::X_ENVOY_UPSTREAM_SERVICE_TIME, decimal(milliseconds).as_bytes());
            }
        }
        self.tell_attempts(head);
    }

    /// `include_attempt_count_in_response`, once something was attempted.
    pub fn tell_attempts(&self, head: &mut ResponseHead) {
        let returns = self.notes.decision.route().is_some_and(|route| route.return_attempt_count);
        if returns && self.notes.attempts > 0 {
            let count = decimal(self.notes.attempts.into());
            head.headers.set_id(NameId::X_ENVOY_ATTEMPT_COUNT, count.as_bytes());
        }
    }

    /// A response, theirs or ours, starts on its way down: the route's changes, then the filters.
    pub fn begin_response<P: Port>(&mut self, turn: &mut Turn<'_, P>, mut head: Box<ResponseHead>) {
        if let Some(route) = self.notes.decision.route() {
            let known = self.notes.known(&self.site);
            let known = Known { request: Some(&self.request), status: head.status, ..known };
            route.apply_response(self.notes.decision.weighted(), &mut head, &known);
        }
        self.response = Some(head.into());
        self.filter_response_head(turn, Run::All);
    }

    /// The response's head is past all filters.
    pub fn response_passed<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        let Some(mut head) = self.response.take() else { return };
        let is_ours = self.down.is_ours;
        if let Some(http) = &self.site.http {
            if self.request.protocol != Protocol::Rpc {
                let date = turn.shared.date.at(turn.port.wall());
                head::send(&http.manager.options, &self.request, &mut head, date, is_ours);
            }
            if let Origin::Client { connection, .. } = self.origin
                && self.request.protocol != Protocol::Http2
                && turn.port.ends_keep_alive()
            {
                http.counters.increment(HttpCounter::CxDrainClose);
                let _ = turn.port.perform(connection, Command::GoAway { gentle: true });
            }
        }
        self.notes.status = head.status;
        self.notes.sent_headers = head.headers.bytes() as u64;
        let fresh = if self.is_tunnel || is_ours { &[] } else { self.take_response_body(turn) };
        let body = match fresh {
            [] if !self.is_tunnel && self.down.paused_at.is_none() => self.down.waiting(),
            fresh => fresh,
        };
        let (size, is_all) = (body.len(), body.len() == fresh.len() + self.down.waiting().len());
        let end = is_all && self.down.is_complete() && self.down.trailers().is_none() && !self.is_tunnel;
        let sent = self.origin.head(turn.port, &head, (body, end));
        self.response = Some(head);
        self.head_sent = true;
        let Ok(accepted) = sent else {
            self.down.end_sent = end && size == 0;
            // The stream is gone; its reset says why.
            return self.origin_reset(turn, ResetReason::ConnectionClosed);
        };
        self.down.end_sent = end && accepted == size;
        if size > 0 {
            self.notes.sent += accepted as u64;
            match fresh {
                [] => {
                    let credit = self.down.advance(accepted);
                    self.grant_attempt(turn, credit);
                }
                // Its source is over: nobody waits for credit.
                fresh => _ = self.down.pass(fresh, accepted),
            }
        }
        if self.is_tunnel && !self.open_tunnel(turn) {
            return self.cut(turn, ResetReason::Failed);
        }
        if self.down.end_sent { self.settle() } else { self.flush_down(turn) }
    }

    /// The body that came with the head goes down with it; its stream is over.
    fn take_response_body<'b, P: Port>(&mut self, turn: &mut Turn<'b, P>) -> &'b [u8] {
        let body = turn.whole.take_along(true);
        if !body.is_empty() {
            self.note_response_data(turn, body, true);
        }
        body
    }

    fn note_response_data<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: &[u8], end: bool) {
        self.down.received += bytes.len() as u64;
        if self.request.is_grpc() {
            self.notes.note_messages(1, bytes);
        }
        if end {
            self.down.stage = Stage::Ended;
            self.attempt_ended(turn);
        }
    }

    /// Body bytes of the endpoint.
    pub fn response_data<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: &[u8], end: bool) {
        if self.is_finished() || self.phase != Phase::Answered || self.down.is_ours {
            return;
        }
        let now = turn.now();
        self.touch(now);
        self.note_response_data(turn, bytes, end);
        if !self.head_sent || self.down.paused_at.is_some() {
            self.down.hold(bytes);
            if self.down.collects {
                self.collect_response(turn);
            }
            return;
        }
        let end = end && self.down.trailers().is_none();
        if let Some(bytes) = self.filter_response_data(turn, Run::All, bytes, end) {
            self.send_down(turn, &bytes);
        }
    }

    pub fn response_trailers<P: Port>(&mut self, turn: &mut Turn<'_, P>, trailers: Box<HeaderBlock>) {
        if self.is_finished() || self.phase != Phase::Answered || self.down.is_ours {
            return;
        }
        self.touch(turn.now());
        if self.request.is_grpc() {
            self.notes.note_grpc_status(&trailers);
            let status = self.notes.grpc_status.map_or(200, status_of_grpc);
            self.report(turn, Report::Answered(status));
        }
        self.down.set_trailers(trailers);
        self.down.stage = Stage::Ended;
        self.attempt_ended(turn);
        if self.down.collects {
            return self.collect_response(turn);
        }
        if self.head_sent && self.down.paused_at.is_none() && self.pass_response_trailers(turn, Run::All) {
            self.flush_down(turn);
        }
    }

    /// Bytes that the filters have passed: down at once if who asked takes them and none wait before.
    fn send_down<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: &[u8]) {
        if !self.down.waiting().is_empty() {
            return self.down.hold(bytes);
        }
        let end = self.down.is_complete() && self.down.trailers().is_none();
        let Ok(accepted) = self.origin.data(turn.port, bytes, end) else {
            return self.origin_reset(turn, ResetReason::ConnectionClosed);
        };
        let credit = self.down.pass(bytes, accepted);
        self.note_sent_down(turn, accepted, end && accepted == bytes.len());
        self.grant_attempt(turn, credit);
        if self.down.is_complete() && !self.down.end_sent && self.down.waiting().is_empty() {
            return self.flush_down(turn);
        }
        self.settle();
    }

    /// Sends what waits, as far as who asked takes it.
    pub fn flush_down<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if !self.head_sent || self.down.paused_at.is_some() || self.is_finished() {
            return;
        }
        let ends = self.down.is_complete() && self.down.trailers().is_none();
        let waiting = self.down.waiting();
        if !waiting.is_empty() || (ends && !self.down.end_sent) {
            let size = waiting.len();
            let Ok(accepted) = self.origin.data(turn.port, waiting, ends) else {
                return self.origin_reset(turn, ResetReason::ConnectionClosed);
            };
            let credit = self.down.advance(accepted);
            self.note_sent_down(turn, accepted, ends && accepted == size);
            self.grant_attempt(turn, credit);
        }
        if self.down.waiting().is_empty()
            && self.down.is_complete()
            && !self.down.end_sent
            && let Some(trailers) = self.down.trailers()
        {
            if self.origin.trailers(turn.port, trailers).is_err() {
                return self.origin_reset(turn, ResetReason::ConnectionClosed);
            }
            self.note_sent_down(turn, 0, true);
        }
        self.settle();
    }

    fn note_sent_down<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: usize, end: bool) {
        self.touch(turn.now());
        self.notes.sent += bytes as u64;
        self.down.end_sent |= end;
    }

    /// `bytes` of the response have left our hands.
    pub fn grant_attempt<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: usize) {
        if bytes == 0 || self.down.is_ours {
            return;
        }
        if let Some((connection, stream)) = self.attempt.as_ref().and_then(|attempt| attempt.open_stream()) {
            let _ = turn.port.perform(connection, Command::GrantCredit { stream, bytes });
        }
    }

    /// The attempt's stream has ended before its time.
    #[cold]
    pub fn upstream_reset<P: Port>(
        &mut self,
        turn: &mut Turn<'_, P>,
        reason: ResetReason,
        unprocessed: bool,
    ) {
        if self.is_finished() {
            return;
        }
        let (now, body) = (turn.now(), self.up.received);
        let is_framed = self.request.protocol == Protocol::Rpc;
        let was_sent = self.attempt.as_ref().is_some_and(|attempt| {
            // A frame that is sent whole is not sent at all before its end is there.
            attempt.may_have_left(now, body) && (!is_framed || attempt.alone || self.up.end_sent)
        });
        // A kept connection that was closed in the turn that took it: the endpoint has seen nothing.
        let unprocessed = unprocessed || !was_sent;
        let open = self.attempt.as_ref().and_then(|attempt| attempt.open_stream());
        let whereto = self.whereto(turn, open.map(|(connection, _)| connection));
        self.forget_stream(turn, false);
        let flag = match reason {
            ResetReason::ConnectionClosed => ResponseFlags::UPSTREAM_TERMINATION,
            ResetReason::ProtocolError => ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
            _ => ResponseFlags::UPSTREAM_REMOTE_RESET,
        };
        if self.phase >= Phase::Answered {
            if self.down.is_complete() {
                // All of the response is here; what was left of the request is not wanted.
                return;
            }
            self.down.stage = Stage::Reset;
            self.notes.flags.add(flag);
            self.note_details(format!("upstream_reset_after_response_started{{{}}}", text_of(reason)));
            if self.is_tunnel {
                return self.cut(turn, ResetReason::ConnectionClosed);
            }
            if !self.head_sent {
                return self.reply(turn, flagged(502, "", "upstream_reset", flag));
            }
            return self.cut(turn, ResetReason::Failed);
        }
        self.report(turn, Report::Reset);
        if unprocessed && whereto == Whereto::Elsewhere {
            self.note_declined(now);
        }
        let outcome = Outcome::Reset { reason, sent: was_sent, unprocessed };
        if self.try_again(turn, &outcome, true) || unprocessed && self.send_again(turn, whereto) {
            return;
        }
        let status = if reason == ResetReason::ProtocolError { 502 } else { 503 };
        let mut reply = flagged(
            status,
            "",
            format!("upstream_reset_before_response_started{{{}}}", text_of(reason)),
            flag,
        );
        reply.body = format!(
            "upstream connect error or disconnect/reset before headers. reset reason: {}",
            text_of(reason).replace('_', " ")
        )
        .into_bytes()
        .into();
        if unprocessed {
            self.tell_unreached(turn, &mut reply);
        }
        self.reply(turn, reply);
    }
}

/// As Envoy's details name a reset.
pub fn text_of(reason: ResetReason) -> &'static str {
    match reason {
        ResetReason::ConnectionClosed => "connection_termination",
        ResetReason::ProtocolError => "protocol_error",
        ResetReason::Refused => "remote_refused_stream_reset",
        ResetReason::Overloaded => "overflow",
        ResetReason::Timeout => "connection_timeout",
        ResetReason::Cancelled | ResetReason::Failed | ResetReason::NoError => "remote_reset",
    }
}
