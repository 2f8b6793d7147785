//! Versions that wait for facts: names, health, time.

use std::collections::BTreeSet;

use super::*;
use crate::plan::{Event, Fraction, HealthCheck, HealthCheckKind};
use crate::upstream::{Cursor, NameAnswer, PickContext};

fn at(milliseconds: u64) -> Tick {
    Tick::default().after_milliseconds(milliseconds)
}

fn dns_cluster(name: &str, host: &str) -> plan::Cluster {
    let endpoint =
        plan::Endpoint { address: Address::Name { host: host.into(), port: 80 }, ..endpoint_plan(0) };
    plan::Cluster {
        discovery: Discovery::StrictDns {
            localities: vec![locality_plan(0, vec![endpoint])],
            refresh: 5_000,
            respect_ttl: false,
        },
        ..cluster_plan(name)
    }
}

fn addresses(numbers: &[u8]) -> NameAnswer {
    NameAnswer::Addresses { addresses: numbers.iter().map(|n| [10, 0, 0, *n].into()).collect(), ttl: None }
}

#[test]
fn a_cluster_of_names_waits_for_their_first_answer() {
    let mut builder = builder();
    apply(&mut builder, vec![cluster_upsert(&dns_cluster("a", "a.example"))], vec![]);
    assert!(builder.snapshot().cluster("a").is_none());
    assert_eq!(builder.held().len(), 1, "accepted, though it warms");
    let (due, _) = builder.poll(at(0));
    assert_eq!(due.lookups.len(), 1);
    let outcome = builder.resolved(&due.lookups[0], addresses(&[1, 2]), at(20));
    assert!(outcome.snapshot.is_some());
    assert_eq!(outcome.events, [Event::Warmed { resource: Kind::Cluster, name: "a".into() }]);
    assert_eq!(numbers(&builder, "a"), [1, 2]);
    assert_eq!(builder.deadline(), Some(at(5_020)));
    let (due, _) = builder.poll(at(5_020));
    let outcome = builder.resolved(&due.lookups[0], addresses(&[2]), at(5_040));
    assert!(outcome.snapshot.is_none() && outcome.events.is_empty());
    assert_eq!(numbers(&builder, "a"), [2]);
}

#[test]
fn the_former_version_serves_while_the_next_one_warms() {
    let mut builder = builder();
    apply(&mut builder, vec![cluster_upsert(&cluster_plan("a")), endpoints_upsert("a", &[1])], vec![]);
    let former = Arc::clone(builder.snapshot().cluster("a").unwrap());
    apply(&mut builder, vec![cluster_upsert(&dns_cluster("a", "a.example"))], vec![]);
    assert!(Arc::ptr_eq(&former, builder.snapshot().cluster("a").unwrap()));
    assert_eq!(numbers(&builder, "a"), [1]);
    let (due, _) = builder.poll(at(0));
    let (_, outcome) = builder.poll(at(14_999));
    assert!(outcome.snapshot.is_none());
    let (_, outcome) = builder.poll(at(15_000));
    assert!(outcome.snapshot.is_some(), "its time is up: in force with what is known");
    assert_eq!(numbers(&builder, "a"), [0_u8; 0]);
    builder.resolved(&due.lookups[0], addresses(&[5]), at(16_000));
    assert_eq!(numbers(&builder, "a"), [5], "a late answer is an answer");
}

fn checked_cluster(name: &str) -> plan::Cluster {
    let check = HealthCheck {
        check: HealthCheckKind::Tcp { send: Vec::new(), receive: Vec::new() },
        timeout: 1_000,
        interval: 10_000,
        initial_delay: 0,
        healthy_threshold: 1,
        unhealthy_threshold: 1,
        enabled: Fraction { numerator: 100, denominator: 100 },
    };
    plan::Cluster { health_checks: vec![check], ..cluster_plan(name) }
}

/// Endpoints that picks go to; empty if there are none.
fn picked(builder: &Builder, cluster: &str) -> BTreeSet<u8> {
    let cluster = builder.snapshot().cluster(cluster).unwrap();
    let mut cursor = Cursor::new(1);
    let picks = (0..20).filter_map(|_| cluster.pick(&mut cursor, &PickContext::default()));
    picks.map(|endpoint| number_of(&endpoint)).collect()
}

#[test]
fn a_cluster_with_checks_waits_for_the_first_round() {
    let mut builder = builder();
    apply(&mut builder, vec![endpoints_upsert("a", &[1, 2]), cluster_upsert(&checked_cluster("a"))], vec![]);
    assert!(builder.snapshot().cluster("a").is_none());
    let (due, _) = builder.poll(at(2_000));
    assert_eq!(due.probes.len(), 2);
    let outcome = builder.probed(due.probes[0].token, true, at(2_010));
    assert!(outcome.snapshot.is_none());
    let outcome = builder.probed(due.probes[1].token, false, at(2_020));
    assert!(outcome.snapshot.is_some());
    assert_eq!(outcome.events.len(), 2, "{:?}", outcome.events);
    let healthy = number_of(&due.probes[0].endpoint);
    assert_eq!(picked(&builder, "a"), [healthy].into());
    // A new endpoint is not used before it passes.
    apply(&mut builder, vec![endpoints_upsert("a", &[healthy, 7])], vec![]);
    assert_eq!(picked(&builder, "a"), [healthy].into());
    let (due, _) = builder.poll(at(4_000));
    assert_eq!(due.probes.len(), 1);
    let outcome = builder.probed(due.probes[0].token, true, at(4_010));
    let passed = Event::EndpointHealth { cluster: "a".into(), address: "10.0.0.7:80".into(), healthy: true };
    assert_eq!(outcome.events, [passed]);
    assert_eq!(picked(&builder, "a"), [healthy, 7].into());
}

#[test]
fn probes_of_what_is_gone_are_cancelled() {
    let mut builder = builder();
    apply(&mut builder, vec![endpoints_upsert("a", &[1]), cluster_upsert(&checked_cluster("a"))], vec![]);
    let (due, _) = builder.poll(at(2_000));
    apply(&mut builder, vec![], vec![removal(Kind::Cluster, "a")]);
    let (after, _) = builder.poll(at(2_001));
    assert_eq!(after.cancelled, [due.probes[0].token]);
    assert!(builder.probed(due.probes[0].token, true, at(2_002)).events.is_empty());
    assert_eq!(builder.deadline(), None);
}

#[test]
fn a_probe_that_hangs_counts_as_failed() {
    let mut builder = builder();
    apply(&mut builder, vec![endpoints_upsert("a", &[1]), cluster_upsert(&checked_cluster("a"))], vec![]);
    let (due, _) = builder.poll(at(2_000));
    let (after, outcome) = builder.poll(at(3_000));
    assert_eq!(after.cancelled, [due.probes[0].token]);
    assert!(outcome.snapshot.is_some(), "the first round is over, if badly");
    assert_eq!(picked(&builder, "a"), [].into());
}
