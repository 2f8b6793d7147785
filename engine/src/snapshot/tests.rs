//! Deltas as a control plane would send them, and what is in force afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::message::Tick;
use crate::plan::{
    self, Address, ApplyReport, Delta, Discovery, Event, Fraction, HealthCheck, HealthCheckKind, Kind,
    Removal, Upsert,
};
use crate::route::ChainInput;
use crate::upstream::testing::*;
use crate::upstream::{Cursor, NameAnswer, PickContext};

fn upsert<T: Serialize>(resource: Kind, name: &str, plan: &T) -> Upsert {
    let body = plan::encode(plan).unwrap();
    let digest: String = ring::digest::digest(&ring::digest::SHA256, &body)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Upsert { resource, name: name.into(), digest, body }
}

fn cluster_upsert(plan: &plan::Cluster) -> Upsert {
    upsert(Kind::Cluster, &plan.name, plan)
}

fn endpoints_upsert(service: &str, numbers: &[u8]) -> Upsert {
    let endpoints = numbers.iter().map(|number| endpoint_plan(*number)).collect();
    upsert(Kind::Endpoints, service, &endpoints_plan(service, vec![locality_plan(0, endpoints)]))
}

fn removal(resource: Kind, name: &str) -> Removal {
    Removal { resource, name: name.into() }
}

fn builder() -> Builder {
    Builder::new(Arc::default(), 1)
}

fn apply(builder: &mut Builder, upserts: Vec<Upsert>, removals: Vec<Removal>) -> ApplyReport {
    builder.apply(Delta { upserts, removals }, Tick::default()).1
}

fn numbers(builder: &Builder, cluster: &str) -> Vec<u8> {
    let cluster = builder.snapshot().cluster(cluster).unwrap();
    cluster.endpoints().endpoints.iter().map(|endpoint| number_of(endpoint)).collect()
}

fn tcp_listener(name: &str, cluster: &str) -> plan::Listener {
    plan::Listener {
        name: name.into(),
        address: Address::Socket { ip: [127, 0, 0, 1].into(), port: 8_080 },
        bind: true,
        use_original_destination: false,
        transparent: false,
        direction: plan::TrafficDirection::Outbound,
        listener_filters: vec![],
        detection_timeout: Some(1_000),
        continue_on_detection_timeout: true,
        chains: vec![tcp_chain("first", cluster)],
        default_chain: None,
        stat_prefix: String::new(),
        connection_limit: None,
        tcp_keepalive: None,
        buffer_limit: None,
        access_logs: vec![],
        accepts_http1_in_http2: false,
    }
}

fn tcp_chain(name: &str, cluster: &str) -> plan::FilterChain {
    plan::FilterChain {
        name: name.into(),
        matches: plan::ChainMatch::default(),
        tls: None,
        handshake_timeout: None,
        network_filters: vec![],
        terminal: plan::Terminal::Tcp {
            proxy: plan::TcpProxy {
                stat_prefix: "tcp".into(),
                targets: vec![plan::TcpTarget { cluster: cluster.into(), weight: 1 }],
                idle_timeout: None,
                max_connection_duration: None,
                max_connect_attempts: 1,
                access_logs: vec![],
            },
        },
    }
}

fn route_table(name: &str) -> plan::RouteTable {
    plan::RouteTable {
        name: name.into(),
        virtual_hosts: vec![],
        headers: plan::RouteHeaders::default(),
        ignore_port: false,
        most_specific_headers_win: false,
        internal_only_headers: vec![],
    }
}

