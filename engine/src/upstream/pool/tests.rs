//! Pools as behaviour, then any order of events under the laws that must always hold.

mod rpc;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::plan::{self, Thresholds};
use crate::telemetry::{Recorder, Telemetry};
use crate::upstream::testing::*;
use crate::upstream::{PickContext, Priority, Report};

const HTTP1: PoolKey = PoolKey {
    protocol: PoolProtocol::Http1,
    priority: Priority::Default,
    server_name: None,
    carries_http1: false,
    rpc: None,
};
const HTTP2: PoolKey = PoolKey { protocol: PoolProtocol::Http2, ..HTTP1 };

/// A worker's pools over one cluster, with connections and requests that are mere numbers.
struct World {
    pools: Pools,
    seat: Seat,
    now: Tick,
    next: u64,
    dials: Vec<(Key, PoolId)>,
    served: BTreeMap<Key, Key>,
    failed: BTreeMap<Key, Failure>,
    closed: Vec<Key>,
}

fn recorder() -> Recorder {
    Telemetry::new(plan::LocalWorkload::default()).recorder()
}

fn world(plan: &plan::Cluster, endpoints: u8) -> World {
    let cluster = cluster_of(plan, endpoints);
    World {
        pools: Pools::default(),
        seat: Seat::new(&cluster, &recorder(), 1, 1),
        now: Tick::default(),
        next: 0,
        dials: Vec::new(),
        served: BTreeMap::new(),
        failed: BTreeMap::new(),
        closed: Vec::new(),
    }
}

fn with_limits(default: Thresholds) -> plan::Cluster {
    plan::Cluster { breakers: plan::CircuitBreakers { default, high: UNLIMITED }, ..cluster_plan("c") }
}

impl World {
    fn key(&mut self) -> Key {
        self.next += 1;
        Key::from_bits(self.next)
    }

    fn endpoint(&self, index: usize) -> Arc<Endpoint> {
        Arc::clone(&self.seat.cluster.endpoints().endpoints[index])
    }

    /// A request to endpoint `index`; its number.
    fn request(&mut self, index: usize, key: &PoolKey) -> (Key, Leased) {
        self.request_for(index, key, false)
    }

    fn request_for(&mut self, index: usize, key: &PoolKey, alone: bool) -> (Key, Leased) {
        let waiter = self.key();
        let endpoint = self.endpoint(index);
        let leased = self.pools.lease(&self.seat, &endpoint, &key.wanted(), (waiter, alone), self.now);
        if let Leased::Reuse(connection) = leased {
            self.served.insert(waiter, connection);
        }
        self.drive();
        (waiter, leased)
    }

    fn drive(&mut self) {
        while let Some(step) = self.pools.next_step(self.now) {
            match step {
                Step::Dial(order) => {
                    let connection = self.key();
                    self.pools.dialing(order.pool, connection, self.now);
                    self.dials.push((connection, order.pool));
                }
                Step::Serve { waiter, connection } => {
                    self.served.insert(waiter, connection);
                }
                Step::Fail { waiter, why } => {
                    self.failed.insert(waiter, why);
                }
                Step::Close(connection) => {
                    self.closed.push(connection);
                    self.pools.closed(connection);
                }
            }
        }
    }

    fn connect(&mut self, multiplexes: bool, streams: u32) -> Key {
        let (connection, _) = self.dials.remove(0);
        self.pools.connected(connection, multiplexes, streams, self.now);
        self.drive();
        connection
    }

    fn finish(&mut self, waiter: Key, reusable: bool) {
        let connection = self.served.remove(&waiter).unwrap();
        self.pools.give_back(connection, reusable, self.now);
        self.drive();
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.after_milliseconds(seconds * 1_000);
        let cluster = Arc::clone(&self.seat.cluster);
        self.pools.sweep(self.now, &|_| Some(Arc::clone(&cluster)));
        self.drive();
    }

    fn count(&self, counter: ClusterCounter) -> i64 {
        self.seat.counters.get(counter)
    }
}

