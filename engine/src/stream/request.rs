//! The request on its way up: its head into form, the route, then head, body and trailers towards the attempt.

use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use super::direction::{CALL_REPLAY_LIMIT, REPLAY_LIMIT, Stage};
use super::exchange::{Errand, Exchange, Phase};
use super::head::{self, Entrance, Received};
use super::origin::Origin;
use super::port::Port;
use super::reply::flagged;
use super::shared::{Own, Todo, Turn};
use super::site::HttpSite;
use crate::bytes::decimal;
use crate::codec::contract::Command;
use crate::filter::{LocalReply, Run};
use crate::message::{HeaderBlock, MILLISECOND, Name, NameId, NameSet, Protocol, ResetReason, ResponseFlags};
use crate::route::{Decision, Forward, IdleTimeout, RouteInput};
use crate::telemetry::HttpCounter;
use crate::upstream::Priority;

static DOWNSTREAM_SERVICE_CLUSTER: LazyLock<Name> =
    LazyLock::new(|| Name::new("x-envoy-downstream-service-cluster"));
static DOWNSTREAM_SERVICE_NODE: LazyLock<Name> =
    LazyLock::new(|| Name::new("x-envoy-downstream-service-node"));

impl Exchange {
    /// A client's request has come. `end`: its head was all of it.
    pub fn begin<P: Port>(&mut self, turn: &mut Turn<'_, P>, end: bool) {
        let site = Rc::clone(&self.site);
        let Some(http) = &site.http else { return self.finish() };
        let now = turn.now();
        self.set_limits_of(http, now);
        if end {
            self.request_ended(turn);
        }
        if turn.port.refuses_exchanges() {
            http.counters.increment(HttpCounter::RqOverload);
            let mut reply = flagged(503, "envoy overloaded", "overload", ResponseFlags::OVERLOAD_MANAGER);
            reply.headers.push_id(NameId::X_ENVOY_LOCAL_OVERLOADED, b"true");
            return self.reply(turn, reply);
        }
        if self.request.method() == b"CONNECT" {
            return self.reply(turn, LocalReply::new(403, "", "upgrade_failed"));
        }
        let traced = http.manager.options.tracing.and_then(|_| http.manager.rpc_of(&self.request));
        let entrance = Entrance {
            trace: traced.and_then(|protocol| protocol.trace.as_ref()),
            manager: &http.manager.options,
            peer: &site.peer,
            internal: &http.manager.internal_ranges,
            takes_http1_in_http2: site.takes_http1_in_http2(),
            own: site.peer.own_uri.as_deref().unwrap_or(&turn.shared.own.principal),
        };
        match head::receive(entrance, &mut self.request, || turn.port.random()) {
            Received::Refused(status, details) => {
                return self.reply(turn, LocalReply::new(status, "", details));
            }
            Received::Redirected(path) => {
                http.counters.increment(HttpCounter::RqRedirectedNormalized);
                let mut reply = LocalReply::new(307, "", "path_normalization_redirect");
                reply.headers.push_id(NameId::LOCATION, &path);
                return self.reply(turn, reply);
            }
            Received::GoOn { client, carried, trace } => {
                self.notes.trace = trace;
                self.notes.client = client.address;
                self.notes.protocol = carried.unwrap_or(self.notes.protocol);
                if !client.is_internal
                    && let Some(table) = turn.port.snapshot().routes(&http.manager.routes)
                {
                    table.remove_internal_headers(&mut self.request);
                }
                self.note_peer(turn);
                if http.manager.options.add_user_agent {
                    self.say_who_asks(&turn.shared.own);
                }
            }
        }
        self.decide_route(turn);
        self.filter_request_head(turn, Run::All);
    }

    fn set_limits_of(&mut self, http: &HttpSite, now: crate::message::Tick) {
        let plan = &http.manager.options;
        let after = |limit: Option<u64>| limit.map(|milliseconds| now.after_milliseconds(milliseconds));
        self.deadlines.idle_span =
            plan.stream_idle_timeout.map(|milliseconds| milliseconds.saturating_mul(MILLISECOND));
        self.deadlines.request = after(plan.request_timeout);
        self.deadlines.duration = after(plan.max_stream_duration);
    }

