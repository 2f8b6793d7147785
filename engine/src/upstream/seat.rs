//! What one worker holds of a cluster: made at first use, dropped after a quiet hour.

use std::collections::HashMap;
use std::sync::Arc;

use super::balance::{Cursor, PickContext};
use super::breaker::{Lease, Permit, Priority, Resource};
use super::cluster::Cluster;
use super::endpoint::Endpoint;
use super::outlier::{Ejection, Report};
use crate::message::{QuickHash, SECOND, Tick};
use crate::telemetry::{ClusterCounter, Group, Recorder};

/// Quiet for so long, a seat is dropped.
const QUIET: u64 = 3_600 * SECOND;
/// Quiet for so long, permits leased and not given out go back.
const IDLE: u64 = 5 * SECOND;

/// A worker's place at a cluster.
#[derive(Debug)]
pub struct Seat {
    pub cluster: Arc<Cluster>,
    pub counters: Arc<Group<ClusterCounter>>,
    cursor: Cursor,
    pub(super) lease: Arc<Lease>,
    used: Tick,
}

impl Seat {
    /// A seat outside `Seats`, for a caller that asks once (`workers`: of the process).
    pub fn new(cluster: &Arc<Cluster>, recorder: &Recorder, seed: u64, workers: u32) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            counters: recorder.cluster(&cluster.policy().stat_name),
            cursor: Cursor::new(seed),
            lease: Lease::new(Arc::clone(cluster.breakers()), workers),
            used: Tick::default(),
        }
    }

    /// An endpoint for a request; counts a pick that ignored health, or found none.
    pub fn pick(&mut self, context: &PickContext<'_>) -> Option<Arc<Endpoint>> {
        let found = self.cluster.pick(&mut self.cursor, context);
        if self.cursor.panicked {
            self.counters.increment(ClusterCounter::LbHealthyPanic);
        }
        if found.is_none() {
            self.counters.increment(ClusterCounter::CxNoneHealthy);
        }
        found
    }

    /// The request is to be dropped on purpose.
    pub fn drops(&mut self) -> bool {
        self.cluster.drops(&mut self.cursor)
    }

    /// Permission for one more request, retry or layer-4 connection; counts a refusal.
    pub fn acquire(&self, priority: Priority, resource: Resource) -> Option<Permit> {
        let permit = self.lease.acquire(priority, resource);
        if permit.is_none() {
            self.counters.increment(match resource {
                Resource::Connections => ClusterCounter::CxOverflow,
                Resource::Pending | Resource::Requests => ClusterCounter::RqPendingOverflow,
                Resource::Retries => ClusterCounter::RqRetryOverflow,
            });
        }
        permit
    }

    /// What became of an attempt, for outlier detection; counts ejections.
    pub fn report(&mut self, endpoint: &Endpoint, report: Report, now: Tick) {
        let random = self.cursor.random() >> 33;
        let Some(ejection) = self.cluster.report(endpoint, report, now, random) else { return };
        let counter = match ejection {
            Ejection::Consecutive5xx => ClusterCounter::EjectionsConsecutive5xx,
            Ejection::ConsecutiveGatewayFailure => ClusterCounter::EjectionsGateway,
            Ejection::ConsecutiveLocalOriginFailure => ClusterCounter::EjectionsLocalOrigin,
            Ejection::Overflow => ClusterCounter::EjectionsOverflow,
        };
        self.counters.increment(counter);
        if ejection != Ejection::Overflow {
            self.counters.increment(ClusterCounter::EjectionsTotal);
        }
    }
}

/// A worker's seats, by cluster name.
#[derive(Debug)]
pub struct Seats {
    seats: HashMap<Arc<str>, Seat, QuickHash>,
    workers: u32,
    seed: u64,
}

impl Seats {
    /// `workers`: of the process; `seed`: any number, another for each worker.
    pub fn new(workers: u32, seed: u64) -> Self {
        Self { seats: HashMap::default(), workers, seed }
    }

    /// The worker's seat at `cluster`, moved to this version of it.
    pub fn take(&mut self, cluster: &Arc<Cluster>, recorder: &Recorder, now: Tick) -> &mut Seat {
        let (workers, seed) = (self.workers, &mut self.seed);
        let seat = self.seats.entry(Arc::clone(cluster.name())).or_insert_with(|| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Seat::new(cluster, recorder, *seed, workers)
        });
        seat.used = now;
        if !Arc::ptr_eq(&seat.cluster, cluster) {
            if !Arc::ptr_eq(seat.cluster.breakers(), cluster.breakers()) {
                // Removed and added again: another cluster of the same name.
                seat.lease = Lease::new(Arc::clone(cluster.breakers()), workers);
            }
            if seat.cluster.policy().stat_name != cluster.policy().stat_name {
                seat.counters = recorder.cluster(&cluster.policy().stat_name);
            }
            seat.cluster = Arc::clone(cluster);
        }
        seat
    }

    /// Lets unused permits go and drops seats that have been quiet; about once a second.
    pub fn sweep(&mut self, now: Tick) {
        self.seats.retain(|_, seat| {
            let quiet = now.since(seat.used);
            if quiet >= IDLE {
                seat.lease.release_spare();
            }
            quiet < QUIET
        });
    }

    pub fn len(&self) -> usize {
        self.seats.len()
    }

    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }
}
