//! Balancers as behaviour: one suite over clusters, since a balancer alone decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::testing::*;
use super::super::{Cluster, Cursor, PickContext};
use crate::plan::{self, Health, LoadBalancer, Locality, LocalityBalancing};

const PICKS: usize = 20_000;

/// Share of picks by endpoint number, in percent.
fn shares(cluster: &Cluster) -> BTreeMap<u8, f64> {
    let mut cursor = Cursor::new(42);
    let mut counts = BTreeMap::new();
    for _ in 0..PICKS {
        if let Some(endpoint) = cluster.pick(&mut cursor, &PickContext::default()) {
            *counts.entry(number_of(&endpoint)).or_insert(0_u32) += 1;
        }
    }
    counts.into_iter().map(|(number, count)| (number, f64::from(count) * 100.0 / PICKS as f64)).collect()
}

fn assert_shares(cluster: &Cluster, expected: &[(u8, f64)]) {
    let shares = shares(cluster);
    assert_eq!(
        shares.keys().collect::<Vec<_>>(),
        expected.iter().map(|(number, _)| number).collect::<Vec<_>>()
    );
    for (number, share) in expected {
        assert!((shares[number] - share).abs() < 1.5, "endpoint {number}: {shares:?}, expected {expected:?}");
    }
}

fn with_health(number: u8, health: Health) -> plan::Endpoint {
    plan::Endpoint { health, ..endpoint_plan(number) }
}

/// `healthy` of `total` endpoints, numbered from `first`.
fn level(priority: u32, first: u8, healthy: u8, total: u8) -> plan::LocalityEndpoints {
    let health = |number| if number < healthy { Health::Healthy } else { Health::Unhealthy };
    locality_plan(priority, (0..total).map(|number| with_health(first + number, health(number))).collect())
}

#[test]
fn round_robin_takes_turns() {
    let cluster = cluster_of(&cluster_plan("c"), 4);
    let mut cursor = Cursor::new(7);
    let mut pick = || number_of(&cluster.pick(&mut cursor, &PickContext::default()).unwrap());
    let round: Vec<_> = (0..4).map(|_| pick()).collect();
    let mut sorted = round.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 4]);
    assert_eq!((0..4).map(|_| pick()).collect::<Vec<_>>(), round);
}

#[test]
fn every_balancer_follows_weights() {
    for load_balancer in
        [LoadBalancer::RoundRobin {}, LoadBalancer::Random {}, LoadBalancer::LeastRequest { choices: 2 }]
    {
        let plan = plan::Cluster { load_balancer, ..cluster_plan("c") };
        let weighted = |number, weight| plan::Endpoint { weight, ..endpoint_plan(number) };
        let cluster = cluster(&plan, vec![locality_plan(0, vec![weighted(1, 60), weighted(2, 40)])]);
        assert_shares(&cluster, &[(1, 60.0), (2, 40.0)]);
    }
}

#[test]
fn least_request_passes_over_the_busy() {
    let plan =
        plan::Cluster { load_balancer: LoadBalancer::LeastRequest { choices: 2 }, ..cluster_plan("c") };
    let cluster = cluster_of(&plan, 2);
    let busy = Arc::clone(cluster.endpoints().endpoints.iter().find(|e| number_of(e) == 1).unwrap());
    let under_way = busy.begin();
    // It is chosen only when both draws hit it.
    assert_shares(&cluster, &[(1, 25.0), (2, 75.0)]);
    drop(under_way);
    assert_shares(&cluster, &[(1, 50.0), (2, 50.0)]);
}

#[test]
fn priorities_spill_below_seventy_one_percent() {
    // Percent of requests that go to priority 0, by how many of its ten endpoints are healthy (Envoy's table for 140 %).
    for (healthy, first) in [(10, 100.0), (8, 100.0), (7, 98.0), (5, 70.0), (2, 28.0), (0, 0.0)] {
        let cluster = cluster(&cluster_plan("c"), vec![level(0, 1, healthy, 10), level(1, 101, 10, 10)]);
        let to_first: f64 =
            shares(&cluster).iter().filter(|(number, _)| **number < 100).map(|(_, s)| s).sum();
        assert!((to_first - first).abs() < 1.5, "{healthy} healthy: {to_first}, expected {first}");
    }
}

