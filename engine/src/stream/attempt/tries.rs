//! What all attempts of an exchange share: by what policy another follows, and what those before have left behind.
//!
//! Invariant: most exchanges have one attempt; what only a second one needs is in `Again`, which nothing makes before the first has
//! failed.

use std::sync::Arc;

use crate::message::{RequestHead, Tick};
use crate::route::RetryPolicy;
use crate::upstream::{Endpoint, EndpointId, Permit, RetryHistory, retry, retry::Policy};

/// What all attempts of an exchange share.
#[derive(Debug, Default)]
pub struct Tries {
    /// The route's retry policy counts, which the decision names.
    is_of_route: bool,
    /// One that the request has a say in counts instead.
    own_policy: Option<Box<RetryPolicy>>,
    /// Of an exchange that was sent again, or is about to be.
    pub again: Option<Box<Again>>,
    /// The first attempt's beginning.
    pub began: Option<Tick>,
    /// Milliseconds for the whole, from the end of the request.
    pub route_timeout: Option<u64>,
    pub(super) releases: u8,
    /// It is what a gRPC client asked for.
    pub is_callers_deadline: bool,
    pub take_host_of_endpoint: bool,
    pub(super) has_taken_host: bool,
    pub append_forwarded_host: bool,
    /// The caller wants 204 instead of 504 (`x-envoy-upstream-rq-timeout-alt-response`).
    pub alternate_timeout: bool,
    /// `x-envoy-attempt-count` to the endpoint.
    pub send_count: bool,
}

/// What is known once an attempt has failed: most exchanges need one, and do not carry the room for more.
#[derive(Debug, Default)]
pub struct Again {
    pub(super) history: RetryHistory,
    pub tried: Vec<EndpointId>,
    /// Of the retry that runs.
    pub permit: Option<Permit>,
    /// Times that it was sent again without having been processed.
    pub resends: u8,
    /// Where the next attempt goes, instead of a pick.
    pub other: Option<Arc<Endpoint>>,
    pub(super) was_seen: bool,
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

    pub fn again(&mut self) -> &mut Again {
        self.again.get_or_insert_default()
    }

    /// Endpoints that had an attempt which failed.
    pub fn tried(&self) -> &[EndpointId] {
        self.again.as_ref().map_or(&[], |again| &again.tried)
    }

    /// Some endpoint may have seen the request.
    pub fn was_seen(&self) -> bool {
        self.again.as_ref().is_some_and(|again| again.was_seen)
    }

    /// Further attempts go elsewhere if they can.
    pub fn note_tried(&mut self, endpoint: &Endpoint) {
        let tried = &mut self.again().tried;
        if !tried.contains(&endpoint.id()) {
            tried.push(endpoint.id());
        }
    }

    /// The retry that ran, if one did, is over: its permit is free.
    pub fn take_permit(&mut self) -> Option<Permit> {
        self.again.as_mut()?.permit.take()
    }

    /// Milliseconds, unless the whole has no longer, so that it means nothing (Envoy's).
    pub fn per_try_timeout(&self, policy: Option<&RetryPolicy>) -> Option<u64> {
        let limit = policy?.per_try_timeout?;
        self.route_timeout.is_none_or(|whole| limit < whole).then_some(limit)
    }
}
