//! Attempts: an endpoint, a connection, the request sent on it; and whether another follows.
//!
//! In: what became of the last one. Out: leases of the worker's pools, commands. Invariant: a stream that was opened, or a
//! place in a pool's queue that was taken, is given back exactly once, whatever ends the attempt.

mod again;
mod end;
mod send;

use std::rc::Rc;
use std::sync::Arc;

use super::exchange::{Exchange, Phase};
use super::port::Port;
use super::reply::flagged;
use super::shared::Turn;
use crate::codec::contract::StreamId;
use crate::codec::{Framed, rpc};
use crate::filter::LocalReply;
use crate::message::{BodyLength, Key, NameId, Protocol, RequestHead, ResponseFlags, Tick};
use crate::plan::UpstreamProtocol;
use crate::route::RetryPolicy;
use crate::telemetry::ClusterCounter;
use crate::upstream::{
    Attempted, Cluster, Counts, Endpoint, EndpointId, Failure, InFlight, Leased, Permit, PickContext, PoolId,
    PoolProtocol, Resource, RetryHistory, Wanted, retry, retry::Policy,
};

/// What became of an attempt that has no response to pass on (or one that may be given up).
pub type Outcome<'a> = Attempted<'a>;

/// Leases taken again because the connection would not open a stream after all.
const MAX_RELEASES: u8 = 3;

/// What all attempts of an exchange share.
#[derive(Debug, Default)]
pub struct Tries {
    /// The route's retry policy counts, which the decision names.
    is_of_route: bool,
    /// One that the request has a say in counts instead.
    own_policy: Option<Box<RetryPolicy>>,
    /// Of an exchange that was sent again, or is about to be.
    pub(super) again: Option<Box<Again>>,
    /// The first attempt's beginning.
    pub(super) began: Option<Tick>,
    /// Milliseconds for the whole, from the end of the request.
    pub route_timeout: Option<u64>,
    releases: u8,
    /// It is what a gRPC client asked for.
    pub is_callers_deadline: bool,
    pub take_host_of_endpoint: bool,
    has_taken_host: bool,
    pub append_forwarded_host: bool,
    /// The caller wants 204 instead of 504 (`x-envoy-upstream-rq-timeout-alt-response`).
    pub alternate_timeout: bool,
    /// `x-envoy-attempt-count` to the endpoint.
    pub send_count: bool,
}

/// What is known once an attempt has failed: most exchanges need one, and do not carry the room for more.
#[derive(Debug, Default)]
pub struct Again {
    history: RetryHistory,
    pub(super) tried: Vec<EndpointId>,
    /// Of the retry that runs.
    pub(super) permit: Option<Permit>,
    /// Times that it was sent again without having been processed.
    pub(super) resends: u8,
    /// Where the next attempt goes, instead of a pick.
    pub(super) other: Option<Arc<Endpoint>>,
    was_seen: bool,
}

impl Tries {
    /// `route`: its retry policy.
    pub fn set_policy(&mut self, route: Option<&RetryPolicy>, head: &RequestHead) {
        (self.is_of_route, self.own_policy) = match retry::policy_for(route, head) {
            Policy::None => (false, None),
            Policy::OfRoute => (true, None),
            Policy::Own(policy) => (false, Some(policy)),
        };
    }

    /// By what attempts follow others, if they do. `route`: its retry policy.
    pub fn policy<'a>(&'a self, route: Option<&'a RetryPolicy>) -> Option<&'a RetryPolicy> {
        self.own_policy.as_deref().or(route.filter(|_| self.is_of_route))
    }

    pub(super) fn again(&mut self) -> &mut Again {
        self.again.get_or_insert_default()
    }

    /// Endpoints that had an attempt which failed.
    pub(super) fn tried(&self) -> &[EndpointId] {
        self.again.as_ref().map_or(&[], |again| &again.tried)
    }

    /// Some endpoint may have seen the request.
    pub(super) fn was_seen(&self) -> bool {
        self.again.as_ref().is_some_and(|again| again.was_seen)
    }

    /// Further attempts go elsewhere if they can.
    pub(super) fn note_tried(&mut self, endpoint: &Endpoint) {
        let tried = &mut self.again().tried;
        if !tried.contains(&endpoint.id()) {
            tried.push(endpoint.id());
        }
    }