#[test]
fn http1_dials_one_for_each_that_waits_and_reuses_the_newest() {
    let mut world = world(&cluster_plan("c"), 1);
    let (first, _) = world.request(0, &HTTP1);
    let (second, _) = world.request(0, &HTTP1);
    assert_eq!(world.dials.len(), 2);
    let (one, two) = (world.connect(false, 1), world.connect(false, 1));
    assert_eq!((world.served[&first], world.served[&second]), (one, two));
    world.finish(first, true);
    world.finish(second, true);
    let (_, leased) = world.request(0, &HTTP1);
    assert_eq!(leased, Leased::Reuse(two), "the one idle for the shortest time");
    assert_eq!(world.count(ClusterCounter::CxTotal), 2);
}

#[test]
fn a_request_that_waits_takes_what_comes_free_first() {
    let mut world = world(&cluster_plan("c"), 1);
    let (first, _) = world.request(0, &HTTP1);
    let one = world.connect(false, 1);
    let (second, leased) = world.request(0, &HTTP1);
    assert!(matches!(leased, Leased::Queued(_)));
    world.finish(first, true);
    assert_eq!(world.served[&second], one);
    let two = world.connect(false, 1);
    let (_, leased) = world.request(0, &HTTP1);
    assert_eq!(leased, Leased::Reuse(two), "the dial that nobody needed any more is kept");
}

#[test]
fn http2_dials_one_at_a_time_and_fills_it() {
    let mut world = world(&cluster_plan("c"), 1);
    let waiters: Vec<_> = (0..5).map(|_| world.request(0, &HTTP2).0).collect();
    assert_eq!(world.dials.len(), 1);
    let one = world.connect(true, 3);
    assert_eq!(world.served.values().filter(|connection| **connection == one).count(), 3);
    assert_eq!(world.dials.len(), 1, "two still wait");
    let two = world.connect(true, 100);
    assert_eq!((world.served[&waiters[3]], world.served[&waiters[4]]), (two, two));
    world.pools.capacity(one, 4);
    world.pools.retire(two);
    world.drive();
    let (_, leased) = world.request(0, &HTTP2);
    assert_eq!(leased, Leased::Reuse(one), "its peer allows one more, the other said goodbye");
    assert_eq!(world.closed, []);
    world.finish(waiters[3], true);
    world.finish(waiters[4], true);
    assert_eq!(world.closed, [two], "closed with its last stream");
}

#[test]
fn alpn_decides_how_an_auto_pool_goes_on() {
    let auto = PoolKey { protocol: PoolProtocol::Auto, ..HTTP1 };
    let mut world = world(&cluster_plan("c"), 1);
    for _ in 0..3 {
        world.request(0, &auto);
    }
    assert_eq!(world.dials.len(), 1, "it may turn out to multiplex");
    world.connect(false, 1);
    assert_eq!(world.dials.len(), 2, "it does not: one for each that waits");
}

#[test]
fn a_failed_dial_fails_who_waited_for_it() {
    let mut world = world(&cluster_plan("c"), 1);
    let (first, _) = world.request(0, &HTTP1);
    let (second, _) = world.request(0, &HTTP1);
    let (connection, _) = world.dials.remove(0);
    world.pools.failed(connection, true);
    world.drive();
    assert_eq!(world.failed, BTreeMap::from([(first, Failure::ConnectTimeout)]));
    world.connect(false, 1);
    assert!(world.served.contains_key(&second));
    let waiters: Vec<_> = (0..3).map(|_| world.request(0, &HTTP2).0).collect();
    let (connection, _) = world.dials.remove(0);
    world.pools.failed(connection, false);
    world.drive();
    assert!(waiters.iter().all(|waiter| world.failed.get(waiter) == Some(&Failure::Connect)));
    assert_eq!(world.count(ClusterCounter::CxConnectFail), 2);
    assert_eq!(world.count(ClusterCounter::RqPendingActive), 0);
}

#[test]
fn at_the_limit_requests_wait_for_their_endpoint_or_are_refused() {
    let mut world = world(&with_limits(Thresholds { max_connections: Some(1), ..UNLIMITED }), 2);
    let (first, _) = world.request(0, &HTTP1);
    world.connect(false, 1);
    let (second, leased) = world.request(0, &HTTP1);
    assert!(matches!(leased, Leased::Queued(_)), "its endpoint has a connection to wait for");
    let (other, _) = world.request(1, &HTTP1);
    assert_eq!(world.failed[&other], Failure::Overflow(Resource::Connections));
    assert!(world.count(ClusterCounter::CxOverflow) > 0);
    world.finish(first, true);
    assert!(world.served.contains_key(&second));
    world.finish(second, true);
    let (third, _) = world.request(1, &HTTP1);
    assert_eq!(world.closed.len(), 1, "an idle connection to the other endpoint makes room");
    world.connect(false, 1);
    assert!(world.served.contains_key(&third));
}