#[test]
fn endpoints_come_with_their_cluster_whatever_the_order() {
    let mut builder = builder();
    let report =
        apply(&mut builder, vec![cluster_upsert(&cluster_plan("a")), endpoints_upsert("a", &[1, 2])], vec![]);
    assert_eq!((report.generation, report.accepted, report.refused), (1, 2, vec![]));
    assert_eq!(numbers(&builder, "a"), [1, 2]);
    apply(&mut builder, vec![cluster_upsert(&cluster_plan("b"))], vec![]);
    assert_eq!(numbers(&builder, "b"), [0_u8; 0]);
    let (snapshot, report) = builder
        .apply(Delta { upserts: vec![endpoints_upsert("b", &[3])], removals: vec![] }, Tick::default());
    assert!(snapshot.is_none(), "endpoints reach workers through the cluster they hold");
    assert_eq!((report.generation, report.accepted), (2, 1));
    assert_eq!(numbers(&builder, "b"), [3]);
}

#[test]
fn what_is_equal_is_skipped_undecoded() {
    let mut builder = builder();
    let first = cluster_upsert(&cluster_plan("a"));
    apply(&mut builder, vec![first.clone()], vec![]);
    let held = Arc::clone(builder.snapshot().cluster("a").unwrap());
    let again = Upsert { body: b"not even MessagePack".to_vec(), ..first };
    let (snapshot, report) = builder.apply(Delta { upserts: vec![again], removals: vec![] }, Tick::default());
    assert!(snapshot.is_none() && report.refused.is_empty());
    assert!(Arc::ptr_eq(&held, builder.snapshot().cluster("a").unwrap()));
}

#[test]
fn one_bad_resource_is_refused_alone_and_keeps_its_last_good_version() {
    let mut builder = builder();
    apply(&mut builder, vec![cluster_upsert(&cluster_plan("a"))], vec![]);
    let held = Arc::clone(builder.snapshot().cluster("a").unwrap());
    let bad = plan::Cluster { connect_timeout: 0, ..cluster_plan("a") };
    let mut listener = tcp_listener("l", "a");
    listener.chains.push(listener.chains[0].clone());
    let garbage = Upsert { body: vec![0xc1], ..upsert(Kind::Route, "r", &route_table("r")) };
    let report = apply(
        &mut builder,
        vec![
            cluster_upsert(&bad),
            cluster_upsert(&cluster_plan("b")),
            upsert(Kind::Listener, "l", &listener),
            garbage,
            upsert(Kind::Route, "r2", &route_table("another")),
        ],
        vec![],
    );
    assert_eq!(report.accepted, 1);
    let refused: Vec<_> =
        report.refused.iter().map(|refused| (refused.resource, &*refused.name, &*refused.path)).collect();
    assert_eq!(
        refused,
        [
            (Kind::Cluster, "a", "connect_timeout"),
            (Kind::Route, "r", ""),
            (Kind::Route, "r2", "name"),
            (Kind::Listener, "l", "chains[1].matches"),
        ]
    );
    assert!(Arc::ptr_eq(&held, builder.snapshot().cluster("a").unwrap()));
    assert!(builder.snapshot().cluster("b").is_some());
    let names: Vec<_> = builder.held().into_iter().map(|held| held.name).collect();
    assert_eq!(names, ["a", "b"], "digests of what is in force only");
}

#[test]
fn refusals_name_the_path_inside_the_plan() {
    let missing = plan::UpstreamTls {
        certificates: vec!["nothing".into()],
        validation: None,
        alternative_names: plan::AlternativeNames::default(),
        server_name: String::new(),
        auto_server_name: false,
        auto_san_validation: false,
        application_protocols: vec![],
        min_version: plan::TlsVersion::V1_2,
        max_version: plan::TlsVersion::V1_3,
    };
    let matching = plan::SocketMatch { name: "tls".into(), labels: vec![], tls: Some(missing.clone()) };
    let zero = plan::Endpoint { weight: 0, ..endpoint_plan(1) };
    let named =
        plan::Endpoint { address: Address::Name { host: "a.example".into(), port: 1 }, ..endpoint_plan(1) };
    let fixed = |endpoint| Discovery::Static { localities: vec![locality_plan(0, vec![endpoint])] };
    let plan = || cluster_plan("a");
    for (plan, path) in [
        (plan::Cluster { tls: Some(missing), ..plan() }, "tls.certificates[0]"),
        (plan::Cluster { socket_matches: vec![matching], ..plan() }, "socket_matches[0].tls.certificates[0]"),
        (plan::Cluster { discovery: fixed(zero), ..plan() }, "discovery.localities[0].endpoints[0].weight"),
        (plan::Cluster { discovery: fixed(named), ..plan() }, "discovery.localities[0].endpoints[0].address"),
        (
            plan::Cluster {
                discovery: Discovery::OriginalDestination { header: false, cleanup_interval: 1 },
                ..plan()
            },
            "load_balancer",
        ),
    ] {
        let report = apply(&mut builder(), vec![cluster_upsert(&plan)], vec![]);
        assert_eq!(report.refused.first().map(|refused| &*refused.path), Some(path));
    }
}

