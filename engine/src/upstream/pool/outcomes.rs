//! What became of connections and of the streams on them.

use super::member::{Member, MemberId, Phase, Use};
use super::{Failure, MAX_IDLE, PoolId, Pools};
use crate::message::{Key, Tick};
use crate::telemetry::ClusterCounter;
use crate::upstream::breaker::Permit;

impl Pools {
    /// The dial that was ordered is under way as this connection.
    pub fn dialing(&mut self, pool: PoolId, connection: Key, now: Tick) {
        let Some(pool_now) = self.pools.get_mut(pool) else { return };
        let permit = pool_now.ordered.pop().unwrap_or_else(Permit::free);
        pool_now.counters.increment(ClusterCounter::CxTotal);
        pool_now.counters.increment(ClusterCounter::CxActive);
        let is_framed = pool_now.is_framed;
        let id = self.members.insert(Member::connecting(connection, pool, permit, now));
        self.by_connection.insert(connection, id);
        if is_framed && let Some(pool) = self.pools.get_mut(pool) {
            pool.usable.push(id);
        }
    }

    /// The dial that was ordered could not even begin: as if it had failed.
    pub fn undialed(&mut self, pool: PoolId, why: Failure) {
        if let Some(pool_now) = self.pools.get_mut(pool) {
            pool_now.ordered.pop();
            self.lost_dial(pool, why);
        }
    }

    /// The connection is open. `streams`: how many it takes at once as far as is known (1 for HTTP/1).
    pub fn connected(&mut self, connection: Key, multiplexes: bool, streams: u32, now: Tick) {
        let Some((member_id, member)) = self.find_mut(connection) else { return };
        if member.phase != Phase::Connecting {
            return;
        }
        member.opened(if multiplexes { streams } else { 1 }, now);
        let id = member.pool;
        if let Some(pool) = self.pools.get_mut(id) {
            pool.connecting = pool.connecting.saturating_sub(1);
            pool.multiplexes = Some(multiplexes);
            pool.counters.increment(match (&pool.key.key.rpc, multiplexes) {
                (Some(_), _) => ClusterCounter::CxRpcTotal,
                (None, true) => ClusterCounter::CxHttp2Total,
                (None, false) => ClusterCounter::CxHttp1Total,
            });
            if pool.retired && pool.waiting.is_empty() {
                self.retire_member(member_id);
                return;
            }
        }
        self.list(member_id);
        self.touch(id);
    }

    /// The peer has said how many streams it takes at once.
    pub fn capacity(&mut self, connection: Key, streams: u32) {
        let Some((member_id, member)) = self.find_mut(connection) else { return };
        member.streams = streams;
        let (id, has_room) = (member.pool, member.has_room());
        if has_room {
            self.list(member_id);
            self.touch(id);
        } else {
            self.unlist(member_id);
        }
    }

    /// A stream is over. `reusable`: the connection can take another.
    pub fn give_back(&mut self, connection: Key, reusable: bool, now: Tick) {
        let Some((member_id, member)) = self.find_mut(connection) else { return };
        member.active = member.active.saturating_sub(1);
        member.idle_since = now;
        if member.usage == Use::Lent {
            member.usage = Use::Shared;
        }
        let (id, idle, retires, listed) =
            (member.pool, member.active == 0, member.phase == Phase::Retiring, member.listed);
        let pool = self.pools.get(id);
        let nobody_waits = pool.is_none_or(|pool| pool.waiting.is_empty());
        let unwanted = nobody_waits
            && pool.is_some_and(|pool| {
                pool.retired || pool.multiplexes == Some(false) && pool.ready.len() >= MAX_IDLE
            });
        if !reusable || retires || unwanted {
            return self.give_up(member_id, idle);
        }
        if !listed {
            self.list(member_id);
        }
        if !nobody_waits {
            self.touch(id);
        }
    }

    /// The connection takes no further streams.
    fn give_up(&mut self, id: MemberId, idle: bool) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.phase = Phase::Retiring;
        let connection = member.connection;
        self.unlist(id);
        self.leave(id);
        if idle {
            self.closing.push(connection);
        }
    }

    /// The connection takes no new streams (GOAWAY, `Connection: close`); it is closed when it holds none.
    pub fn retire(&mut self, connection: Key) {
        if let Some(&id) = self.by_connection.get(&connection) {
            self.retire_member(id);
        }
    }

    pub(super) fn retire_member(&mut self, member_id: MemberId) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        if member.phase == Phase::Retiring {
            return;
        }
        let connecting = member.phase == Phase::Connecting;
        let (id, idle) = (member.pool, member.active == 0);
        self.give_up(member_id, idle);
        if connecting && let Some(pool) = self.pools.get_mut(id) {
            pool.connecting = pool.connecting.saturating_sub(1);
        }
        self.touch(id);
    }

    /// The connection takes no new requests, or is none of the pools'.
    pub fn is_leaving(&self, connection: Key) -> bool {
        self.find(connection).is_none_or(|member| member.phase == Phase::Retiring)
    }

    /// The dial failed: those who waited for it get nothing.
    pub fn failed(&mut self, connection: Key, timed_out: bool) {
        let Some(member) = self.forget(connection) else { return };
        let connecting = member.phase == Phase::Connecting;
        let id = member.pool;
        drop(member);
        self.closing.retain(|known| *known != connection);
        if let Some(pool) = self.pools.get_mut(id) {
            pool.counters.decrement(ClusterCounter::CxActive);
            pool.counters.increment(ClusterCounter::CxConnectFail);
            if timed_out {
                pool.counters.increment(ClusterCounter::CxConnectTimeout);
            }
            if connecting {
                let why = if timed_out { Failure::ConnectTimeout } else { Failure::Connect };
                self.lost_dial(id, why);
            } else {
                pool.total = pool.total.saturating_sub(1);
                self.touch(id);
            }
        }
    }

    /// Takes a connection out for good.
    fn forget(&mut self, connection: Key) -> Option<Member> {
        let id = self.by_connection.remove(&connection)?;
        self.unlist(id);
        self.leave(id);
        self.members.remove(id)
    }

    fn lost_dial(&mut self, id: PoolId, why: Failure) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        pool.connecting = pool.connecting.saturating_sub(1);
        pool.total = pool.total.saturating_sub(1);
        // An HTTP/1 dial was for one request; an HTTP/2 dial for all that wait.
        let count = match pool.multiplexes {
            Some(false) => usize::from(pool.waiting.len() > pool.connecting as usize),
            _ => pool.waiting.len(),
        };
        for waiter in pool.waiting.drain(..count) {
            pool.counters.decrement(ClusterCounter::RqPendingActive);
            pool.counters.increment(ClusterCounter::RqPendingFailureEject);
            self.failed.push_back((waiter.exchange, why));
        }
        self.touch(id);
    }

    /// The connection is gone, streams and all.
    pub fn closed(&mut self, connection: Key) {
        let Some(member) = self.forget(connection) else { return };
        self.closing.retain(|known| *known != connection);
        if let Some(pool) = self.pools.get_mut(member.pool) {
            pool.total = pool.total.saturating_sub(1);
            if member.phase == Phase::Connecting {
                pool.connecting = pool.connecting.saturating_sub(1);
            }
            pool.counters.decrement(ClusterCounter::CxActive);
        }
        let id = member.pool;
        // The permit must be back before those who wait are looked at.
        drop(member);
        self.touch(id);
    }
}