#[test]
fn pending_requests_are_limited() {
    let mut world = world(&with_limits(Thresholds { max_pending: Some(2), ..UNLIMITED }), 1);
    let (first, _) = world.request(0, &HTTP1);
    world.request(0, &HTTP1);
    let (_, leased) = world.request(0, &HTTP1);
    assert_eq!(leased, Leased::Overflow(Resource::Pending));
    assert_eq!(world.count(ClusterCounter::RqPendingOverflow), 1);
    let pool = world.dials[0].1;
    assert!(world.pools.cancel(pool, first));
    assert!(!world.pools.cancel(pool, first));
    assert!(matches!(world.request(0, &HTTP1).1, Leased::Queued(_)));
}

#[test]
fn connections_end_by_requests_age_and_idleness() {
    let mut plan = cluster_plan("c");
    plan.http.max_requests_per_connection = Some(2);
    plan.http.idle_timeout = Some(60_000);
    plan.http.max_connection_duration = Some(600_000);
    let mut world = world(&plan, 1);
    let (first, _) = world.request(0, &HTTP1);
    let one = world.connect(false, 1);
    world.finish(first, true);
    let (second, _) = world.request(0, &HTTP1);
    world.finish(second, true);
    assert_eq!(world.closed, [one], "two requests");
    assert_eq!(world.count(ClusterCounter::CxMaxRequests), 1);
    let (third, _) = world.request(0, &HTTP1);
    let two = world.connect(false, 1);
    world.finish(third, true);
    world.wait(59);
    assert_eq!(world.closed, [one]);
    world.wait(1);
    assert_eq!(world.closed, [one, two], "idle");
    assert_eq!(world.count(ClusterCounter::CxIdleTimeout), 1);
    let (fourth, _) = world.request(0, &HTTP1);
    let three = world.connect(false, 1);
    world.wait(600);
    assert_eq!(world.closed.len(), 2, "a request is under way");
    world.finish(fourth, true);
    assert_eq!(world.closed.last(), Some(&three), "too old");
}

#[test]
fn a_removed_endpoint_finishes_what_runs() {
    let mut world = world(&cluster_plan("c"), 2);
    let (busy, _) = world.request(0, &HTTP1);
    let (idle, _) = world.request(1, &HTTP1);
    let (one, two) = (world.connect(false, 1), world.connect(false, 1));
    world.finish(idle, true);
    world.seat.cluster.set_membership(&membership(vec![]));
    world.wait(1);
    assert_eq!(world.closed, [two]);
    world.finish(busy, true);
    assert_eq!(world.closed, [two, one]);
    world.wait(1);
    assert!(world.pools.is_empty() && world.pools.pools.is_empty());
}

#[test]
fn an_endpoint_that_stays_keeps_its_connections() {
    let mut world = world(&cluster_plan("c"), 2);
    let (request, _) = world.request(0, &HTTP1);
    let one = world.connect(false, 1);
    world.finish(request, true);
    let reweighted = plan::Endpoint { weight: 7, ..endpoint_plan(1) };
    world.seat.cluster.set_membership(&membership(vec![locality_plan(0, vec![reweighted])]));
    world.wait(1);
    assert_eq!(world.closed, []);
    assert_eq!(world.request(0, &HTTP1).1, Leased::Reuse(one));
}

#[test]
fn ejection_and_seats_meet_in_picks() {
    let outlier = plan::OutlierDetection {
        consecutive_5xx: Some(1),
        consecutive_gateway_failure: None,
        consecutive_local_origin_failure: None,
        split_local_origin: false,
        interval: 10_000,
        base_ejection_time: 30_000,
        max_ejection_time: 300_000,
        max_ejection_percent: 50,
        enforcing_consecutive_5xx: 100,
        enforcing_consecutive_gateway_failure: 0,
        enforcing_consecutive_local_origin_failure: 0,
    };
    let mut world = world(&plan::Cluster { outlier: Some(outlier), ..cluster_plan("c") }, 2);
    let out = world.endpoint(0);
    world.seat.report(&out, Report::Answered(503), world.now);
    assert_eq!(world.count(ClusterCounter::EjectionsConsecutive5xx), 1);
    for _ in 0..20 {
        assert_ne!(world.seat.pick(&PickContext::default()).unwrap().id(), out.id());
    }
}

