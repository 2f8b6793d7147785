//! What becomes of a request: its route, and what the route's decision makes of the exchange before anything is attempted.
//!
//! In: the head as the connection manager, later the filters left it. Out: a decision in the notes; then limits, retries, the
//! cluster and the head as endpoints see it, or the reply that ends the matter.

use std::rc::Rc;
use std::sync::Arc;

use super::attempt::Tries;
use super::direction::{CALL_REPLAY_LIMIT, REPLAY_LIMIT};
use super::exchange::{Errand, Exchange};
use super::port::Port;
use super::reply::flagged;
use super::shared::{Own, Todo, Turn};
use super::timeouts::Limit;
use crate::bytes::decimal;
use crate::filter::LocalReply;
use crate::message::{HeaderBlock, MILLISECOND, NameId, NameSet, Protocol, RequestHead, ResponseFlags};
use crate::route::{Decision, Forward, IdleTimeout, RetryPolicy, RouteInput, Table};
use crate::telemetry::HttpCounter;
use crate::upstream::{Cluster, Priority};

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

impl Exchange {
    /// Decides the route from the head as it is now.
    pub fn decide_route<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        let site = Rc::clone(&self.site);
        let Some(http) = &site.http else { return };
        let random = turn.port.random();
        let table = turn.port.snapshot().routes(&http.manager.routes).map(AsRef::as_ref);
        self.decide_by(table, random);
    }

    /// As `decide_route`, for who has looked the table up. `None`: there is none.
    pub fn decide_by(&mut self, table: Option<&Table>, random: u64) {
        let input = RouteInput { head: &self.request, is_tls: self.site.peer.is_tls, random };
        self.notes.decision = table.map_or(Decision::NotFound, |table| table.decide(&input));
        let Some(forward) = self.notes.decision.route().and_then(|route| route.forward()) else { return };
        match forward.idle_timeout {
            IdleTimeout::Inherited => {}
            IdleTimeout::Unlimited => self.deadlines.set_idle(None),
            IdleTimeout::Milliseconds(limit) => {
                self.deadlines.set_idle(Some(limit.saturating_mul(MILLISECOND)));
            }
        }
        if let Some(limit) = forward.max_duration {
            let end = self.notes.moments.started.after_milliseconds(limit);
            self.deadlines.set(Limit::Duration, Some(end));
        }
    }

    /// The request's head is past all filters: what the decision says is done.
    pub fn head_passed<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        match &self.notes.decision {
            Decision::Forward { .. } => match self.prepare(turn) {
                Ok(()) => self.attempt(turn),
                Err(reply) => self.reply(turn, *reply),
            },
            decision => {
                let reply = self.answer_of(decision);
                self.reply(turn, reply);
            }
        }
    }

    /// What a decision answers that sends the request nowhere.
    #[cold]
    fn answer_of(&self, decision: &Decision) -> LocalReply {
        let count = |counter| {
            if let Some(http) = &self.site.http {
                http.counters.increment(counter);
            }
        };
        match decision {
            Decision::Redirect { status, location, .. } => {
                count(HttpCounter::RqRedirect);
                let mut reply = LocalReply::new(*status, "", "direct_response");
                reply.headers.push_id(NameId::LOCATION, location);
                reply
            }
            Decision::Respond { route } => {
                count(HttpCounter::RqDirectResponse);
                let (status, body) =
                    route.response().map_or((404, &[][..]), |made| (made.status, &made.body));
                let mut reply = LocalReply::new(status, "", "direct_response");
                reply.body = body.to_vec().into();
                if self.request.protocol == Protocol::Rpc {
                    // Authors mean by 503 that we are busy; for nobody being there they have 502.
                    reply.headers.push_id(NameId::X_ENVOY_LOCAL_OVERLOADED, b"true");
                }
                reply
            }
            Decision::NotFound => {
                count(HttpCounter::NoRoute);
                flagged(404, "", "route_not_found", ResponseFlags::NO_ROUTE)
            }
            Decision::NonForwarding { .. } | Decision::Forward { .. } => {
                LocalReply::new(404, "", "non_forwarding_route")
            }
        }
    }

    /// Takes from the route what its attempts need, and changes the head as it says. `Err`: it cannot go anywhere.
    fn prepare<P: Port>(&mut self, turn: &mut Turn<'_, P>) -> Result<(), Box<LocalReply>> {
        let Decision::Forward { route, weighted, .. } = &self.notes.decision else { return Ok(()) };
        let Some(forward) = route.forward() else { return Ok(()) };
        if !self.may_upgrade(forward) {
            return Err(Box::new(LocalReply::new(403, "", "upgrade_failed")));
        }
        let name = self.notes.decision.cluster();
        let Some(found) = turn.shared.found.cluster(turn.port.snapshot(), name) else {
            if let Some(http) = &self.site.http {
                http.counters.increment(HttpCounter::NoCluster);
            }
            let flags = ResponseFlags::NO_CLUSTER;
            return Err(Box::new(flagged(forward.cluster_not_found_status, "", "cluster_not_found", flags)));
        };
        self.notes.cluster = Some(Arc::clone(found));
        self.priority = if forward.high_priority { Priority::High } else { Priority::Default };
        self.tries.set_policy(forward.retry.as_deref(), &self.request);
        self.tries.take_host_of_endpoint = forward.takes_host_of_endpoint();
        self.tries.append_forwarded_host = forward.append_forwarded_host;
        self.tries.send_count = route.host.send_attempt_count;
        take_timeouts(forward, &mut self.request, &mut self.tries);
        let may_retry = self.tries.policy(forward.retry.as_deref()).is_some_and(RetryPolicy::may_retry);
        let sends_again = may_retry || forward.internal_redirect.is_some();
        if sends_again && self.request.upgrade.is_none() {
            self.up.keep_for_replay(self.replay_limit());
        }
        let known = self.notes.known(&self.site);
        route.apply_request(*weighted, &mut self.request, &known);
        if self.request.protocol != Protocol::Rpc && !self.site.is_inbound() {
            tell_who_we_are(&turn.shared.own, found, &mut self.request);
        }
        self.start_mirrors(turn, forward);
        if self.up.is_complete() {
            self.start_route_timeout(turn.now());
        }
        Ok(())
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

    fn start_mirrors<P: Port>(&self, turn: &mut Turn<'_, P>, forward: &Forward) {
        let whole = turn.whole.of_request();
        for mirror in &forward.mirrors {
            if self.request.upgrade.is_some() || !mirror.takes(turn.port.random()) {
                continue;
            }
            let mut head = Box::new(RequestHead::clone(&self.request));
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
                body: [self.up.waiting(), whole].concat(),
                end: (self.up.is_complete() || !whole.is_empty()) && self.up.trailers().is_none(),
            });
        }
    }
}