    /// `add_user_agent`: from which service's proxy the request comes.
    fn say_who_asks(&mut self, own: &Own) {
        let (id, cluster) = &own.node;
        let headers = &mut self.request.headers;
        headers.set(&DOWNSTREAM_SERVICE_CLUSTER, cluster.as_bytes());
        if !id.is_empty() {
            headers.set(&DOWNSTREAM_SERVICE_NODE, id.as_bytes());
        }
        if !headers.contains_id(NameId::USER_AGENT) {
            headers.push_id(NameId::USER_AGENT, cluster.as_bytes());
        }
    }

    /// Who the client says it is, for labels; not for the application.
    fn note_peer<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if !self.site.is_inbound() {
            return;
        }
        if self.request.protocol == Protocol::Rpc {
            let now = turn.now();
            self.notes.client_labels = Some(self.site.caller_labels(turn.port.snapshot(), now));
            return;
        }
        let own = &turn.shared.own;
        let field = self.request.headers.get_id(NameId::X_ENVOY_PEER_METADATA);
        self.notes.asked_who_we_are = field.is_some() && !own.metadata.is_empty();
        self.notes.client_labels = Some(self.site.client_labels(field));
        self.request.headers.remove_ids(PEER_METADATA);
    }

    /// Decides the route from the head as it is now.
    pub fn decide_route<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        let site = Rc::clone(&self.site);
        let Some(http) = &site.http else { return };
        let random = turn.port.random();
        let Some(table) = turn.port.snapshot().routes(&http.manager.routes).cloned() else {
            self.notes.decision = Decision::NotFound;
            return;
        };
        let input = RouteInput { head: &self.request, is_tls: site.peer.is_tls, random };
        self.notes.decision = table.decide(&input);
        let Some(forward) = self.notes.decision.route().and_then(|route| route.forward()) else { return };
        match forward.idle_timeout {
            IdleTimeout::Inherited => {}
            IdleTimeout::Unlimited => self.deadlines.idle_span = None,
            IdleTimeout::Milliseconds(limit) => {
                self.deadlines.idle_span = Some(limit.saturating_mul(MILLISECOND));
            }
        }
        if let Some(limit) = forward.max_duration {
            self.deadlines.duration = Some(self.notes.moments.started.after_milliseconds(limit));
        }
    }

    /// The request's head is past all filters: what the decision says is done.
    pub fn head_passed<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        let counters = self.site.http.as_ref().map(|http| Arc::clone(&http.counters));
        let count = |counter| {
            if let Some(counters) = &counters {
                counters.increment(counter);
            }
        };
        match self.notes.decision.clone() {
            Decision::Forward { route, cluster, weighted } => {
                if let Some(forward) = route.forward() {
                    self.forward(turn, &route, forward, cluster, weighted);
                }
            }
            Decision::Redirect { status, location, .. } => {
                count(HttpCounter::RqRedirect);
                let mut reply = LocalReply::new(status, "", "direct_response");
                reply.headers.push_id(NameId::LOCATION, &location);
                self.reply(turn, reply);
            }
            Decision::Respond { response, .. } => {
                count(HttpCounter::RqDirectResponse);
                let mut reply = LocalReply::new(response.status, "", "direct_response");
                reply.body = response.body.to_vec().into();
                self.reply(turn, reply);
            }
            Decision::NotFound => {
                count(HttpCounter::NoRoute);
                self.reply(turn, flagged(404, "", "route_not_found", ResponseFlags::NO_ROUTE));
            }
            Decision::NonForwarding { .. } => {
                self.reply(turn, LocalReply::new(404, "", "non_forwarding_route"))
            }
        }
    }

    fn forward<P: Port>(
        &mut self,
        turn: &mut Turn<'_, P>,
        route: &crate::route::CompiledRoute,
        forward: &Forward,
        cluster: Arc<str>,
        weighted: Option<u16>,
    ) {
        if !self.may_upgrade(forward) {
            return self.reply(turn, LocalReply::new(403, "", "upgrade_failed"));
        }
        let Some(found) = turn.port.snapshot().cluster(&cluster).cloned() else {
            if let Some(http) = &self.site.http {
                http.counters.increment(HttpCounter::NoCluster);
            }
            let flags = ResponseFlags::NO_CLUSTER;
            return self
                .reply(turn, flagged(forward.cluster_not_found_status, "", "cluster_not_found", flags));
        };
        self.notes.cluster = Some(Arc::clone(&found));
        self.priority = if forward.high_priority { Priority::High } else { Priority::Default };
        self.tries.set_policy(forward.retry.as_ref(), &self.request);
        self.tries.take_host_of_endpoint = forward.takes_host_of_endpoint();
        self.tries.append_forwarded_host = forward.append_forwarded_host;
        self.tries.send_count = route.host.send_attempt_count;
        self.take_timeouts(forward);
        let sends_again = self.tries.may_retry() || forward.internal_redirect.is_some();
        if sends_again && self.request.upgrade.is_none() {
            self.up.keep_for_replay(self.replay_limit());
        }
        let known = self.notes.known(&self.site);
        route.apply_request(weighted, &mut self.request, &known);
        self.tell_who_we_are(turn, &found);
        self.start_mirrors(turn, forward);
        if self.up.is_complete() {
            self.start_route_timeout(turn.now());
        }
        self.attempt(turn);
    }

    pub fn replay_limit(&self) -> usize {
        if self.request.protocol == Protocol::Rpc { CALL_REPLAY_LIMIT } else { REPLAY_LIMIT }
    }

    /// Where the route, else the connection manager, allows it.
    fn may_upgrade(&self, forward: &Forward) -> bool {
        let Some(wanted) = self.request.upgrade() else { return true };
        let by_manager = || {
            self.site.http.as_ref().is_some_and(|http| {
                http.manager.options.upgrades.iter().any(|allowed| allowed.as_bytes() == wanted)
            })
        };
        forward.allows_upgrade(wanted).unwrap_or_else(by_manager)
    }

    /// The route's time limit, what trusted callers ask for instead, and gRPC's own; then the fields are gone.
    fn take_timeouts(&mut self, forward: &Forward) {
        if self.request.protocol == Protocol::Rpc {
            // The caller's patience, if it is shorter; it stands in the frame, where the endpoint finds it too.
            let limits = [forward.timeout, self.request.deadline_milliseconds];
            self.tries.route_timeout = limits.into_iter().flatten().min();
            return;
        }
        let headers = &mut self.request.headers;
        let number = |headers: &HeaderBlock, name| -> Option<u64> {
            headers.get_id(name).and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok())
        };
        let mut limit = forward.timeout;
        self.tries.is_callers_deadline = false;
        if let (Some(cap), Some(asked)) = (forward.grpc_timeout_max, headers.get_id(NameId::GRPC_TIMEOUT)) {
            self.tries.is_callers_deadline = true;
            let asked = grpc_timeout(asked);
            limit = match (asked, cap) {
                (Some(asked), 0) => Some(asked),
                (Some(asked), cap) => Some(asked.min(cap)),
                (None, 0) => None,
                (None, cap) => Some(cap),
            };
        }
        if let Some(asked) = number(headers, NameId::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS) {
            limit = (asked > 0).then_some(asked);
        }
        self.tries.alternate_timeout = headers.contains_id(NameId::X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE);
        headers.remove_ids(ASKED_OF_US);
        self.tries.route_timeout = limit;
        let expected = self.tries.per_try_timeout().or(limit);
        if let Some(expected) = expected.filter(|&milliseconds| milliseconds > 0) {
            headers.set_id(NameId::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, decimal(expected).as_bytes());
        }
    }

    /// Sidecars tell mesh peers who they are; strangers need not know.
    fn tell_who_we_are<P: Port>(&mut self, turn: &mut Turn<'_, P>, cluster: &crate::upstream::Cluster) {
        let own = &turn.shared.own;
        let is_rpc = self.request.protocol == Protocol::Rpc;
        if is_rpc
            || self.site.is_inbound()
            || own.metadata.is_empty()
            || cluster.policy().service_host.is_empty()
        {
            return;
        }
        let headers = &mut self.request.headers;
        headers.set_id(NameId::X_ENVOY_PEER_METADATA, own.metadata.as_bytes());
        headers.set_id(NameId::X_ENVOY_PEER_METADATA_ID, own.metadata_id.as_bytes());
    }

    fn start_mirrors<P: Port>(&mut self, turn: &mut Turn<'_, P>, forward: &Forward) {
        for mirror in &forward.mirrors {
            if self.request.upgrade.is_some() || !mirror.takes(turn.port.random()) {
                continue;
            }
            let mut head = self.request.clone();
            if mirror.shadow_host {
                let host = shadow_host(head.authority());
                head.set_authority(&host);
            }
            let timeout = self.tries.route_timeout.unwrap_or(MIRROR_TIMEOUT).saturating_mul(MILLISECOND);
            let rpc = self.site.http.as_ref().and_then(|http| http.manager.rpc_of(&self.request)).cloned();
            let errand = Errand { timeout: Some(timeout), rpc, ..Errand::to(&mirror.cluster) };
            turn.shared.todo.push_back(Todo::Mirror {
                parent: self.key,
                head,
                errand,
                body: self.up.waiting().to_vec(),
                end: self.up.is_complete() && self.up.trailers().is_none(),
            });
        }
    }

    /// Body bytes have come from the asking side.
    pub fn request_data<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: &[u8], end: bool) {
        if self.is_finished() {
            return;
        }
        self.touch(turn.now());
        self.notes.received += bytes.len() as u64;
        self.up.received += bytes.len() as u64;
        if self.request.is_grpc() {
            self.notes.request_messages.note(bytes);
        }
        if end {
            self.request_ended(turn);
        }
        if self.phase == Phase::Deciding || self.up.paused_at.is_some() {
            self.up.hold(bytes);
            if self.up.collects {
                self.collect_request(turn);
            }
            return;
        }
        let end = end && self.up.trailers().is_none();
        if let Some(bytes) = self.filter_request_data(turn, Run::All, bytes, end) {
            self.send_up(turn, &bytes);
        }
    }

    /// Of the body that came with the head, what is still here.
    pub fn hold_credit<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        let bytes = self.up.settle_ahead();
        if let Origin::Client { connection, stream } = self.origin
            && bytes > 0
            && !self.is_finished()
        {
            let _ = turn.port.perform(connection, Command::HoldCredit { stream, bytes });
        }
    }

    pub fn request_trailers<P: Port>(&mut self, turn: &mut Turn<'_, P>, trailers: Box<HeaderBlock>) {
        if self.is_finished() {
            return;
        }
        self.touch(turn.now());
        self.up.set_trailers(trailers);
        self.request_ended(turn);
        if self.up.collects {
            return self.collect_request(turn);
        }
        if self.phase != Phase::Deciding
            && self.up.paused_at.is_none()
            && self.pass_request_trailers(turn, Run::All)
        {
            self.flush_up(turn);
        }
    }

    pub fn request_ended<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        self.up.stage = Stage::Ended;
        self.deadlines.request = None;
        let now = turn.now();
        self.notes.moments.request_complete.get_or_insert(now);
        if self.phase > Phase::Deciding {
            self.start_route_timeout(now);
        }
    }

    /// The route's limit runs from the end of the request.
    fn start_route_timeout(&mut self, now: crate::message::Tick) {
        if self.deadlines.route.is_none() && !self.is_tunnel {
            self.deadlines.route = self.tries.route_timeout.map(|limit| now.after_milliseconds(limit));
        }
    }

    /// Bytes that the filters have passed: to the attempt at once if it takes them and none wait before.
    fn send_up<P: Port>(&mut self, turn: &mut Turn<'_, P>, bytes: &[u8]) {
        let stream = self.attempt.as_ref().and_then(|attempt| attempt.open_stream());
        let Some((connection, stream)) = stream.filter(|_| self.up.waiting().is_empty()) else {
            self.up.hold(bytes);
            return;
        };
        let end = self.up.is_complete() && self.up.trailers().is_none();
        let Ok(accepted) = turn.port.perform(connection, Command::SendData { stream, bytes, end }) else {
            // A retry may want the bytes.
            self.up.hold(bytes);
            return self.refused_up(turn);
        };
        let credit = self.up.pass(bytes, accepted.bytes);
        self.note_sent_up(turn, end && accepted.bytes == bytes.len());
        self.origin.grant(turn.port, credit);
        if self.up.is_complete() && !self.up.end_sent {
            self.flush_up(turn);
        }
        self.after_sending_up(turn);
    }

    /// Sends what waits, as far as the attempt takes it.
    pub fn flush_up<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.up.paused_at.is_some() || self.phase == Phase::Deciding {
            return;
        }
        let Some((connection, stream)) = self.attempt.as_ref().and_then(|attempt| attempt.open_stream())
        else {
            return;
        };
        let ends = self.up.is_complete() && self.up.trailers().is_none();
        let waiting = self.up.waiting();
        if !waiting.is_empty() || (ends && !self.up.end_sent) {
            let size = waiting.len();
            let command = Command::SendData { stream, bytes: waiting, end: ends };
            let Ok(accepted) = turn.port.perform(connection, command) else { return self.refused_up(turn) };
            let credit = self.up.advance(accepted.bytes);
            self.origin.grant(turn.port, credit);
            self.note_sent_up(turn, ends && accepted.bytes == size);
        }
        if self.up.waiting().is_empty()
            && self.up.is_complete()
            && !self.up.end_sent
            && let Some(trailers) = self.up.trailers()
            && turn.port.perform(connection, Command::SendTrailers { stream, trailers }).is_ok()
        {
            self.note_sent_up(turn, true);
        }
        self.after_sending_up(turn);
    }

    /// The attempt's stream takes nothing more. HTTP's reset is under way; a frame that cannot be made has none.
    #[cold]
    fn refused_up<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.request.protocol == Protocol::Rpc {
            self.upstream_reset(turn, ResetReason::ProtocolError, false);
        }
    }

    fn note_sent_up<P: Port>(&mut self, turn: &mut Turn<'_, P>, end: bool) {
        let now = turn.now();
        self.touch(now);
        self.notes.moments.last_upstream_sent = Some(now);
        self.up.end_sent |= end;
    }

    pub fn after_sending_up<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.up.end_sent && self.request.one_way {
            // Nobody answers, so nobody is waited for: it went well.
            self.notes.status = 200;
            self.forget_stream(turn, true);
            return self.finish();
        }
        if self.up.end_sent {
            self.share_connection(turn);
            self.release_if_over(turn);
            if self.is_tunnel {
                self.settle();
            }
        }
    }
}

