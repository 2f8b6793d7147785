//! Connection pools of one worker: which connection a request takes, when another is dialled, when one is closed.
//!
//! Decisions only. In: requests that want a connection, and what became of connections, by key. Out: `Leased` at once, and
//! `Step`s that the caller performs, one at a time, until there are none: **after every call of a method that may free or
//! lose room** (`lease` that queued, `cancel`, `connected`, `capacity`, `written`, `give_back`, `retire`, `failed`, `closed`, `sweep`).
//!
//! HTTP/1 takes the connection that was idle for the shortest time, so that the others can age out, and dials one for each
//! request that waits. HTTP/2 fills a connection and dials one at a time until that one's limits are known. Framed protocols
//! have a few connections, of which large frames borrow one each (`rpc`), or as HTTP/1 one for each call where servers answer one
//! after the other. Connections
//! count against the cluster's limit, which is never exceeded: at the limit an idle connection to another endpoint of the
//! cluster makes room, else requests wait where their endpoint has a connection, and are refused where it has none.

mod find;
mod key;
mod member;
mod outcomes;
mod ready;
mod rpc;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::breaker::{Lease, Permit, Resource};
use super::cluster::Cluster;
use super::endpoint::{Endpoint, EndpointId};
use super::seat::{Counts, Seat};
use crate::message::{Key, QuickHash, Slab, Tick};
use crate::telemetry::ClusterCounter;
use key::FullKey;
pub use key::{PoolKey, PoolProtocol, RpcKey, Wanted};
use member::{Member, MemberId};

/// Number of a pool; stale once the pool is gone.
pub type PoolId = Key;

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leased {
    /// A stream may be opened on this connection; `give_back` when it is over.
    Reuse(Key),
    /// It waits: `Step::Serve` or `Step::Fail` will name it, unless it is `cancel`led first. Perform the steps now.
    Queued(PoolId),
    /// A breaker is open.
    Overflow(Resource),
}

/// What the caller is to do.
#[derive(Debug)]
pub enum Step {
    /// Dial and tell the connection's key with `dialing`; or, if that cannot be, `undialed`.
    Dial(DialOrder),
    /// The request that waited gets a stream on this connection (counted already: `give_back` also if the request is gone).
    Serve { waiter: Key, connection: Key },
    /// The request that waited gets none.
    Fail { waiter: Key, why: Failure },
    /// Close the connection; it holds no streams. `closed` follows as for any other.
    Close(Key),
}

/// Why a request that waited gets no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Connect,
    ConnectTimeout,
    Overflow(Resource),
}

/// A connection that a pool wants.
#[derive(Debug, Clone)]
pub struct DialOrder {
    pub pool: PoolId,
    pub cluster: Arc<Cluster>,
    pub endpoint: Arc<Endpoint>,
    pub key: PoolKey,
}

/// Who waits in a pool, with the permit for it.
#[derive(Debug)]
struct Waiter {
    exchange: Key,
    /// It wants a connection for itself until its frame is written.
    alone: bool,
    _permit: Permit,
}

#[derive(Debug)]
struct Pool {
    key: FullKey,
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
    lease: Rc<Lease>,
    counters: Rc<Counts>,
    /// Calls share a few connections.
    is_framed: bool,
    /// Open connections with room, the one to use next at the end.
    ready: Vec<MemberId>,
    /// Of a framed protocol: all connections that take calls or will.
    usable: Vec<MemberId>,
    waiting: VecDeque<Waiter>,
    /// Dials ordered or under way.
    connecting: u32,
    /// Connections of any phase, dials included.
    total: u32,
    /// Permits of dials that were ordered and have no connection yet.
    ordered: Vec<Permit>,
    /// Connections carry several streams; unknown before the first of an `Auto` pool.
    multiplexes: Option<bool>,
    /// In the list of those to look through.
    touched: bool,
    /// The endpoint set this pool was last held against.
    seen_set: u64,
    /// The endpoint is gone from its cluster or has another TLS context: nothing new is dialled for it.
    retired: bool,
}

impl Pool {
    fn wants_dial(&self) -> bool {
        match self.multiplexes {
            Some(false) => (self.connecting as usize) < self.waiting.len(),
            _ => self.connecting == 0 && !self.waiting.is_empty(),
        }
    }
}

/// Idle HTTP/1 connections of one pool; one more that comes back is closed.
const MAX_IDLE: usize = 1_024;

/// All pools of one worker.
#[derive(Debug, Default)]
pub struct Pools {
    pools: Slab<Pool>,
    /// Those that requests may still find: all but the retired.
    by_endpoint: HashMap<EndpointId, Vec<PoolId>, QuickHash>,
    members: Slab<Member>,
    by_connection: HashMap<Key, MemberId, QuickHash>,
    /// What was found last by each of these: calls of framed protocols ask for the same again and again, and to look whether it is the
    /// right one costs less than to hash.
    last: (Option<PoolId>, Option<MemberId>),
    touched: VecDeque<PoolId>,
    closing: Vec<Key>,
    failed: VecDeque<(Key, Failure)>,
}

