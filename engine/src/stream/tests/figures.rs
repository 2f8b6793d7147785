//! What the record makes of exchanges: Istio's labels.

use std::sync::Arc;

use crate::message::{Peer, SpiffeId};
use crate::plan;
use crate::stream::head::peer_metadata;
use crate::stream::testing::bolt;
use crate::stream::testing::{
    Worker, client_peer, cluster, listener, manager, route, speaking, table, tcp_proxy, to,
};
use crate::telemetry::prometheus;

fn labelled() -> plan::Cluster {
    let mut plan = cluster("shop", &["10.1.0.1:80"]);
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
    };
    plan.labels = pairs(&[("host", "cart.shop.svc"), ("name", "cart"), ("namespace", "shop")]);
    if let plan::Discovery::Static { localities } = &mut plan.discovery {
        localities[0].endpoints[0].labels = pairs(&[("workload", "cart-v2"), ("namespace", "shop")]);
    }
    plan
}

fn line(worker: &Worker, name: &str) -> String {
    let text = prometheus::render(&worker.port.telemetry);
    text.lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("no {name} in\n{text}"))
        .to_owned()
}

#[test]
fn the_source_names_the_destination_by_its_endpoint() {
    let mut worker = Worker::http(vec![route("/", to("shop"))], &[labelled()]);
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let line = line(&worker, "istio_requests_total{");
    for label in [
        "reporter=\"source\"",
        "destination_workload=\"cart-v2\"",
        "destination_service=\"cart.shop.svc\"",
        "response_code=\"200\"",
    ] {
        assert!(line.contains(label), "{label} in {line}");
    }
}

#[test]
fn the_destination_names_the_source_by_its_certificate_and_what_it_says() {
    let mut listener = listener(plan::Terminal::Http { manager: manager() });
    listener.direction = plan::TrafficDirection::Inbound;
    let mut worker = Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[labelled()]);
    let mut peer = client_peer();
    peer.identity = SpiffeId::parse("spiffe://cluster.local/ns/web/sa/front");
    let codec = crate::codec::h1::Server::new(crate::codec::h1::Settings::default());
    let client = worker.connect_as(codec.into(), peer);
    let said =
        plan::LocalWorkload { name: "front-v1".into(), namespace: "lies".into(), ..Default::default() };
    let field = peer_metadata::encode(&said);
    worker.receive(client, format!("GET / HTTP/1.1\r\nHost: a\r\nx-envoy-peer-metadata: {field}\r\n\r\n"));
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let line = line(&worker, "istio_requests_total{");
    for label in [
        "reporter=\"destination\"",
        "source_workload=\"front-v1\"",
        "source_workload_namespace=\"web\"",
        "source_principal=\"spiffe://cluster.local/ns/web/sa/front\"",
    ] {
        assert!(line.contains(label), "{label} in {line}");
    }
}

#[test]
fn pipes_count_when_they_open_and_when_they_close() {
    let proxy = tcp_proxy("shop");
    let mut worker = Worker::new(&listener(plan::Terminal::Tcp { proxy }), &[], &[labelled()]);
    let client = worker.connect_tcp();
    let upstream = worker.accept();
    assert!(line(&worker, "istio_tcp_connections_opened_total{").ends_with(" 1"));
    worker.receive(client, "12345");
    worker.lose(upstream);
    // Under the flag that says why.
    let text = prometheus::render(&worker.port.telemetry);
    let has = |name: &str, value: &str| {
        text.lines().any(|line| {
            line.starts_with(name) && line.contains("response_flags=\"UC\"") && line.ends_with(value)
        })
    };
    assert!(
        has("istio_tcp_connections_closed_total{", " 1") && has("istio_tcp_received_bytes_total{", " 5"),
        "{text}"
    );
}

/// An inbound or outbound listener of Bolt, whose routes send everything to `shop`.
fn rpc(direction: plan::TrafficDirection) -> Worker {
    let manager = speaking(bolt::codec());
    let mut listener = listener(plan::Terminal::Http { manager });
    listener.direction = direction;
    Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[labelled()])
}

#[test]
fn calls_of_framed_protocols_are_told_by_service_and_method() {
    let mut worker = rpc(plan::TrafficDirection::Outbound);
    let client = worker.connect_rpc();
    worker.receive(client, bolt::call(7, "cart/add", b"tea"));
    let upstream = worker.accept();
    worker.receive(upstream, bolt::answer(1, 4, b""));
    let line = line(&worker, "istio_requests_total{");
    for label in [
        "reporter=\"source\"",
        "destination_workload=\"cart-v2\"",
        "destination_service=\"cart.shop.svc\"",
        "request_protocol=\"bolt\"",
        "request_service=\"cart\",request_method=\"add\"",
        "response_code=\"503\"",
    ] {
        assert!(line.contains(label), "{label} in {line}");
    }
}

#[test]
fn a_one_way_call_that_was_sent_went_well() {
    let mut worker = rpc(plan::TrafficDirection::Outbound);
    let client = worker.connect_rpc();
    worker.receive(client, bolt::one_way(3, "cart/note", b"x"));
    worker.accept();
    assert!(line(&worker, "istio_requests_total{").contains("response_code=\"200\""));
}

#[test]
fn a_caller_is_named_by_its_certificate_and_by_the_endpoint_it_is() {
    let front = SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/front");
    let stranger = SpiffeId::parse("spiffe://cluster.local/ns/elsewhere/sa/front");
    // The endpoint of `shop` is cart-v2 of the namespace shop, at 10.1.0.1.
    for (address, identity, labels) in [
        ("10.1.0.1:4000", &front, ["\"cart-v2\"", "\"shop\"", "\"spiffe://cluster.local/ns/shop/sa/front\""]),
        ("10.1.0.2:4000", &front, ["\"unknown\"", "\"shop\"", "\"spiffe://cluster.local/ns/shop/sa/front\""]),
        // An address proves nothing against a certificate.
        (
            "10.1.0.1:4000",
            &stranger,
            ["\"unknown\"", "\"elsewhere\"", "\"spiffe://cluster.local/ns/elsewhere/sa/front\""],
        ),
        ("10.1.0.1:4000", &None, ["\"unknown\""; 3]),
    ] {
        let mut worker = rpc(plan::TrafficDirection::Inbound);
        let peer =
            Peer { remote: Some(address.parse().unwrap()), identity: identity.clone(), ..client_peer() };
        let codec = crate::codec::rpc::Connection::server(Arc::new(
            crate::codec::rpc::compile(&bolt::protocol()).unwrap(),
        ));
        let client = worker.connect_as(codec.into(), peer);
        worker.receive(client, bolt::call(1, "cart/add", b""));
        let upstream = worker.accept();
        worker.receive(upstream, bolt::answer(1, 0, b""));
        let line = line(&worker, "istio_requests_total{reporter=\"destination\"");
        for (name, value) in
            ["source_workload", "source_workload_namespace", "source_principal"].iter().zip(labels)
        {
            assert!(line.contains(&format!("{name}={value}")), "{name}={value} in {line}");
        }
    }
}