    /// The retry that ran, if one did, is over: its permit is free.
    pub(super) fn take_permit(&mut self) -> Option<Permit> {
        self.again.as_mut()?.permit.take()
    }

    /// Milliseconds, unless the whole has no longer, so that it means nothing (Envoy's).
    pub fn per_try_timeout(&self, policy: Option<&RetryPolicy>) -> Option<u64> {
        let limit = policy?.per_try_timeout?;
        self.route_timeout.is_none_or(|whole| limit < whole).then_some(limit)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// No pool took it.
    Nowhere,
    Queued(PoolId),
    Open {
        connection: Key,
        stream: StreamId,
    },
    /// Its stream is over.
    Ended,
}

/// One try, at the endpoint that the notes name.
#[derive(Debug)]
pub struct Attempt {
    /// The turn in which the request's head went into the outbox; `UNSENT` before.
    sent_in: Tick,
    place: Place,
    /// It has its connection for itself until the request is written, which goes out in pieces.
    pub(super) alone: bool,
    /// `None` for probes.
    pub counters: Option<Rc<Counts>>,
    /// Until its stream is over.
    held: Option<(Permit, Option<InFlight>)>,
}

const UNSENT: Tick = Tick(u64::MAX);

/// Body slices of this size may be written past the outbox, within the turn.
const WRITTEN_THROUGH: u64 = 16 * 1024;

impl Attempt {
    /// Whether any of the request can have left: what lies in the outbox is written only at the end of the turn. `body`: bytes
    /// of the request's body so far.
    pub fn may_have_left(&self, now: Tick, body: u64) -> bool {
        self.sent_in != UNSENT && (self.sent_in != now || body >= WRITTEN_THROUGH)
    }

    /// Its stream, or its wait for one, has ended.
    pub fn is_over(&self) -> bool {
        self.place == Place::Ended
    }

    /// Where commands for it go; `None` before there is a connection, and after the end.
    pub fn open_stream(&self) -> Option<(Key, StreamId)> {
        match self.place {
            Place::Open { connection, stream } => Some((connection, stream)),
            _ => None,
        }
    }
}

impl Exchange {
    /// Picks an endpoint and asks for a connection to it.
    pub fn attempt<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if self.notes.cluster.is_none() {
            return self.finish();
        }
        self.phase = Phase::Connecting;
        self.notes.attempts += 1;
        self.tries.began.get_or_insert(turn.now());
        let (endpoint, attempt, leased) = match self.place(turn) {
            Ok(placed) => placed,
            Err(refusal) => return self.reply(turn, *refusal),
        };
        self.notes.endpoint = Some(endpoint);
        self.attempt = Some(attempt);
        match leased {
            Leased::Reuse(connection) => self.served(turn, connection),
            Leased::Queued(_) => {}
            Leased::Overflow(resource) => self.unserved(turn, Failure::Overflow(resource)),
        }
    }

    /// An endpoint with a connection to it, or a place where one is waited for. The worker's seat at the cluster is looked for once.
    fn place<P: Port>(
        &mut self,
        turn: &mut Turn<'_, P>,
    ) -> Result<(Arc<Endpoint>, Attempt, Leased), Box<LocalReply>> {
        let now = turn.now();
        let other = self.tries.again.as_mut().and_then(|again| again.other.take());
        let Some(cluster) = &self.notes.cluster else { return Err(unhealthy()) };
        let seat = turn.shared.seats.take(cluster, turn.port.recorder(), now);
        let pinned = self.errand().and_then(|errand| errand.pinned.as_ref());
        let (endpoint, permit) = match pinned {
            Some((_, endpoint)) => (Arc::clone(endpoint), Permit::free()),
            None => {
                if seat.drops() {
                    return Err(overflow("drop overload", "drop_overload"));
                }
                let permit = seat.acquire(self.priority, Resource::Requests).ok_or_else(overflowed)?;
                let picked = other.or_else(|| seat.pick(&self.pick_context(cluster, now)));
                let endpoint = picked.ok_or_else(unhealthy)?;
                seat.counters.increment(ClusterCounter::RqTotal);
                seat.counters.increment(ClusterCounter::RqActive);
                (endpoint, permit)
            }
        };
        let is_probe = pinned.is_some();
        let in_flight = (!is_probe && cluster.policy().counts_active()).then(|| endpoint.begin());
        let wanted = self.pool_wanted(cluster, &endpoint);
        if wanted.protocol == PoolProtocol::Http2 && self.request.upgrade.is_some() {
            // Only HTTP/1 endpoints are asked to upgrade.
            seat.counters.decrement(ClusterCounter::RqActive);
            return Err(Box::new(LocalReply::new(403, "", "upgrade_failed")));
        }
        let alone = self.goes_alone();
        let leased = turn.shared.pools.lease(seat, &endpoint, &wanted, (self.key, alone), now);
        let place = match leased {
            Leased::Queued(pool) => Place::Queued(pool),
            _ => Place::Nowhere,
        };
        let counters = (!is_probe).then(|| Rc::clone(&seat.counters));
        let attempt = Attempt { sent_in: UNSENT, place, alone, counters, held: Some((permit, in_flight)) };
        Ok((endpoint, attempt, leased))
    }

