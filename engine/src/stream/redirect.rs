//! Internal redirects: a redirect of the endpoint is followed here, where the route says so, as if the client had.
//!
//! The request goes through the filters again: what guards one path must not be passed by way of another.

use super::attempt::Tries;
use super::exchange::{Exchange, Phase};
use super::port::Port;
use super::shared::Turn;
use crate::filter::{Run, States};
use crate::message::{NameId, ResetReason, ResponseHead};

impl Exchange {
    /// True if the response was a redirect that is followed here.
    pub fn follow_redirect<P: Port>(&mut self, turn: &mut Turn<'_, P>, head: &ResponseHead) -> bool {
        let forward = self.notes.decision.route().and_then(|route| route.forward());
        let Some(plan) = forward.and_then(|forward| forward.internal_redirect.as_ref()) else { return false };
        if !plan.statuses.contains(&head.status)
            || self.rare.as_ref().map_or(0, |rare| rare.redirects) >= plan.max_redirects
            || !self.up.is_complete()
            || !self.up.can_rewind()
        {
            return false;
        }
        let Some(location) = head.headers.get_id(NameId::LOCATION).and_then(split) else { return false };
        // Envoy's default: never from one scheme to another.
        if location.scheme.is_some_and(|scheme| scheme != self.request.scheme()) {
            return false;
        }
        let original =
            [self.request.scheme(), b"://", self.request.authority(), self.request.path()].concat();
        self.request.headers.set(&ORIGINAL_URL, &original);
        if let Some(authority) = location.authority {
            self.request.set_authority(authority);
        }
        self.request.set_path(location.path);
        self.drop_attempt(turn, ResetReason::Cancelled);
        self.rare.get_or_insert_default().redirects += 1;
        self.up.rewind(&self.request.headers);
        self.deadlines.end_of_try();
        (self.tries, self.states, self.phase) = (Tries::default(), States::default(), Phase::Deciding);
        self.decide_route(turn);
        self.filter_request_head(turn, Run::All);
        true
    }
}

static ORIGINAL_URL: std::sync::LazyLock<crate::message::Name> =
    std::sync::LazyLock::new(|| crate::message::Name::new("x-envoy-original-url"));

struct Location<'a> {
    scheme: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    path: &'a [u8],
}

/// An absolute URL, or a path; anything else is left to the client.
fn split(location: &[u8]) -> Option<Location<'_>> {
    if location.first() == Some(&b'/') && location.get(1) != Some(&b'/') {
        return Some(Location { scheme: None, authority: None, path: location });
    }
    let colon = memchr::memmem::find(location, b"://")?;
    let (scheme, rest) = (location.get(..colon)?, location.get(colon + 3..)?);
    let slash = memchr::memchr(b'/', rest).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(slash)?;
    let is_host = !authority.is_empty() && !authority.iter().any(|byte| b"@?#\\ ".contains(byte));
    let path = if path.is_empty() { b"/" } else { path };
    is_host.then_some(Location { scheme: Some(scheme), authority: Some(authority), path })
}
