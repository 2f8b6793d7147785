//! Requests that no codec can write: whoever asked is told, and no endpoint is blamed.

use crate::plan;
use crate::stream::testing::bolt::{self, call, call_with};
use crate::stream::testing::{
    Worker, cluster, listener, manager, mutual_tls, outlier, retries, route, speaking, table, to_with_retries,
};
use crate::telemetry::ClusterCounter;

const BAD_REQUEST: u16 = 9;

/// A cluster of two that loses an endpoint by a single failure.
fn wary() -> plan::Cluster {
    let mut plan = cluster("shop", &["10.1.0.1:80", "10.1.0.2:80"]);
    plan.panic_threshold = 0;
    plan.outlier = Some(outlier(1));
    plan
}

fn eager() -> plan::RouteAction {
    to_with_retries("shop", retries(3, &["5xx", "reset", "connect-failure"]))
}

/// Bolt, whose frames have 128 headers at most, through a route that adds one.
fn bolt_with_one_more() -> Worker {
    let mut adds = route("/", eager());
    adds.headers.request = vec![plan::HeaderChange {
        name: "x-canary".into(),
        value: "yes".into(),
        action: plan::HeaderChangeKind::OverwriteIfExistsOrAdd,
        keep_empty: false,
    }];
    let manager = speaking(bolt::codec());
    Worker::new(&listener(plan::Terminal::Http { manager }), &[table(vec![adds])], &[wary()])
}

fn no_endpoint_is_blamed(worker: &Worker) {
    let counter = |counter| worker.cluster_counter("shop", counter);
    assert_eq!(counter(ClusterCounter::RqTotal), 1, "one attempt");
    assert_eq!((counter(ClusterCounter::RqRetry), counter(ClusterCounter::EjectionsTotal)), (0, 0));
    assert_eq!((counter(ClusterCounter::RqActive), counter(ClusterCounter::RqTxReset)), (0, 0));
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn a_call_whose_head_cannot_be_written_is_its_callers_fault() {
    let names: Vec<_> = (0..126).map(|number| format!("n{number}")).collect();
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let mut worker = bolt_with_one_more();
    let client = worker.connect_rpc();
    worker.receive(client, call_with(5, "cart/add", &headers));
    let upstream = worker.accept();
    assert_eq!(worker.sent_bytes(upstream), b"", "nothing of it left");
    let told = worker.sent_bytes(client);
    assert_eq!(&told[10..12], BAD_REQUEST.to_be_bytes());
    let record = worker.record();
    assert_eq!((record.status, &*record.details, &*record.flags), (400, "request_cannot_be_written", "IH"));
    no_endpoint_is_blamed(&worker);
    // The connection that was to carry it is as good as before.
    worker.receive(client, [call(6, "cart/add", b""), call(7, "cart/list", b"")].concat());
    let other = worker.accept();
    assert_eq!(worker.address_of(other), "10.1.0.2:80");
    let (first, second) = (worker.sent_bytes(other), worker.sent_bytes(upstream));
    assert_eq!((first.len(), second.len()), (second.len() - 1, first.len() + 1));
}

#[test]
fn an_upgrade_is_refused_where_the_endpoint_turns_out_to_speak_http2() {
    let mut plan = wary();
    plan.http.protocol = plan::UpstreamProtocol::Auto;
    plan.tls = Some(mutual_tls(&["h2", "http/1.1"]));
    let mut manager = manager();
    manager.upgrades = vec!["websocket".into()];
    let listener = listener(plan::Terminal::Http { manager });
    let mut worker = Worker::new(&listener, &[table(vec![route("/", eager())])], &[]).with_identity(&[plan]);
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    worker.accept_alpn(Some("h2"));
    assert!(worker.sent(client).starts_with("HTTP/1.1 403"));
    assert_eq!(worker.record().details, "upgrade_failed");
    no_endpoint_is_blamed(&worker);
}
