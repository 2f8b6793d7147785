//! What surely was not processed is sent again, whatever the route says of retries; and an inbound side says so to a peer
//! that asks for it.
//!
//! A retry repeats what may have been processed, so a route must allow it. A request that never left, or that its endpoint
//! declined unread (REFUSED_STREAM, a stream above GOAWAY's last), has happened nowhere: sending it to another endpoint is
//! what the balancer would have done had it known. Invariant: nothing is sent again that any endpoint may have seen; at most
//! `MAX_RESENDS` times, and only while the first attempt is younger than the cluster's connect timeout, so that who waits
//! waits at most twice as long for a refusal. A one-way call is sent once.

use std::sync::Arc;

use super::attempt::Tries;
use super::exchange::{Exchange, Phase};
use super::origin::Origin;
use super::port::Port;
use super::shared::Turn;
use crate::codec::contract::Command;
use crate::filter::LocalReply;
use crate::message::{Key, MILLISECOND, NameId, Protocol, ResetReason, ResponseFlags, Tick};
use crate::telemetry::{ClusterCounter, HttpCounter};
use crate::upstream::{Cluster, PickContext};

/// Times that one request is sent again: with the first attempt, three endpoints.
pub const MAX_RESENDS: u8 = 2;
/// Picks made to find an endpoint that was not tried, before all are looked through.
const PICKS: u32 = 3;

/// Who may get what is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereto {
    /// The endpoint takes none now: another, or nobody.
    Elsewhere,
    /// Only the connection is gone: another endpoint if there is one, else the same on a new connection.
    Anywhere,
}

/// Whether it is early enough to send again what was first tried at `began`.
pub fn is_early(cluster: &Cluster, began: Tick, now: Tick) -> bool {
    now.since(began) < cluster.policy().connect_timeout.saturating_mul(MILLISECOND)
}

impl Tries {
    fn may_resend(&self, cluster: &Cluster, now: Tick) -> bool {
        let resends = self.again.as_ref().map_or(0, |again| again.resends);
        resends < MAX_RESENDS && self.began.is_some_and(|began| is_early(cluster, began, now))
    }
}

impl Exchange {
    /// Where what this connection has not processed may go.
    pub fn whereto<P: Port>(&self, turn: &mut Turn<'_, P>, connection: Option<Key>) -> Whereto {
        let is_gone = connection.is_none_or(|connection| {
            !turn.port.is_open(connection) || turn.shared.pools.is_leaving(connection)
        });
        if is_gone { Whereto::Anywhere } else { Whereto::Elsewhere }
    }

    /// The attempt's endpoint has declined it: others are asked first for a moment.
    pub fn note_declined(&self, now: Tick) {
        if let (Some(cluster), Some(endpoint)) = (&self.notes.cluster, self.asked()) {
            cluster.note_declined(endpoint, now);
        }
    }

    /// The attempt's endpoint surely has not processed the request: true if it is on its way to another.
    pub fn send_again<P: Port>(&mut self, turn: &mut Turn<'_, P>, whereto: Whereto) -> bool {
        let now = turn.now();
        let (Some(cluster), Some(endpoint)) = (self.notes.cluster.clone(), self.asked().map(Arc::clone))
        else {
            return false;
        };
        let may = turn.shared.resends
            && !self.request.one_way
            && !self.is_probe()
            && !self.head_sent
            && !self.is_tunnel
            && !self.origin_gone
            && self.up.can_rewind()
            && self.tries.may_resend(&cluster, now);
        if !may {
            return false;
        }
        self.tries.note_tried(&endpoint);
        let context =
            PickContext { now, tried: self.tries.tried(), reselections: PICKS, ..PickContext::default() };
        let seat = turn.shared.seats.take(&cluster, turn.port.recorder(), now);
        let other = seat.pick_other(&context);
        if other.is_none() && whereto == Whereto::Elsewhere {
            return false;
        }
        seat.counters.increment(ClusterCounter::RqResent);
        // It may be the sending of a retry, which goes on counting as one.
        let permit = self.tries.take_permit();
        self.drop_attempt(turn, ResetReason::Cancelled);
        let again = self.tries.again();
        again.permit = permit;
        again.resends += 1;
        again.other = other;
        self.notes.upstream_failure.clear();
        self.notes.flags.remove(ResponseFlags::UPSTREAM_RETRY_LIMIT);
        self.up.rewind(&self.request.headers);
        self.deadlines.end_of_try();
        self.phase = Phase::Connecting;
        self.attempt(turn);
        true
    }

    /// The application behind us got nothing of the call: its protocol may have a status that says so, by which the caller's side
    /// knows that it may send the call elsewhere.
    pub fn tell_unreached<P: Port>(&self, turn: &Turn<'_, P>, reply: &mut LocalReply) {
        let is_framed = self.request.protocol == Protocol::Rpc;
        if is_framed && turn.shared.resends && self.site.is_inbound() && !self.tries.was_seen() {
            reply.headers.set_id(NameId::MAINSTAY_UNREACHED, b"true");
        }
    }

    /// The application behind us takes no connection: a peer that asked for it learns that its request was not processed, and
    /// sends it elsewhere. False: it gets an answer, as from Envoy.
    pub fn decline<P: Port>(&mut self, turn: &mut Turn<'_, P>, details: &str) -> bool {
        let Origin::Client { connection, stream } = self.origin else { return false };
        let may = turn.shared.resends
            && self.site.is_inbound()
            && !self.tries.was_seen()
            && !self.head_sent
            && !self.origin_gone;
        if !may || turn.port.perform(connection, Command::DeclineStream { stream }).is_err() {
            return false;
        }
        if let Some(http) = &self.site.http {
            http.counters.increment(HttpCounter::RqDeclined);
        }
        self.notes.flags.add(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
        self.note_details(details.to_owned());
        self.notes.status = 503;
        self.origin_gone = true;
        self.drop_attempt(turn, ResetReason::Cancelled);
        self.finish();
        true
    }
}