/// The route's time limit, what trusted callers ask for instead, and gRPC's own; then the fields are gone.
fn take_timeouts(forward: &Forward, head: &mut RequestHead, tries: &mut Tries) {
    if head.protocol == Protocol::Rpc {
        // The caller's patience, if it is shorter; it stands in the frame, where the endpoint finds it too.
        let limits = [forward.timeout, head.deadline_milliseconds];
        tries.route_timeout = limits.into_iter().flatten().min();
        return;
    }
    let headers = &mut head.headers;
    let number = |headers: &HeaderBlock, name| -> Option<u64> {
        headers.get_id(name).and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok())
    };
    let mut limit = forward.timeout;
    tries.is_callers_deadline = false;
    if let (Some(cap), Some(asked)) = (forward.grpc_timeout_max, headers.get_id(NameId::GRPC_TIMEOUT)) {
        tries.is_callers_deadline = true;
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
    tries.alternate_timeout = headers.contains_id(NameId::X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE);
    headers.remove_ids(ASKED_OF_US);
    tries.route_timeout = limit;
    let expected = tries.per_try_timeout(tries.policy(forward.retry.as_deref())).or(limit);
    if let Some(expected) = expected.filter(|&milliseconds| milliseconds > 0) {
        headers.set_id(NameId::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, decimal(expected).as_bytes());
    }
}

/// Sidecars tell mesh peers who they are; strangers need not know.
fn tell_who_we_are(own: &Own, cluster: &Cluster, head: &mut RequestHead) {
    if own.metadata.is_empty() || cluster.policy().service_host.is_empty() {
        return;
    }
    head.headers.set_id(NameId::X_ENVOY_PEER_METADATA, own.metadata.as_bytes());
    head.headers.set_id(NameId::X_ENVOY_PEER_METADATA_ID, own.metadata_id.as_bytes());
}

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
