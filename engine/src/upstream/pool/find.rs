//! Who is looked for: a pool by what its requests want, a member by its connection.
//!
//! Invariant: what was found last is asked first, and answers only for itself.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::member::{Member, MemberId};
use super::{Cluster, Endpoint, FullKey, Pool, PoolId, PoolKey, PoolProtocol, Pools, Seat, Wanted};
use crate::message::Key;

impl Pools {
    pub(super) fn find(&self, connection: Key) -> Option<&Member> {
        self.members.get(*self.by_connection.get(&connection)?)
    }

    pub(super) fn find_mut(&mut self, connection: Key) -> Option<(MemberId, &mut Member)> {
        let (_, last) = self.last;
        let is_right =
            |id: &MemberId| self.members.get(*id).is_some_and(|member| member.connection == connection);
        let id = match last.filter(is_right) {
            Some(id) => id,
            None => *self.by_connection.get(&connection)?,
        };
        self.last.1 = Some(id);
        Some((id, self.members.get_mut(id)?))
    }

    /// The cluster and endpoint of a pooled connection.
    pub fn owner(&self, connection: Key) -> Option<(&Arc<Cluster>, &Arc<Endpoint>)> {
        let pool = self.pools.get(self.find(connection)?.pool)?;
        Some((&pool.cluster, &pool.endpoint))
    }

    /// Calls of a framed protocol that a pooled connection takes at once.
    pub fn calls_of(&self, connection: Key) -> u32 {
        let pool = self.find(connection).and_then(|member| self.pools.get(member.pool));
        pool.map_or(1, |pool| pool.key.key.calls())
    }

    /// Pooled connections, dials included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn find_or_add(
        &mut self,
        seat: &Seat,
        endpoint: &Arc<Endpoint>,
        wanted: &Wanted<'_>,
    ) -> PoolId {
        let tls = endpoint.tls().map_or(0, |cell| Arc::as_ptr(cell).addr());
        let is_wanted = |pool: &Pool| pool.key.tls == tls && wanted.is(&pool.key.key);
        let is_right = |pool: &Pool| !pool.retired && pool.key.endpoint == endpoint.id() && is_wanted(pool);
        if let (Some(last), _) = self.last
            && self.pools.get(last).is_some_and(is_right)
        {
            return last;
        }
        let known = self.by_endpoint.get(&endpoint.id()).map_or(&[][..], Vec::as_slice);
        let found = known.iter().find(|id| self.pools.get(**id).is_some_and(is_wanted));
        let id = match found {
            Some(id) => *id,
            None => self.add(seat, endpoint, tls, wanted.to_key()),
        };
        self.last.0 = Some(id);
        id
    }

    #[cold]
    fn add(&mut self, seat: &Seat, endpoint: &Arc<Endpoint>, tls: usize, key: PoolKey) -> PoolId {
        let is_framed = key.calls() > 1;
        let multiplexes = match key.protocol {
            _ if key.rpc.is_some() => Some(is_framed),
            PoolProtocol::Http1 => Some(false),
            PoolProtocol::Http2 => Some(true),
            PoolProtocol::Auto => None,
        };
        let id = self.pools.insert(Pool {
            key: FullKey { endpoint: endpoint.id(), tls, key },
            cluster: Arc::clone(&seat.cluster),
            endpoint: Arc::clone(endpoint),
            lease: Rc::clone(&seat.lease),
            counters: Rc::clone(&seat.counters),
            is_framed,
            ready: Vec::new(),
            usable: Vec::new(),
            waiting: VecDeque::new(),
            connecting: 0,
            total: 0,
            ordered: Vec::new(),
            multiplexes,
            touched: false,
            seen_set: u64::MAX,
            retired: false,
        });
        self.by_endpoint.entry(endpoint.id()).or_default().push(id);
        id
    }
}