impl Pools {
    /// A connection for a request to `endpoint`; `waiter` names the request if it must wait. `alone`: it is a large frame, which
    /// has the connection for itself until it is `written`.
    pub fn lease(
        &mut self,
        seat: &Seat,
        endpoint: &Arc<Endpoint>,
        wanted: &Wanted<'_>,
        (waiter, alone): (Key, bool),
        now: Tick,
    ) -> Leased {
        let priority = wanted.priority;
        let id = self.find_or_add(seat, endpoint, wanted);
        if let Some(connection) = self.take_ready(id, alone, now) {
            return Leased::Reuse(connection);
        }
        let Some(permit) = seat.acquire(priority, Resource::Pending) else {
            return Leased::Overflow(Resource::Pending);
        };
        if let Some(pool) = self.pools.get_mut(id) {
            pool.counters.increment(ClusterCounter::RqPendingTotal);
            pool.counters.increment(ClusterCounter::RqPendingActive);
            pool.waiting.push_back(Waiter { exchange: waiter, alone, _permit: permit });
        }
        self.touch(id);
        Leased::Queued(id)
    }

    /// The request no longer waits. False if it was not waiting (it may just have been served).
    pub fn cancel(&mut self, id: PoolId, waiter: Key) -> bool {
        if let Some(at) = self.failed.iter().position(|(known, _)| *known == waiter) {
            self.failed.remove(at);
            return true;
        }
        let Some(pool) = self.pools.get_mut(id) else { return false };
        let Some(at) = pool.waiting.iter().position(|known| known.exchange == waiter) else { return false };
        pool.waiting.remove(at);
        pool.counters.decrement(ClusterCounter::RqPendingActive);
        self.touch(id);
        true
    }

    /// Whether `next_step` may have anything to say.
    pub fn has_steps(&self) -> bool {
        !(self.touched.is_empty() && self.closing.is_empty() && self.failed.is_empty())
    }

    /// What is to be done next; `None`: nothing until something happens.
    pub fn next_step(&mut self, now: Tick) -> Option<Step> {
        if let Some(connection) = self.closing.pop() {
            return Some(Step::Close(connection));
        }
        if let Some((waiter, why)) = self.failed.pop_front() {
            return Some(Step::Fail { waiter, why });
        }
        while let Some(&id) = self.touched.front() {
            if let Some(step) = self.advance(id, now) {
                return Some(step);
            }
            self.touched.pop_front();
            if let Some(pool) = self.pools.get_mut(id) {
                pool.touched = false;
            }
            if let Some(connection) = self.closing.pop() {
                return Some(Step::Close(connection));
            }
        }
        None
    }

    fn advance(&mut self, id: PoolId, now: Tick) -> Option<Step> {
        let pool = self.pools.get(id).filter(|pool| !pool.waiting.is_empty())?;
        let is_framed = pool.is_framed;
        let next = if is_framed {
            self.next_framed(id, now)
        } else {
            self.take_ready(id, false, now).map(|connection| (0, connection))
        };
        if let Some((at, connection)) = next {
            let pool = self.pools.get_mut(id)?;
            let waiter = pool.waiting.remove(at)?.exchange;
            pool.counters.decrement(ClusterCounter::RqPendingActive);
            return Some(Step::Serve { waiter, connection });
        }
        let pool = self.pools.get(id)?;
        if is_framed && !self.wants_framed_dial(id) {
            self.keep_one(id);
            return None;
        }
        if !is_framed && !pool.wants_dial() {
            return None;
        }
        let permit = pool.lease.acquire(pool.key.key.priority, Resource::Connections);
        let Some(permit) = permit.or_else(|| self.evict(id)) else {
            return self.overflow(id);
        };
        let pool = self.pools.get_mut(id)?;
        pool.connecting += 1;
        pool.total += 1;
        pool.ordered.push(permit);
        Some(Step::Dial(DialOrder {
            pool: id,
            cluster: Arc::clone(&pool.cluster),
            endpoint: Arc::clone(&pool.endpoint),
            key: pool.key.key.clone(),
        }))
    }

    /// No connection may be added. Who can wait for one that is there does so.
    fn overflow(&mut self, id: PoolId) -> Option<Step> {
        let pool = self.pools.get_mut(id)?;
        pool.counters.increment(ClusterCounter::CxOverflow);
        if pool.total > 0 {
            self.keep_one(id);
            return None;
        }
        let waiter = pool.waiting.pop_front()?.exchange;
        pool.counters.decrement(ClusterCounter::RqPendingActive);
        Some(Step::Fail { waiter, why: Failure::Overflow(Resource::Connections) })
    }

    /// Closes an idle connection of another pool of the same cluster; its permit is free to use.
    fn evict(&mut self, id: PoolId) -> Option<Permit> {
        let pool = self.pools.get(id)?;
        let (lease, priority) = (&pool.lease, pool.key.key.priority);
        let idle = |(_, candidate): &(MemberId, &Member)| {
            candidate.is_idle()
                && self.pools.get(candidate.pool).is_some_and(|other| {
                    Rc::ptr_eq(&other.lease, lease) && other.key.key.priority == priority
                })
        };
        let oldest = self.members.iter().filter(idle).min_by_key(|(_, member)| member.idle_since);
        let oldest = oldest.map(|(id, _)| id)?;
        let member = self.members.get_mut(oldest)?;
        let permit = std::mem::replace(&mut member.permit, Permit::free());
        self.retire_member(oldest);
        Some(permit)
    }

    /// New requests make a pool of their own.
    fn forget_key(&mut self, endpoint: EndpointId, id: PoolId) {
        if let Some(pools) = self.by_endpoint.get_mut(&endpoint) {
            pools.retain(|known| *known != id);
            if pools.is_empty() {
                self.by_endpoint.remove(&endpoint);
            }
        }
    }
}