#[derive(Debug, Clone)]
enum Event {
    Request { endpoint: usize, http2: bool },
    Connect { dial: usize, streams: u32 },
    Fail { dial: usize },
    Finish { request: usize, reusable: bool },
    Cancel { request: usize },
    Close { connection: usize },
    Retire { connection: usize },
    Capacity { connection: usize, streams: u32 },
    Wait { seconds: u64 },
    Members { count: u8 },
}

fn any_event() -> impl Strategy<Value = Event> {
    let index = 0usize..8;
    prop_oneof![
        8 => (0usize..3, any::<bool>()).prop_map(|(endpoint, http2)| Event::Request { endpoint, http2 }),
        5 => (index.clone(), 1u32..5).prop_map(|(dial, streams)| Event::Connect { dial, streams }),
        1 => index.clone().prop_map(|dial| Event::Fail { dial }),
        5 => (index.clone(), any::<bool>()).prop_map(|(request, reusable)| Event::Finish { request, reusable }),
        1 => index.clone().prop_map(|request| Event::Cancel { request }),
        2 => index.clone().prop_map(|connection| Event::Close { connection }),
        1 => index.clone().prop_map(|connection| Event::Retire { connection }),
        1 => (index, 0u32..4).prop_map(|(connection, streams)| Event::Capacity { connection, streams }),
        1 => (0u64..40).prop_map(|seconds| Event::Wait { seconds }),
        1 => (0u8..4).prop_map(|count| Event::Members { count }),
    ]
}

/// What the outside world knows: enough to say whether the pools keep their promises.
struct Ledger {
    world: World,
    /// Requests that wait, with their pools.
    waiting: BTreeMap<Key, PoolId>,
    /// Open connections with their streams and what they allow.
    open: BTreeMap<Key, (u32, u32)>,
    retired: BTreeSet<Key>,
    http2: BTreeMap<PoolId, bool>,
}

impl Ledger {
    fn settle(&mut self) -> Result<(), TestCaseError> {
        let served: Vec<_> =
            self.waiting.keys().filter(|key| self.world.served.contains_key(key)).copied().collect();
        for waiter in served {
            self.waiting.remove(&waiter);
            self.began(self.world.served[&waiter])?;
        }
        let failed = std::mem::take(&mut self.world.failed);
        for waiter in failed.keys() {
            prop_assert!(self.waiting.remove(waiter).is_some(), "failed who did not wait");
        }
        for connection in std::mem::take(&mut self.world.closed) {
            let streams = self.open.remove(&connection).map_or(0, |(active, _)| active);
            prop_assert_eq!(streams, 0, "closed under a stream");
            self.world.dials.retain(|(dial, _)| *dial != connection);
        }
        Ok(())
    }

    fn began(&mut self, connection: Key) -> Result<(), TestCaseError> {
        prop_assert!(!self.retired.contains(&connection), "a stream on a connection that was retired");
        let Some((active, allowed)) = self.open.get_mut(&connection) else {
            return Err(TestCaseError::fail("a stream on a connection that is not open"));
        };
        *active += 1;
        prop_assert!(*active <= *allowed, "more streams than the peer allows");
        Ok(())
    }