#[test]
fn unchanged_listeners_and_chains_keep_their_place() {
    let mut builder = builder();
    let mut plan = tcp_listener("l", "a");
    plan.chains[0].matches.destination_port = Some(1);
    plan.chains.push(tcp_chain("second", "b"));
    apply(
        &mut builder,
        vec![
            upsert(Kind::Listener, "l", &plan),
            upsert(Kind::Listener, "other", &tcp_listener("other", "a")),
        ],
        vec![],
    );
    let before = Arc::clone(builder.snapshot());
    plan.chains[1] = tcp_chain("second", "c");
    apply(&mut builder, vec![upsert(Kind::Listener, "l", &plan)], vec![]);
    let after = builder.snapshot();
    assert!(Arc::ptr_eq(&before.listeners["other"], &after.listeners["other"]));
    let (old, new) = (&before.listeners["l"], &after.listeners["l"]);
    assert!(new.holds(&old.chains[0]) && !new.holds(&old.chains[1]));
    let input = ChainInput { destination: "10.0.0.1:9".parse().ok(), ..ChainInput::default() };
    let Terminal::Tcp(proxy) = &new.find_chain(&input).unwrap().terminal else { panic!("not TCP") };
    assert_eq!(proxy.cluster(7).map(|name| &**name), Some("c"));
}

#[test]
fn removals_come_last_and_leave_nothing() {
    let mut builder = builder();
    let everything = vec![
        cluster_upsert(&cluster_plan("a")),
        endpoints_upsert("a", &[1]),
        upsert(Kind::Route, "r", &route_table("r")),
        upsert(Kind::Listener, "l", &tcp_listener("l", "a")),
    ];
    let kinds = [(Kind::Cluster, "a"), (Kind::Endpoints, "a"), (Kind::Route, "r"), (Kind::Listener, "l")];
    let removals: Vec<_> = kinds.iter().map(|(kind, name)| removal(*kind, name)).collect();
    let report = apply(&mut builder, everything.clone(), removals);
    assert_eq!((report.accepted, report.refused.len()), (8, 0));
    let snapshot = builder.snapshot();
    assert!(snapshot.clusters.is_empty() && snapshot.tables.is_empty() && snapshot.listeners.is_empty());
    assert!(builder.held().is_empty());
    apply(&mut builder, everything, vec![]);
    apply(&mut builder, vec![], vec![removal(Kind::Endpoints, "a")]);
    assert_eq!(numbers(&builder, "a"), [1], "a cluster keeps the endpoints it has");
}

#[test]
fn endpoints_are_the_same_through_changes_of_their_cluster() {
    let mut builder = builder();
    apply(&mut builder, vec![cluster_upsert(&cluster_plan("a")), endpoints_upsert("a", &[1, 2])], vec![]);
    let endpoints = |builder: &Builder| {
        builder
            .snapshot()
            .cluster("a")
            .unwrap()
            .endpoints()
            .endpoints
            .iter()
            .map(Arc::clone)
            .collect::<Vec<_>>()
    };
    let before = endpoints(&builder);
    let under_way = before[0].begin();
    let slower = plan::Cluster { connect_timeout: 7_000, ..cluster_plan("a") };
    apply(&mut builder, vec![cluster_upsert(&slower), endpoints_upsert("a", &[1, 3])], vec![]);
    let after = endpoints(&builder);
    assert!(Arc::ptr_eq(&before[0], &after[0]));
    assert_eq!(after[0].active_requests(), 1);
    assert_ne!(after[1].id(), before[1].id());
    drop(under_way);
    assert_eq!(after[0].active_requests(), 0);
}

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
        check: HealthCheckKind::Tcp {},
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

