//! What time and new configuration do to pools.

use std::sync::Arc;

use super::Pools;
use super::member::{MemberId, Phase};
use crate::message::{Key, MILLISECOND, Tick};
use crate::telemetry::ClusterCounter;
use crate::upstream::cluster::Cluster;

impl Pools {
    /// Closes what has been idle or open for too long, and lets go of endpoints that are gone. `cluster`: the version now
    /// in force, by name. About once a second.
    pub fn sweep(&mut self, now: Tick, cluster: &dyn Fn(&str) -> Option<Arc<Cluster>>) {
        self.refresh(cluster);
        let mut ended = Vec::new();
        for (id, member) in self.members.iter() {
            let Some(pool) = self.pools.get(member.pool) else { continue };
            if member.phase != Phase::Open {
                continue;
            }
            let http = &pool.cluster.policy().http;
            let over = |limit: Option<u64>, since: Tick| {
                limit.is_some_and(|limit| now.since(since) >= limit.saturating_mul(MILLISECOND))
            };
            if member.active == 0 && over(http.idle_timeout, member.idle_since) {
                pool.counters.increment(ClusterCounter::CxIdleTimeout);
                ended.push(id);
            } else if over(http.max_connection_duration, member.since) {
                ended.push(id);
            }
        }
        for id in ended {
            self.retire_member(id);
        }
        for id in self.pools.keys() {
            let quiet = self.pools.get(id).is_some_and(|pool| pool.total == 0 && pool.waiting.is_empty());
            if quiet && let Some(pool) = self.pools.remove(id) {
                self.forget_key(pool.key.endpoint, id);
            }
        }
    }

    /// Pools whose endpoint is gone, has another TLS context, or failed its checks where that closes connections.
    fn refresh(&mut self, cluster: &dyn Fn(&str) -> Option<Arc<Cluster>>) {
        for id in self.pools.keys() {
            let Some(pool) = self.pools.get_mut(id).filter(|pool| !pool.retired) else { continue };
            let current = cluster(pool.cluster.name());
            let lasts = match &current {
                None => false,
                Some(current) => {
                    pool.cluster = Arc::clone(current);
                    let seen = current.endpoints().version;
                    if seen == pool.seen_set {
                        continue;
                    }
                    pool.seen_set = seen;
                    current.holds(&pool.endpoint)
                }
            };
            if !lasts {
                pool.retired = true;
                let endpoint = pool.key.endpoint;
                self.forget_key(endpoint, id);
                let own: Vec<MemberId> = self
                    .members
                    .iter()
                    .filter(|(_, member)| member.pool == id && member.phase == Phase::Open)
                    .map(|(member, _)| member)
                    .collect();
                for member in own {
                    self.retire_member(member);
                }
            }
        }
    }

    /// Connections that hold no stream, the longest idle first: what is shed when descriptors run out.
    pub fn idle(&self) -> Vec<Key> {
        let members = self.members.iter().map(|(_, member)| member);
        let mut idle: Vec<_> = members.filter(|member| member.is_idle()).collect();
        idle.sort_by_key(|member| member.idle_since);
        idle.into_iter().map(|member| member.connection).collect()
    }
}
