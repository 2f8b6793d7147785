//! What became of connections and of the streams on them.

use super::member::{Member, Phase, Use};
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
        if pool_now.is_framed() {
            pool_now.usable.push(connection);
        }
        self.members.insert(connection, Member::connecting(pool, permit, now));
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
        let Some(member) = self.members.get_mut(&connection) else { return };
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
                self.retire(connection);
                return;
            }
        }
        self.list(connection);
        self.touch(id);
    }

    /// The peer has said how many streams it takes at once.
    pub fn capacity(&mut self, connection: Key, streams: u32) {
        let Some(member) = self.members.get_mut(&connection) else { return };
        member.streams = streams;
        let (id, has_room) = (member.pool, member.has_room());
        if has_room {
            self.list(connection);
            self.touch(id);
        } else {
            self.unlist(connection);
        }
    }

    /// A stream is over. `reusable`: the connection can take another.
    pub fn give_back(&mut self, connection: Key, reusable: bool, now: Tick) {
        let Some(member) = self.members.get_mut(&connection) else { return };
        member.active = member.active.saturating_sub(1);
        member.idle_since = now;
        if member.usage == Use::Lent {
            member.usage = Use::Shared;
        }
        let (id, idle) = (member.pool, member.active == 0);
        let unwanted = self.pools.get(id).is_some_and(|pool| {
            let crowded = pool.multiplexes == Some(false) && pool.ready.len() >= MAX_IDLE;
            pool.waiting.is_empty() && (pool.retired || crowded)
        });
        if !reusable || member.phase == Phase::Retiring || unwanted {
            member.phase = Phase::Retiring;
            self.unlist(connection);
            self.leave(connection);
            if idle {
                self.closing.push(connection);
            }
            return;
        }
        self.list(connection);
        self.touch(id);
    }

    /// The connection takes no new streams (GOAWAY, `Connection: close`); it is closed when it holds none.
    pub fn retire(&mut self, connection: Key) {
        let Some(member) = self.members.get_mut(&connection) else { return };
        if member.phase == Phase::Retiring {
            return;
        }
        let connecting = member.phase == Phase::Connecting;
        member.phase = Phase::Retiring;
        let (id, idle) = (member.pool, member.active == 0);
        self.unlist(connection);
        self.leave(connection);
        if connecting && let Some(pool) = self.pools.get_mut(id) {
            pool.connecting = pool.connecting.saturating_sub(1);
        }
        if idle {
            self.closing.push(connection);
        }
        self.touch(id);
    }

    /// The connection takes no new requests, or is none of the pools'.
    pub fn is_leaving(&self, connection: Key) -> bool {
        self.members.get(&connection).is_none_or(|member| member.phase == Phase::Retiring)
    }

    /// The dial failed: those who waited for it get nothing.
    pub fn failed(&mut self, connection: Key, timed_out: bool) {
        self.leave(connection);
        let Some(member) = self.members.remove(&connection) else { return };
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
        self.unlist(connection);
        self.leave(connection);
        let Some(member) = self.members.remove(&connection) else { return };
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