#[test]
fn degraded_endpoints_take_what_healthy_ones_cannot() {
    let cluster = cluster(
        &cluster_plan("c"),
        vec![locality_plan(
            0,
            vec![
                with_health(1, Health::Healthy),
                with_health(2, Health::Degraded),
                with_health(3, Health::Unhealthy),
                with_health(4, Health::Draining),
            ],
        )],
    );
    // A quarter is healthy and over-provisioned to 35 %, as much is degraded: half and half of what there is.
    assert_shares(&cluster, &[(1, 50.0), (2, 50.0)]);
}

#[test]
fn panic_ignores_health_below_the_threshold() {
    let plan = plan::Cluster { panic_threshold: 50, ..cluster_plan("c") };
    let level_of = |healthy| vec![level(0, 1, healthy, 4)];
    let expected: Vec<_> = (1..=4).map(|number| (number, 25.0)).collect();
    assert_shares(&cluster(&plan, level_of(1)), &expected);
    assert_shares(&cluster(&plan, level_of(0)), &expected);
    assert_shares(&cluster(&plan, level_of(2)), &[(1, 50.0), (2, 50.0)]);
    let mut cursor = Cursor::new(1);
    cluster(&plan, level_of(1)).pick(&mut cursor, &PickContext::default());
    assert!(cursor.panicked);
}

#[test]
fn without_panic_nobody_healthy_means_nobody() {
    assert_shares(&cluster(&cluster_plan("c"), vec![level(0, 1, 0, 3)]), &[]);
    assert_shares(&cluster(&cluster_plan("c"), vec![]), &[]);
}

#[test]
fn localities_share_by_weight_and_health() {
    let plan = plan::Cluster { locality: LocalityBalancing::Weighted, ..cluster_plan("c") };
    let zone = |zone: &str, weight, healthy, first| plan::LocalityEndpoints {
        locality: Locality { zone: zone.into(), ..Locality::default() },
        weight,
        ..level(0, first, healthy, 2)
    };
    let both = cluster(&plan, vec![zone("a", 80, 2, 1), zone("b", 20, 2, 11)]);
    assert_shares(&both, &[(1, 40.0), (2, 40.0), (11, 10.0), (12, 10.0)]);
    // Zone a is half healthy: 80 × 0.7 against 20.
    let half = cluster(&plan, vec![zone("a", 80, 1, 1), zone("b", 20, 2, 11)]);
    assert_shares(&half, &[(1, 73.7), (11, 13.2), (12, 13.2)]);
    let unweighted = cluster(&plan, vec![zone("a", 0, 2, 1), zone("b", 20, 2, 11)]);
    assert_shares(&unweighted, &[(11, 50.0), (12, 50.0)]);
}

#[test]
fn a_retry_passes_over_endpoints_that_were_tried() {
    let cluster = cluster_of(&cluster_plan("c"), 3);
    let mut cursor = Cursor::new(3);
    let tried: Vec<_> =
        cluster.endpoints().endpoints.iter().filter(|e| number_of(e) < 3).map(|e| e.id()).collect();
    for _ in 0..100 {
        let context = PickContext { tried: &tried, reselections: 5, ..PickContext::default() };
        assert_eq!(cluster.pick(&mut cursor, &context).map(|e| number_of(&e)), Some(3));
    }
    let all: Vec<_> = cluster.endpoints().endpoints.iter().map(|e| e.id()).collect();
    let context = PickContext { tried: &all, reselections: 5, ..PickContext::default() };
    assert!(cluster.pick(&mut cursor, &context).is_some(), "the last pick stands, tried or not");
}

#[test]
fn a_retry_finds_the_busy_endpoint_when_the_idle_one_was_tried() {
    let plan =
        plan::Cluster { load_balancer: LoadBalancer::LeastRequest { choices: 2 }, ..cluster_plan("c") };
    let cluster = cluster_of(&plan, 2);
    let endpoints = &cluster.endpoints().endpoints;
    let _under_way: Vec<_> = (0..50).map(|_| endpoints[1].begin()).collect();
    let tried = [endpoints[0].id()];
    let mut cursor = Cursor::new(5);
    for _ in 0..1_000 {
        let context = PickContext { tried: &tried, reselections: 1, ..PickContext::default() };
        assert_eq!(cluster.pick(&mut cursor, &context).map(|e| e.id()), Some(endpoints[1].id()));
    }
}