    /// By what attempts follow others.
    pub(super) fn retry_policy(&self) -> Option<&RetryPolicy> {
        let route = self.notes.decision.route().and_then(|route| route.forward());
        self.tries.policy(route.and_then(|forward| forward.retry.as_deref()))
    }

    fn pick_context(&self, cluster: &Cluster, now: Tick) -> PickContext<'_> {
        let policy = self.retry_policy().filter(|policy| policy.avoid_previous_hosts);
        let context = PickContext {
            now,
            tried: self.tries.tried(),
            reselections: policy.map_or(0, |policy| policy.host_selection_attempts.max(1)),
            ..PickContext::default()
        };
        if !cluster.is_of_original_destinations() {
            return context;
        }
        let destination = self.request.headers.get_id(NameId::X_ENVOY_ORIGINAL_DST_HOST);
        PickContext {
            original_destination: self.site.peer.original_destination.or(self.site.peer.local),
            destination_header: destination
                .and_then(|text| std::str::from_utf8(text).ok()?.trim().parse().ok()),
            ..context
        }
    }

    /// Where the attempt under way goes.
    pub(super) fn asked(&self) -> Option<&Arc<Endpoint>> {
        self.attempt.as_ref().and(self.notes.endpoint.as_ref())
    }

    /// A health probe: no request of anybody's.
    pub(super) fn is_probe(&self) -> bool {
        self.errand().is_some_and(|errand| errand.pinned.is_some())
    }

    fn pool_wanted(&self, cluster: &Cluster, endpoint: &Endpoint) -> Wanted<'_> {
        let tls = endpoint.tls();
        let is_plain_http1 = self.notes.protocol == Protocol::Http11 && self.request.upgrade.is_none();
        let asks_http2 = self.errand().is_some_and(|errand| errand.http2);
        let chosen = if asks_http2 { UpstreamProtocol::Http2 } else { cluster.policy().http.protocol };
        let carries = is_plain_http1
            && endpoint.takes_http1_in_http2()
            && tls.is_some_and(|tls| tls.is_mutual())
            && matches!(chosen, UpstreamProtocol::Http1 | UpstreamProtocol::Downstream)
            && self.site.http.is_some();
        let protocol = match chosen {
            _ if carries => PoolProtocol::Http2,
            UpstreamProtocol::Http1 => PoolProtocol::Http1,
            UpstreamProtocol::Http2 => PoolProtocol::Http2,
            UpstreamProtocol::Downstream if self.notes.protocol == Protocol::Http2 => PoolProtocol::Http2,
            UpstreamProtocol::Auto if tls.is_some() => PoolProtocol::Auto,
            UpstreamProtocol::Downstream | UpstreamProtocol::Auto => PoolProtocol::Http1,
        };
        let takes_name = tls.is_some_and(|tls| tls.plan().auto_server_name);
        Wanted {
            protocol,
            priority: self.priority,
            server_name: takes_name.then(|| host_of(self.request.authority())).flatten(),
            carries_http1: carries,
            rpc: self.rpc_wanted(),
        }
    }

    /// A frame that goes out in pieces must not lie between those of other callers.
    fn goes_alone(&self) -> bool {
        match (self.request.frame, self.request.body) {
            (Some(frame), BodyLength::Known(length)) => {
                rpc::goes_in_pieces(frame.bytes.length as u64 + length)
            }
            _ => false,
        }
    }

    /// All of the request has been written: others may have the connection, too.
    pub fn share_connection<P: Port>(&mut self, turn: &mut Turn<'_, P>) {
        if let Some(attempt) = &mut self.attempt
            && std::mem::take(&mut attempt.alone)
            && let Some((connection, _)) = attempt.open_stream()
        {
            turn.shared.pools.written(connection);
        }
    }

    /// Frames go on in their own protocol, whatever the cluster's.
    fn rpc_wanted(&self) -> Option<(&Framed, u64)> {
        let frame = self.request.frame?;
        let of_site = || self.site.http.as_ref().and_then(|http| http.manager.rpc_of(&self.request));
        let protocol = self.errand().and_then(|errand| errand.rpc.as_ref()).or_else(of_site)?;
        Some((protocol, frame.pin))
    }

    /// A connection is there: the request goes out on it.
    pub fn served<P: Port>(&mut self, turn: &mut Turn<'_, P>, connection: Key) {
        let now = turn.now();
        if self.attempt.is_none() || self.is_finished() {
            return turn.shared.pools.give_back(connection, true, now);
        }
        let Some(stream) = turn.port.open_stream(connection) else {
            return self.lease_again(turn, connection);
        };
        let Some(super::binding::Binding::Upstream(bound)) = turn.port.binding(connection) else {
            turn.shared.pools.give_back(connection, false, now);
            return self.unserved(turn, Failure::Connect);
        };
        bound.streams.insert(stream, self.key);
        self.notes.upstream.clone_from(&bound.peer);
        if let Some(attempt) = &mut self.attempt {
            attempt.place = Place::Open { connection, stream };
        }
        self.phase = Phase::Sending;
        self.send_head(turn, connection, stream);
    }

    /// The pool believed that the connection had room, its codec knows better.
    #[cold]
    fn lease_again<P: Port>(&mut self, turn: &mut Turn<'_, P>, connection: Key) {
        let now = turn.now();
        turn.shared.pools.give_back(connection, false, now);
        self.tries.releases += 1;
        if self.tries.releases > MAX_RELEASES {
            return self.unserved(turn, Failure::Connect);
        }
        let (Some(cluster), Some(attempt), Some(endpoint)) =
            (&self.notes.cluster, &self.attempt, &self.notes.endpoint)
        else {
            return;
        };
        let seat = turn.shared.seats.take(cluster, turn.port.recorder(), now);
        let waiter = (self.key, attempt.alone);
        let wanted = self.pool_wanted(cluster, endpoint);
        let leased = turn.shared.pools.lease(seat, endpoint, &wanted, waiter, now);
        match (leased, &mut self.attempt) {
            (Leased::Queued(pool), Some(attempt)) => attempt.place = Place::Queued(pool),
            (Leased::Reuse(connection), _) => self.served(turn, connection),
            (Leased::Overflow(resource), _) => self.unserved(turn, Failure::Overflow(resource)),
            _ => {}
        }
    }
}

#[cold]
fn overflow(body: &'static str, details: &'static str) -> Box<LocalReply> {
    let mut reply = flagged(503, body, details, ResponseFlags::UPSTREAM_OVERFLOW);
    reply.headers.push_id(NameId::X_ENVOY_OVERLOADED, b"true");
    Box::new(reply)
}

/// A breaker is open.
#[cold]
fn overflowed() -> Box<LocalReply> {
    overflow(
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
        "upstream_reset_before_response_started{overflow}",
    )
}

#[cold]
fn unhealthy() -> Box<LocalReply> {
    let flags = ResponseFlags::NO_HEALTHY_UPSTREAM;
    Box::new(flagged(503, "no healthy upstream", "no_healthy_upstream", flags))
}

/// The name without its port, for TLS.
fn host_of(authority: &[u8]) -> Option<Arc<str>> {
    let text = std::str::from_utf8(authority).ok()?;
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => text,
    };
    Some(host.trim_matches(['[', ']']).to_ascii_lowercase().into())
}
