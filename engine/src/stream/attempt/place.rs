//! Where an attempt goes: an endpoint, the pool whose connections its request may travel on, and a connection or a place in the queue.
//!
//! Invariant: what is counted as under way (requests, breakers' permits, the endpoint's load) belongs to the attempt that is returned;
//! who is refused leaves no count behind.

use std::rc::Rc;
use std::sync::Arc;

use super::{Attempt, Place, UNSENT};
use crate::codec::{Framed, rpc};
use crate::filter::LocalReply;
use crate::message::{BodyLength, NameId, Protocol, ResponseFlags, Tick};
use crate::plan::UpstreamProtocol;
use crate::stream::exchange::Exchange;
use crate::stream::port::Port;
use crate::stream::reply::flagged;
use crate::stream::shared::Turn;
use crate::telemetry::ClusterCounter;
use crate::upstream::{Cluster, Endpoint, Leased, Permit, PickContext, PoolProtocol, Resource, Wanted};

impl Exchange {
    /// An endpoint with a connection to it, or a place where one is waited for. The worker's seat at the cluster is looked for once.
    pub(super) fn place<P: Port>(
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

    pub(super) fn pool_wanted(&self, cluster: &Cluster, endpoint: &Endpoint) -> Wanted<'_> {
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

    /// Frames go on in their own protocol, whatever the cluster's.
    fn rpc_wanted(&self) -> Option<(&Framed, u64)> {
        let frame = self.request.frame?;
        let of_site = || self.site.http.as_ref().and_then(|http| http.manager.rpc_of(&self.request));
        let protocol = self.errand().and_then(|errand| errand.rpc.as_ref()).or_else(of_site)?;
        Some((protocol, frame.pin))
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
pub(super) fn overflowed() -> Box<LocalReply> {
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
