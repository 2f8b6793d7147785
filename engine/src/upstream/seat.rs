//! What one worker holds of a cluster: made at first use, dropped after a quiet hour.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::Cache;

use super::balance::{Cursor, PickContext};
use super::breaker::{Lease, Permit, Priority, Resource};
use super::cluster::{Cluster, Current};
use super::endpoint::Endpoint;
use super::outlier::{Ejection, Report};
use super::set::EndpointSet;
use crate::message::{QuickHash, SECOND, Tick};
use crate::telemetry::{ClusterCounter, Group, Recorder};

/// Quiet for so long, a seat is dropped.
const QUIET: u64 = 3_600 * SECOND;
/// Quiet for so long, permits leased and not given out go back.
const IDLE: u64 = 5 * SECOND;

/// A worker's counters of a cluster, to be shared within the worker.
#[derive(Debug)]
pub struct Counts(Arc<Group<ClusterCounter>>);

impl Counts {
    fn of(cluster: &Cluster, recorder: &Recorder) -> Rc<Self> {
        Rc::new(Self(recorder.cluster(&cluster.policy().stat_name)))
    }
}

impl std::ops::Deref for Counts {
    type Target = Group<ClusterCounter>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A worker's place at a cluster.
#[derive(Debug)]
pub struct Seat {
    pub cluster: Arc<Cluster>,
    /// Shared by attempts, which need no atomic operation for that.
    pub counters: Rc<Counts>,
    /// The endpoints as they were last looked at; looked at again with every pick, and each second.
    set: Cache<Current, Arc<EndpointSet>>,
    cursor: Cursor,
    pub(super) lease: Rc<Lease>,
    used: Tick,
}

impl Seat {
    /// A seat outside `Seats`, for a caller that asks once (`workers`: of the process).
    pub fn new(cluster: &Arc<Cluster>, recorder: &Recorder, seed: u64, workers: u32) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            counters: Counts::of(cluster, recorder),
            set: Cache::new(cluster.current()),
            cursor: Cursor::new(seed),
            lease: Lease::new(Arc::clone(cluster.breakers()), workers),
            used: Tick::default(),
        }
    }

    /// An endpoint for a request; counts a pick that ignored health, or found none.
    pub fn pick(&mut self, context: &PickContext<'_>) -> Option<Arc<Endpoint>> {
        let found = self.cluster.pick_from(self.set.load(), &mut self.cursor, context);
        if self.cursor.panicked {
            self.counters.increment(ClusterCounter::LbHealthyPanic);
        }
        if found.is_none() {
            self.counters.increment(ClusterCounter::CxNoneHealthy);
        }
        found
    }

    /// An endpoint that was not tried, for a request that none of those tried has processed.
    pub fn pick_other(&mut self, context: &PickContext<'_>) -> Option<Arc<Endpoint>> {
        self.cluster.pick_other(&mut self.cursor, context)
    }

    /// The request is to be dropped on purpose (`drop_overloads`).
    pub fn drops(&mut self) -> bool {
        self.set.load().drops(&mut self.cursor)
    }

    /// Permission for one more request, retry or layer-4 connection; counts a refusal.
    pub fn acquire(&self, priority: Priority, resource: Resource) -> Option<Permit> {
        let permit = self.lease.acquire(priority, resource);
        if permit.is_none() {
            self.counters.increment(match resource {
                Resource::Connections => ClusterCounter::CxOverflow,
                Resource::Pending => ClusterCounter::RqPendingOverflow,
                Resource::Requests => ClusterCounter::RqActiveOverflow,
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

/// A worker's seats, by what lives on of a cluster through its versions. A seat holds its cluster, so that the address it
/// is found by is not used again while it is there.
#[derive(Debug)]
pub struct Seats {
    seats: HashMap<usize, Seat, QuickHash>,
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
        let seat = self.seats.entry(cluster.identity()).or_insert_with(|| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Seat::new(cluster, recorder, *seed, workers)
        });
        seat.used = now;
        if !Arc::ptr_eq(&seat.cluster, cluster) {
            if seat.cluster.policy().stat_name != cluster.policy().stat_name {
                seat.counters = Counts::of(cluster, recorder);
            }
            seat.cluster = Arc::clone(cluster);
        }
        seat
    }

    /// Lets unused permits go, and drops seats that have been quiet or whose cluster is gone; about once a second.
    pub fn sweep(&mut self, now: Tick) {
        self.seats.retain(|_, seat| {
            let quiet = now.since(seat.used);
            if quiet >= IDLE {
                seat.lease.release_spare();
            }
            // Endpoints that are gone do not live on for a worker that has not picked since.
            seat.set.load();
            // Held here alone: no snapshot, exchange or pool knows this cluster any more.
            quiet < QUIET && (quiet < IDLE || Arc::strong_count(&seat.cluster) > 1)
        });
    }

    pub fn len(&self) -> usize {
        self.seats.len()
    }

    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::plan::{self, Thresholds};
    use crate::telemetry::Telemetry;

    fn at(seconds: u64) -> Tick {
        Tick(seconds * SECOND)
    }

    #[test]
    fn a_seat_moves_with_its_cluster_and_goes_with_it() {
        let recorder = Telemetry::new(plan::LocalWorkload::default()).recorder();
        let mut seats = Seats::new(1, 1);
        let first = cluster_of(&cluster_plan("a"), 1);
        seats.take(&first, &recorder, at(0)).counters.increment(ClusterCounter::RqTotal);
        let mut no_tls = |_: &plan::UpstreamTls| Err(plan::PlanError::new("", ""));
        let slower = plan::Cluster { connect_timeout: 9, ..cluster_plan("a") };
        let next =
            Cluster::compile(&slower, &mut no_tls, &mut super::super::Interner::default(), Some(&first));
        let next = Arc::new(next.unwrap());
        let seat = seats.take(&next, &recorder, at(1));
        assert!(Arc::ptr_eq(&seat.cluster, &next));
        assert_eq!(seat.counters.get(ClusterCounter::RqTotal), 1);
        let again = cluster_of(&cluster_plan("a"), 1);
        seats.take(&again, &recorder, at(2));
        assert_eq!(seats.len(), 2, "removed and added again: another cluster of the same name");
        drop((first, next));
        seats.sweep(at(10));
        assert_eq!(seats.len(), 1);
        seats.sweep(at(2 + 3_600));
        assert!(seats.is_empty(), "a quiet hour");
    }

    #[test]
    fn a_quiet_seat_keeps_no_permits() {
        let recorder = Telemetry::new(plan::LocalWorkload::default()).recorder();
        let limits = Thresholds { max_requests: Some(1_024), ..UNLIMITED };
        let breakers = plan::CircuitBreakers { default: limits, high: UNLIMITED };
        let cluster = cluster_of(&plan::Cluster { breakers, ..cluster_plan("a") }, 1);
        let gate = cluster.breakers().gate(Priority::Default, Resource::Requests);
        let mut seats = Seats::new(1, 1);
        let permit = seats.take(&cluster, &recorder, at(0)).acquire(Priority::Default, Resource::Requests);
        assert_eq!(gate.used(), 64, "a block");
        seats.sweep(at(5));
        assert_eq!(gate.used(), 1, "what is out");
        drop(permit);
        seats.sweep(at(5));
        assert_eq!(gate.used(), 0);
    }
}
