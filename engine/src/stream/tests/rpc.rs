//! The third protocol: the same exchange, policies and record, with frames that are not HTTP.

use crate::message::Protocol;
use crate::plan;
use crate::stream::testing::bolt::{answer, call, one_way};
use crate::stream::testing::{Worker, cluster, retries, route, to, to_with_retries};

fn shop() -> Worker {
    let mut plan = cluster("shop", &["10.1.0.1:80"]);
    plan.http.protocol = plan::UpstreamProtocol::Http2;
    Worker::http(vec![route("/cart", to("shop"))], &[plan])
}

#[test]
fn calls_share_a_connection_and_answers_come_in_any_order() {
    let mut worker = shop();
    let client = worker.connect_bolt();
    worker.receive(client, [call(7, "cart/add", b"tea"), call(8, "cart/list", b"")].concat());
    let upstream = worker.accept_bolt();
    assert_eq!(
        worker.sent_bytes(upstream),
        [call(1, "cart/add", b"tea"), call(2, "cart/list", b"")].concat()
    );
    worker.receive(upstream, answer(2, 200, b"tea"));
    assert_eq!(worker.sent_bytes(client), answer(8, 200, b"tea"));
    worker.receive(upstream, answer(1, 200, b""));
    assert_eq!(worker.sent_bytes(client), answer(7, 200, b""));
    let record = worker.record();
    assert_eq!((record.protocol, record.status, record.received), (Protocol::Rpc, 200, 3));
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn replies_made_here_are_frames_too() {
    let mut worker = shop();
    let client = worker.connect_bolt();
    worker.receive(client, call(1, "stock/list", b""));
    assert_eq!(worker.sent_bytes(client), answer(1, 404, b""));
    worker.receive(client, call(2, "cart/list", b""));
    worker.refuse();
    let sent = worker.sent_bytes(client);
    assert!(sent.starts_with(&answer(2, 503, b"")[..7]), "{sent:?}");
    assert_eq!(worker.record().flags, "UF");
}

#[test]
fn one_way_calls_end_when_they_are_sent() {
    let mut worker = shop();
    let client = worker.connect_bolt();
    worker.receive(client, one_way(3, "cart/note", b"x"));
    let upstream = worker.accept_bolt();
    assert_eq!(worker.sent_bytes(upstream), one_way(1, "cart/note", b"x"));
    assert_eq!((worker.sent_bytes(client), worker.streams.active()), (vec![], 0));
}

#[test]
fn retries_know_statuses_and_nothing_of_http() {
    let mut plan = cluster("shop", &["10.1.0.1:80"]);
    plan.http.protocol = plan::UpstreamProtocol::Http2;
    let action = to_with_retries("shop", retries(1, &["5xx"]));
    let mut worker = Worker::http(vec![route("/", action)], &[plan]);
    let client = worker.connect_bolt();
    worker.receive(client, call(1, "cart/add", b"tea"));
    let upstream = worker.accept_bolt();
    worker.receive(upstream, answer(1, 500, b"oops"));
    worker.pass(25);
    worker.sent_bytes(upstream);
    worker.receive(upstream, answer(2, 200, b"ok"));
    assert_eq!(worker.sent_bytes(client), answer(1, 200, b"ok"));
}

#[test]
fn a_stuck_call_times_out_and_its_late_answer_is_dropped() {
    let mut worker = shop();
    let client = worker.connect_bolt();
    worker.receive(client, call(1, "cart/add", b""));
    let upstream = worker.accept_bolt();
    worker.pass(15_000);
    assert!(worker.sent_bytes(client).starts_with(&answer(1, 504, b"")[..7]));
    worker.receive(upstream, answer(1, 200, b"late"));
    assert_eq!(worker.sent_bytes(client), b"");
    assert!(worker.is_open(client) && worker.is_open(upstream));
}
