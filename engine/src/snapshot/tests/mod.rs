//! Deltas as a control plane would send them, and what is in force afterwards.

mod random;
mod secrets;
mod warming;

use std::sync::Arc;

use serde::Serialize;

use super::*;
use crate::message::Tick;
use crate::plan::{self, Address, ApplyReport, Delta, Discovery, Kind, Removal, Upsert};
use crate::route::ChainInput;
use crate::upstream::testing::*;

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
        case_sensitive: false,
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
fn what_waits_is_checked_without_coming_in_force() {
    let mut builder = builder();
    let good = upsert(Kind::Route, "r", &route_table("r"));
    let misnamed = upsert(Kind::Route, "q", &route_table("r"));
    let report = builder.check(&[good.clone(), misnamed, cluster_upsert(&cluster_plan("a"))]);
    assert_eq!((report.generation, report.accepted), (0, 2));
    assert_eq!((report.refused[0].name.as_str(), report.refused[0].path.as_str()), ("q", "name"));
    assert!(builder.held().is_empty());
    assert_eq!(apply(&mut builder, vec![good], vec![]).accepted, 1);
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
fn tables_of_framed_protocols_have_names_of_their_own() {
    let mut builder = builder();
    let both = [Kind::Route, Kind::GenericRoute].map(|kind| upsert(kind, "r", &route_table("r")));
    assert_eq!(apply(&mut builder, both.into(), vec![]).accepted, 2);
    assert_eq!(builder.held().len(), 2);
    apply(&mut builder, vec![], vec![removal(Kind::Route, "r")]);
    let snapshot = builder.snapshot();
    assert!(snapshot.routes(&Routes::Named("r".into())).is_none());
    assert!(snapshot.routes(&Routes::Generic("r".into())).is_some());
    apply(&mut builder, vec![], vec![removal(Kind::GenericRoute, "r")]);
    assert!(builder.held().is_empty() && builder.snapshot().generic_tables.is_empty());
    let misnamed = builder.check(&[upsert(Kind::GenericRoute, "q", &route_table("r"))]);
    assert_eq!(misnamed.refused[0].path, "name");
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