/// What sidecars tell each other of themselves.
pub const PEER_METADATA: NameSet =
    NameSet::of(&[NameId::X_ENVOY_PEER_METADATA, NameId::X_ENVOY_PEER_METADATA_ID]);

/// Fields by which a caller asks us for something; the endpoint is not asked.
const ASKED_OF_US: NameSet = NameSet::of(&[
    NameId::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
    NameId::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
    NameId::X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE,
    NameId::X_ENVOY_UPSTREAM_ALT_STAT_NAME,
    NameId::X_ENVOY_RETRY_ON,
    NameId::X_ENVOY_RETRY_GRPC_ON,
    NameId::X_ENVOY_MAX_RETRIES,
    NameId::X_ENVOY_RETRIABLE_STATUS_CODES,
    NameId::X_ENVOY_RETRIABLE_HEADER_NAMES,
    NameId::X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
]);

/// Milliseconds a mirror may take where the route has no limit.
const MIRROR_TIMEOUT: u64 = 15_000;

/// `host-shadow`, `host-shadow:port`.
fn shadow_host(host: &[u8]) -> Vec<u8> {
    let colon = memchr::memrchr(b':', host).filter(|&at| !host.get(at..).unwrap_or(&[]).contains(&b']'));
    let (name, port) = host.split_at_checked(colon.unwrap_or(host.len())).unwrap_or((host, &[]));
    [name, b"-shadow", port].concat()
}

/// `grpc-timeout` in milliseconds, rounded up: at most eight digits and a unit.
fn grpc_timeout(text: &[u8]) -> Option<u64> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => value * 3_600_000,
        b'M' => value * 60_000,
        b'S' => value * 1_000,
        b'm' => value,
        b'u' => value.div_ceil(1_000),
        b'n' => value.div_ceil(1_000_000),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_by_their_unit() {
        for (text, wanted) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("250m", Some(250)),
            ("1u", Some(1)),
            ("2000001n", Some(3)),
            ("99999999S", Some(99_999_999_000)),
            ("100000000S", None),
            ("S", None),
            ("-1S", None),
            ("1x", None),
            ("", None),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn mirrored_hosts_are_marked_before_the_port() {
        for (host, wanted) in [
            ("a.b", "a.b-shadow"),
            ("a.b:80", "a.b-shadow:80"),
            ("[::1]", "[::1]-shadow"),
            ("[::1]:80", "[::1]-shadow:80"),
        ] {
            assert_eq!(shadow_host(host.as_bytes()), wanted.as_bytes());
        }
    }
}