    fn perform(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Request { endpoint, http2 } => {
                let count = self.world.seat.cluster.endpoints().endpoints.len();
                if count == 0 {
                    return Ok(());
                }
                let (waiter, leased) =
                    self.world.request(endpoint % count, if http2 { &HTTP2 } else { &HTTP1 });
                match leased {
                    Leased::Reuse(connection) => self.began(connection)?,
                    Leased::Queued(pool) => {
                        self.http2.insert(pool, http2);
                        self.waiting.insert(waiter, pool);
                    }
                    Leased::Overflow(_) => {}
                }
            }
            Event::Connect { dial, streams } => {
                if let Some((connection, pool)) = self.world.dials.get(dial).copied() {
                    self.world.dials.remove(dial);
                    let streams = if self.http2[&pool] { streams } else { 1 };
                    self.open.insert(connection, (0, streams));
                    self.world.pools.connected(connection, self.http2[&pool], streams, self.world.now);
                    self.world.drive();
                }
            }
            Event::Fail { dial } => {
                if dial < self.world.dials.len() {
                    let (connection, _) = self.world.dials.remove(dial);
                    self.world.pools.failed(connection, false);
                    self.world.drive();
                }
            }
            Event::Finish { request, reusable } => {
                if let Some((&waiter, &connection)) = self.world.served.iter().nth(request) {
                    if let Some((active, _)) = self.open.get_mut(&connection) {
                        *active -= 1;
                        if !reusable {
                            self.retired.insert(connection);
                        }
                    }
                    self.world.finish(waiter, reusable);
                }
            }
            Event::Cancel { request } => {
                if let Some((&waiter, &pool)) = self.waiting.iter().nth(request) {
                    prop_assert!(self.world.pools.cancel(pool, waiter));
                    self.waiting.remove(&waiter);
                    self.world.drive();
                }
            }
            Event::Close { connection } => {
                if let Some(&connection) = self.open.keys().nth(connection) {
                    self.open.remove(&connection);
                    self.world.served.retain(|_, used| *used != connection);
                    self.world.pools.closed(connection);
                    self.world.drive();
                }
            }
            Event::Retire { connection } => {
                if let Some(&connection) = self.open.keys().nth(connection) {
                    self.retired.insert(connection);
                    self.world.pools.retire(connection);
                    self.world.drive();
                }
            }
            Event::Capacity { connection, streams } => {
                if let Some((&connection, (active, allowed))) = self.open.iter_mut().nth(connection)
                    && self.world.pools.owner(connection).is_some()
                {
                    // Streams that are open stay, whatever the peer says now.
                    *allowed = streams.max(*active);
                    self.world.pools.capacity(connection, streams);
                    self.world.drive();
                }
            }
            Event::Wait { seconds } => self.world.wait(seconds),
            Event::Members { count } => {
                let members = (1..=count).map(endpoint_plan).collect();
                self.world.seat.cluster.set_membership(&membership(vec![locality_plan(0, members)]));
            }
        }
        self.settle()
    }
}

proptest! {
    #[test]
    fn any_order_of_events_keeps_the_laws(
        events in proptest::collection::vec(any_event(), 1..120),
        max_connections in 1u32..6,
        max_pending in 1u32..6,
        max_requests in proptest::option::of(1u32..5),
    ) {
        let limits = Thresholds {
            max_connections: Some(max_connections), max_pending: Some(max_pending), ..UNLIMITED
        };
        let mut plan = with_limits(limits);
        plan.http.idle_timeout = Some(30_000);
        plan.http.max_requests_per_connection = max_requests;
        let mut ledger = Ledger {
            world: world(&plan, 3),
            waiting: BTreeMap::new(),
            open: BTreeMap::new(),
            retired: BTreeSet::new(),
            http2: BTreeMap::new(),
        };
        for event in events {
            ledger.perform(event)?;
            let world = &ledger.world;
            let gate = |resource| world.seat.cluster.breakers().gate(Priority::Default, resource).used() as usize;
            prop_assert!(world.pools.len() <= max_connections as usize, "more connections than allowed");
            prop_assert_eq!(gate(Resource::Connections), world.pools.len(), "a permit for each connection");
            prop_assert_eq!(gate(Resource::Pending), ledger.waiting.len(), "a permit for each that waits");
            prop_assert_eq!(world.count(ClusterCounter::CxActive), world.pools.len() as i64);
            prop_assert_eq!(world.count(ClusterCounter::RqPendingActive), ledger.waiting.len() as i64);
        }
        // Whoever still waits is served or failed once its dials end, and everything is given back.
        for _ in 0..200 {
            let busy = !ledger.world.dials.is_empty() || !ledger.world.served.is_empty();
            if !busy {
                break;
            }
            ledger.perform(Event::Connect { dial: 0, streams: 1 })?;
            ledger.perform(Event::Finish { request: 0, reusable: true })?;
        }
        prop_assert!(ledger.waiting.is_empty(), "{} wait for ever", ledger.waiting.len());
        ledger.perform(Event::Wait { seconds: 31 })?;
        prop_assert!(ledger.world.pools.is_empty());
        ledger.perform(Event::Wait { seconds: 1 })?;
        prop_assert!(ledger.world.pools.pools.is_empty() && ledger.world.pools.by_endpoint.is_empty());
    }
}
