//! Open connections with room: which one is next, and who is among them.

use super::member::{MemberId, Phase, Use};
use super::{PoolId, Pools};
use crate::message::{Key, MILLISECOND, Tick};
use crate::telemetry::ClusterCounter;

impl Pools {
    /// A connection with room, counted for one more stream.
    pub(super) fn take_ready(&mut self, id: PoolId, alone: bool, now: Tick) -> Option<Key> {
        loop {
            let pool = self.pools.get(id)?;
            let found = if pool.is_framed { self.framed(pool, alone)? } else { *pool.ready.last()? };
            let http = &pool.cluster.policy().http;
            let (age, requests) = (http.max_connection_duration, http.max_requests_per_connection);
            let member = self.members.get_mut(found)?;
            if age.is_some_and(|age| now.since(member.since) >= age.saturating_mul(MILLISECOND)) {
                self.retire_member(found);
                continue;
            }
            member.active += 1;
            member.served = member.served.saturating_add(1);
            if alone {
                member.usage = Use::Lent;
            }
            let connection = member.connection;
            let spent = requests.is_some_and(|limit| member.served >= limit);
            let full = !member.has_room();
            if spent {
                member.phase = Phase::Retiring;
                pool.counters.increment(ClusterCounter::CxMaxRequests);
            }
            if spent || full {
                self.unlist(found);
            }
            if spent {
                self.leave(found);
            }
            return Some(connection);
        }
    }

    pub(super) fn list(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.listed || !member.has_room() {
            return;
        }
        member.listed = true;
        if let Some(pool) = self.pools.get_mut(member.pool) {
            pool.ready.push(id);
        }
    }

    pub(super) fn unlist(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(id) else { return };
        if std::mem::take(&mut member.listed)
            && let Some(pool) = self.pools.get_mut(member.pool)
            // It is nearly always the last.
            && let Some(at) = pool.ready.iter().rposition(|known| *known == id)
        {
            pool.ready.remove(at);
        }
    }

    pub(super) fn touch(&mut self, id: PoolId) {
        // Where nobody waits nothing is to be done.
        if let Some(pool) = self.pools.get_mut(id)
            && !pool.waiting.is_empty()
            && !std::mem::replace(&mut pool.touched, true)
        {
            self.touched.push_back(id);
        }
    }
}
