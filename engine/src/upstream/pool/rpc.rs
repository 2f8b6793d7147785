//! Connections of framed protocols: a few for each endpoint, of which a large frame borrows one until it is written.
//!
//! Calls share a connection, the busiest that has room, so that others get idle. A frame that goes out in pieces must not share
//! it: its caller may stall or die within it, and then the connection is lost. So it takes one on which nothing runs, and
//! nobody else gets that one before the frame is whole. At most `MOST_LENT` are lent at once: there is always one for the others.
//! Where a large frame waits and no further connection may be dialled, one is kept free of new calls until it is idle.

use super::member::{Member, MemberId, Phase, Use};
use super::{Pool, PoolId, Pools};
use crate::message::{Key, Tick};

/// Connections to one endpoint, for one worker, TLS context and kind of frame.
const MOST: usize = 4;
/// How many of them large frames may have.
const MOST_LENT: usize = MOST - 1;

impl Pools {
    /// The large frame that had this connection for itself is written.
    pub fn written(&mut self, connection: Key) {
        let found = self.by_connection.get(&connection).and_then(|id| self.members.get_mut(*id));
        if let Some(member) = found.filter(|member| member.usage == Use::Lent) {
            member.usage = Use::Shared;
            let id = member.pool;
            self.touch(id);
        }
    }

    /// The connection for a call of that kind, if there is one.
    pub(super) fn framed(&self, pool: &Pool, alone: bool) -> Option<MemberId> {
        // Nearly always there is one connection, and small calls share it.
        if let ([only], false) = (&*pool.usable, alone)
            && self.members.get(*only).is_some_and(|member| member.usage == Use::Shared && member.has_room())
        {
            return Some(*only);
        }
        let open = self.usable(pool).filter(|(_, member)| member.has_room());
        if alone {
            if self.usable(pool).filter(|(_, member)| member.usage == Use::Lent).count() >= MOST_LENT {
                return None;
            }
            return open
                .filter(|(_, member)| member.active == 0 && member.usage != Use::Lent)
                .max_by_key(|(_, member)| member.usage == Use::Kept)
                .map(|(id, _)| id);
        }
        // Once nobody waits for it, the one that was kept is as the others.
        let keeps = pool.waiting.iter().any(|waiter| waiter.alone);
        open.filter(|(_, member)| member.usage == Use::Shared || member.usage == Use::Kept && !keeps)
            .max_by_key(|(_, member)| member.active)
            .map(|(id, _)| id)
    }

    fn usable<'a>(&'a self, pool: &'a Pool) -> impl Iterator<Item = (MemberId, &'a Member)> {
        pool.usable.iter().filter_map(|id| Some((*id, self.members.get(*id)?)))
    }

    /// The first that waits and can be served, with its place: those of one kind do not wait for the other's.
    pub(super) fn next_framed(&mut self, id: PoolId, now: Tick) -> Option<(usize, Key)> {
        let pool = self.pools.get(id)?;
        let first = pool.waiting.front()?.alone;
        let other = pool.waiting.iter().position(|waiter| waiter.alone != first);
        let places = [Some((0, first)), other.map(|at| (at, !first))];
        places.into_iter().flatten().find_map(|(at, alone)| Some((at, self.take_ready(id, alone, now)?)))
    }

    /// Somebody waits whom another connection would help, and there may be one.
    pub(super) fn wants_framed_dial(&self, id: PoolId) -> bool {
        let Some(pool) = self.pools.get(id) else { return false };
        let lent = self.usable(pool).filter(|(_, member)| member.usage == Use::Lent).count();
        pool.connecting == 0
            && pool.usable.len() < MOST
            && pool.waiting.iter().any(|waiter| !waiter.alone || lent < MOST_LENT)
    }

    /// A large frame waits and none may be dialled: the connection with the fewest calls gets no new ones.
    #[cold]
    pub(super) fn keep_one(&mut self, id: PoolId) {
        let Some(pool) = self.pools.get(id).filter(|pool| pool.waiting.iter().any(|waiter| waiter.alone))
        else {
            return;
        };
        let is_promised = pool.connecting > 0
            || self.usable(pool).any(|(_, member)| member.usage == Use::Kept)
            || self.usable(pool).filter(|(_, member)| member.usage == Use::Lent).count() >= MOST_LENT;
        let shared =
            |(_, member): &(MemberId, &Member)| member.phase == Phase::Open && member.usage == Use::Shared;
        let fewest = self.usable(pool).filter(shared).min_by_key(|(_, member)| member.active);
        if let Some((fewest, _)) = fewest.filter(|_| !is_promised)
            && let Some(member) = self.members.get_mut(fewest)
        {
            member.usage = Use::Kept;
        }
    }

    /// The connection takes no calls any more.
    pub(super) fn leave(&mut self, id: MemberId) {
        if let Some(member) = self.members.get(id)
            && let Some(pool) = self.pools.get_mut(member.pool)
        {
            pool.usable.retain(|known| *known != id);
        }
    }
}
