//! Attempts: an endpoint, a connection, the request sent on it; and whether another follows.
//!
//! In: what became of the last one. Out: leases of the worker's pools, commands. Invariant: a stream that was opened, or a
//! place in a pool's queue that was taken, is given back exactly once, whatever ends the attempt.
//!
//! `place` says where one goes, `send` sends the request, `end` gives back what it held, `again` decides on another; `tries` is what
//! they all share.

mod again;
mod end;
mod place;
mod send;
mod tries;

use std::rc::Rc;
use std::sync::Arc;

pub use self::tries::Tries;
use super::binding::Binding;
use super::exchange::{Exchange, Phase};
use super::port::Port;
use super::shared::Turn;
use crate::codec::contract::StreamId;
use crate::message::{Key, Tick};
use crate::route::RetryPolicy;
use crate::upstream::{Attempted, Counts, Endpoint, Failure, InFlight, Leased, Permit, PoolId};

/// What became of an attempt that has no response to pass on (or one that may be given up).
pub type Outcome<'a> = Attempted<'a>;

/// Leases taken again because the connection would not open a stream after all.
const MAX_RELEASES: u8 = 3;

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

    /// By what attempts follow others.
    pub(super) fn retry_policy(&self) -> Option<&RetryPolicy> {
        let route = self.notes.decision.route().and_then(|route| route.forward());
        self.tries.policy(route.and_then(|forward| forward.retry.as_deref()))
    }

    /// Where the attempt under way goes.
    pub(super) fn asked(&self) -> Option<&Arc<Endpoint>> {
        self.attempt.as_ref().and(self.notes.endpoint.as_ref())
    }

    /// A health probe: no request of anybody's.
    pub(super) fn is_probe(&self) -> bool {
        self.errand().is_some_and(|errand| errand.pinned.is_some())
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

    /// A connection is there: the request goes out on it.
    pub fn served<P: Port>(&mut self, turn: &mut Turn<'_, P>, connection: Key) {
        let now = turn.now();
        if self.attempt.is_none() || self.is_finished() {
            return turn.shared.pools.give_back(connection, true, now);
        }
        let Some(stream) = turn.port.open_stream(connection) else {
            return self.lease_again(turn, connection);
        };
        let Some(Binding::Upstream(bound)) = turn.port.binding(connection) else {
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