#[test]
fn original_destinations_are_where_the_client_meant_to_go() {
    let plan = plan::Cluster {
        discovery: plan::Discovery::OriginalDestination { header: true, cleanup_interval: 5_000 },
        load_balancer: LoadBalancer::ClusterProvided {},
        ..cluster_plan("c")
    };
    let cluster = cluster(&plan, vec![]);
    let mut cursor = Cursor::new(1);
    assert!(cluster.pick(&mut cursor, &PickContext::default()).is_none());
    let context =
        PickContext { original_destination: "10.0.0.9:5432".parse().ok(), ..PickContext::default() };
    let first = cluster.pick(&mut cursor, &context).unwrap();
    assert_eq!(first.address().to_string(), "10.0.0.9:5432");
    assert!(Arc::ptr_eq(&first, &cluster.pick(&mut cursor, &context).unwrap()));
    let header = PickContext { destination_header: "10.0.0.8:1".parse().ok(), ..context };
    assert_eq!(cluster.pick(&mut cursor, &header).unwrap().address().to_string(), "10.0.0.8:1");
    let id = first.id();
    let later = crate::message::Tick::default().after_milliseconds(6_000);
    cluster.sweep_destinations(later);
    assert_eq!(cluster.pick(&mut cursor, &context).unwrap().id(), id, "in use, hence remembered");
    drop(first);
    cluster.sweep_destinations(later.after_milliseconds(6_000));
    assert_ne!(cluster.pick(&mut cursor, &context).unwrap().id(), id);
}

#[test]
fn drops_on_purpose_are_a_share_of_requests() {
    let cluster = cluster_of(&cluster_plan("c"), 1);
    let mut cursor = Cursor::new(5);
    assert!((0..1_000).all(|_| !cluster.endpoints().drops(&mut cursor)));
    cluster.set_membership(&super::super::Membership {
        drops_per_million: 250_000,
        ..membership(vec![locality_plan(0, vec![endpoint_plan(1)])])
    });
    let dropped = (0..PICKS).filter(|_| cluster.endpoints().drops(&mut cursor)).count();
    assert!((4_600..5_400).contains(&dropped), "{dropped}");
}

fn any_health() -> impl Strategy<Value = Health> {
    prop_oneof![
        Just(Health::Healthy),
        Just(Health::Unhealthy),
        Just(Health::Draining),
        Just(Health::Degraded)
    ]
}

proptest! {
    #[test]
    fn a_pick_is_always_allowed(
        levels in proptest::collection::vec(
            (0u32..3, 0u32..4, proptest::collection::vec((any_health(), 1u32..50), 0..5)), 0..5),
        panic_threshold in prop_oneof![Just(0u32), Just(50)],
        weighted: bool,
        choices in 0usize..3,
        seed: u64,
    ) {
        let load_balancer = [
            LoadBalancer::RoundRobin {}, LoadBalancer::Random {}, LoadBalancer::LeastRequest { choices: 2 },
        ][choices].clone();
        let locality = if weighted { LocalityBalancing::Weighted } else { LocalityBalancing::Ignore };
        let plan = plan::Cluster { load_balancer, locality, panic_threshold, ..cluster_plan("c") };
        let mut number = 0;
        let localities: Vec<_> = levels.iter().map(|(priority, weight, endpoints)| {
            let endpoints = endpoints.iter().map(|(health, weight)| {
                number += 1;
                plan::Endpoint { weight: *weight, ..with_health(number, *health) }
            }).collect();
            plan::LocalityEndpoints { weight: *weight, ..locality_plan(*priority, endpoints) }
        }).collect();
        let usable = |health: &Health| matches!(health, Health::Healthy | Health::Degraded);
        let any_usable = levels.iter().any(|(_, _, list)| list.iter().any(|(health, _)| usable(health)));
        let any = levels.iter().any(|(_, _, list)| !list.is_empty());
        let cluster = cluster(&plan, localities);
        let mut cursor = Cursor::new(seed);
        for _ in 0..50 {
            match cluster.pick(&mut cursor, &PickContext::default()) {
                Some(endpoint) => prop_assert!(cursor.panicked || usable(&endpoint.health())),
                None => prop_assert!(!any_usable && (panic_threshold == 0 || !any)),
            }
        }
    }
}