/// A change to one of a few resources.
#[derive(Debug, Clone)]
enum Change {
    Cluster { name: usize, service: usize, timeout: u64 },
    Endpoints { service: usize, numbers: Vec<u8> },
    Route { name: usize, ignore_port: bool },
    Listener { name: usize, cluster: usize },
    RemoveCluster(usize),
    RemoveRoute(usize),
    RemoveListener(usize),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn any_change() -> impl Strategy<Value = Change> {
    let name = 0..NAMES.len();
    prop_oneof![
        (name.clone(), name.clone(), 0u64..3).prop_map(|(name, service, timeout)| Change::Cluster {
            name,
            service,
            timeout
        }),
        (name.clone(), proptest::collection::vec(0u8..6, 0..4))
            .prop_map(|(service, numbers)| Change::Endpoints { service, numbers }),
        (name.clone(), any::<bool>()).prop_map(|(name, ignore_port)| Change::Route { name, ignore_port }),
        (name.clone(), name.clone()).prop_map(|(name, cluster)| Change::Listener { name, cluster }),
        name.clone().prop_map(Change::RemoveCluster),
        name.clone().prop_map(Change::RemoveRoute),
        name.prop_map(Change::RemoveListener),
    ]
}

/// The change as a resource (`None`: removed).
fn resource(change: &Change) -> (Kind, &'static str, Option<Upsert>) {
    let name = |index: &usize| NAMES[*index];
    match change {
        // A timeout of 0 is refused.
        Change::Cluster { name: index, service, timeout } => {
            let discovery = Discovery::Eds { service: name(service).into() };
            let plan = plan::Cluster { connect_timeout: *timeout, discovery, ..cluster_plan(name(index)) };
            (Kind::Cluster, name(index), Some(cluster_upsert(&plan)))
        }
        Change::Endpoints { service, numbers } => {
            (Kind::Endpoints, name(service), Some(endpoints_upsert(name(service), numbers)))
        }
        Change::Route { name: index, ignore_port } => {
            let plan = plan::RouteTable { ignore_port: *ignore_port, ..route_table(name(index)) };
            (Kind::Route, name(index), Some(upsert(Kind::Route, name(index), &plan)))
        }
        Change::Listener { name: index, cluster } => {
            let plan = tcp_listener(name(index), name(cluster));
            (Kind::Listener, name(index), Some(upsert(Kind::Listener, name(index), &plan)))
        }
        Change::RemoveCluster(index) => (Kind::Cluster, name(index), None),
        Change::RemoveRoute(index) => (Kind::Route, name(index), None),
        Change::RemoveListener(index) => (Kind::Listener, name(index), None),
    }
}

/// All that can be seen of a builder, but for identities.
fn visible(builder: &Builder) -> String {
    let snapshot = builder.snapshot();
    let mut clusters: Vec<_> = snapshot
        .clusters
        .iter()
        .map(|(name, cluster)| {
            let mut numbers = numbers(builder, name);
            numbers.sort_unstable();
            format!("{name} {} {:?} {numbers:?}", cluster.policy().connect_timeout, cluster.policy().source)
        })
        .collect();
    clusters.sort();
    let mut tables: Vec<_> = snapshot.tables.iter().map(|(name, _)| name.to_string()).collect();
    tables.sort();
    let listeners: Vec<_> = snapshot
        .listeners
        .iter()
        .map(|(name, listener)| match &listener.chains[0].terminal {
            Terminal::Tcp(proxy) => format!("{name} {:?}", proxy.cluster(0)),
            Terminal::Http(_) => name.to_string(),
        })
        .collect();
    let held: Vec<_> =
        builder.held().into_iter().filter(|held| held.resource != Kind::Endpoints || snapshot.clusters.iter().any(|(_, cluster)| {
            matches!(&cluster.policy().source, crate::upstream::Source::Service(service) if **service == *held.name)
        })).collect();
    format!("{clusters:#?} {tables:?} {listeners:?} {held:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_deltas_end_where_one_from_scratch_begins(
        deltas in proptest::collection::vec(proptest::collection::vec(any_change(), 1..6), 1..12),
    ) {
        let mut builder = builder();
        let mut wanted: BTreeMap<(Kind, &str), Upsert> = BTreeMap::new();
        for changes in &deltas {
            // Of several changes to one resource in a delta the last one counts, as a control plane would send it.
            let last: BTreeMap<_, _> =
                changes.iter().map(resource).map(|(kind, name, upsert)| ((kind, name), upsert)).collect();
            let removals = last.iter().filter(|(_, upsert)| upsert.is_none());
            let removals = removals.map(|((kind, name), _)| removal(*kind, name)).collect();
            let report = apply(&mut builder, last.values().flatten().cloned().collect(), removals);
            for (place, upsert) in last {
                let refused = report.refused.iter().any(|refused| (refused.resource, &*refused.name) == place);
                match upsert {
                    Some(upsert) if !refused => drop(wanted.insert(place, upsert)),
                    Some(_) => {}
                    None => drop(wanted.remove(&place)),
                }
            }
        }
        let mut scratch = Builder::new(Arc::default(), 2);
        let report = apply(&mut scratch, wanted.into_values().collect(), vec![]);
        prop_assert_eq!(report.refused, vec![]);
        prop_assert_eq!(visible(&builder), visible(&scratch));
    }
}

/// A certificate for `name` with its key, signed by itself, as a secret of that name.
fn certificate_secret(name: &str) -> plan::Secret {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let chain = plan::CertificateChain {
        certificates: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        key_id: None,
    };
    plan::Secret { name: name.into(), material: plan::SecretMaterial::Certificate { chain } }
}

fn secret_upsert(plan: &plan::Secret) -> Upsert {
    upsert(Kind::Secret, &plan.name, plan)
}

fn client_tls(server_name: &str) -> plan::UpstreamTls {
    plan::UpstreamTls {
        certificates: vec!["own".into()],
        validation: None,
        alternative_names: plan::AlternativeNames::default(),
        server_name: server_name.into(),
        auto_server_name: false,
        auto_san_validation: false,
        application_protocols: vec![],
        min_version: plan::TlsVersion::V1_2,
        max_version: plan::TlsVersion::V1_3,
    }
}

fn tls_listener(name: &str) -> plan::Listener {
    let mut listener = tcp_listener(name, "a");
    listener.chains[0].tls = Some(plan::DownstreamTls {
        certificates: vec!["own".into()],
        validation: None,
        alternative_names: plan::AlternativeNames::default(),
        require_client_certificate: false,
        application_protocols: vec![],
        min_version: plan::TlsVersion::V1_2,
        max_version: plan::TlsVersion::V1_3,
    });
    listener
}

#[test]
fn a_new_secret_swaps_contexts_and_leaves_listeners_and_clusters() {
    let mut builder = builder();
    let cluster = plan::Cluster { tls: Some(client_tls("a")), ..cluster_plan("a") };
    let report = apply(
        &mut builder,
        vec![
            upsert(Kind::Listener, "l", &tls_listener("l")),
            cluster_upsert(&cluster),
            endpoints_upsert("a", &[1]),
            secret_upsert(&certificate_secret("own")),
        ],
        vec![],
    );
    assert_eq!(report.refused, [], "secrets come first, whatever the order");
    let server = Arc::clone(builder.snapshot().listeners["l"].chains[0].tls.as_ref().unwrap());
    let client = Arc::clone(builder.snapshot().cluster("a").unwrap().policy().tls.as_ref().unwrap());
    let (old_server, old_client) = (server.load(), client.load());
    assert!(Arc::ptr_eq(&old_client, &client.load()), "built once");

    let rotated = secret_upsert(&certificate_secret("own"));
    let (snapshot, report) =
        builder.apply(Delta { upserts: vec![rotated], removals: vec![] }, Tick::default());
    assert!(snapshot.is_none() && report.refused.is_empty());
    assert!(!Arc::ptr_eq(&old_server, &server.load()) && !Arc::ptr_eq(&old_client, &client.load()));
    let endpoint = Arc::clone(&builder.snapshot().cluster("a").unwrap().endpoints().endpoints[0]);
    assert!(Arc::ptr_eq(endpoint.tls().unwrap(), &client));

    let (good_server, good_client) = (server.load(), client.load());
    let mut broken = certificate_secret("own");
    if let plan::SecretMaterial::Certificate { chain } = &mut broken.material {
        chain.key = b"no key".to_vec();
    }
    let report = apply(&mut builder, vec![secret_upsert(&broken)], vec![]);
    assert_eq!(report.refused.first().map(|refused| &*refused.path), Some("material.chain.key"));
    assert!(Arc::ptr_eq(&good_server, &server.load()) && Arc::ptr_eq(&good_client, &client.load()));
    assert!(!format!("{report:?} {builder:?}").contains("PRIVATE KEY"));
}

#[test]
fn equal_contexts_are_one() {
    let mut builder = builder();
    let with = |name: &str, server_name: &str| {
        cluster_upsert(&plan::Cluster { tls: Some(client_tls(server_name)), ..cluster_plan(name) })
    };
    let secret = secret_upsert(&certificate_secret("own"));
    apply(&mut builder, vec![secret, with("a", "x"), with("b", "x"), with("c", "y")], vec![]);
    let cell =
        |name: &str| Arc::clone(builder.snapshot().cluster(name).unwrap().policy().tls.as_ref().unwrap());
    assert!(Arc::ptr_eq(&cell("a"), &cell("b")) && !Arc::ptr_eq(&cell("a"), &cell("c")));
}

#[test]
fn socket_labels_choose_the_context_of_each_endpoint() {
    let mut builder = builder();
    let label = |value: &str| vec![("tlsMode".to_owned(), value.to_owned())];
    let socket_matches = vec![
        plan::SocketMatch { name: "istio".into(), labels: label("istio"), tls: Some(client_tls("mesh")) },
        plan::SocketMatch { name: "disabled".into(), labels: label("disabled"), tls: None },
    ];
    let cluster = plan::Cluster { socket_matches, tls: Some(client_tls("other")), ..cluster_plan("a") };
    let labelled = |number, labels| plan::Endpoint { socket_labels: labels, ..endpoint_plan(number) };
    let endpoints = |first: &str| {
        let members = vec![labelled(1, label(first)), labelled(2, label("disabled")), labelled(3, vec![])];
        upsert(Kind::Endpoints, "a", &endpoints_plan("a", vec![locality_plan(0, members)]))
    };
    let names = |builder: &Builder| {
        let set = builder.snapshot().cluster("a").unwrap().endpoints();
        let name = |endpoint: &Arc<crate::upstream::Endpoint>| {
            endpoint.tls().map_or("clear".to_owned(), |tls| tls.plan().server_name.clone())
        };
        set.endpoints.iter().map(name).collect::<Vec<_>>()
    };
    let secret = secret_upsert(&certificate_secret("own"));
    apply(&mut builder, vec![secret, cluster_upsert(&cluster), endpoints("istio")], vec![]);
    assert_eq!(names(&builder), ["mesh", "clear", "other"]);
    let id = builder.snapshot().cluster("a").unwrap().endpoints().endpoints[0].id();
    apply(&mut builder, vec![endpoints("disabled")], vec![]);
    assert_eq!(names(&builder), ["clear", "clear", "other"]);
    assert_eq!(builder.snapshot().cluster("a").unwrap().endpoints().endpoints[0].id(), id);
}
