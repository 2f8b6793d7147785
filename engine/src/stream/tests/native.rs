//! A native codec on the whole road: what routes, retries, breakers and records do for described protocols they do for it.

use crate::message::Protocol;
use crate::plan;
use crate::stream::testing::{
    Worker, cluster, listener, retries, route, speaking, table, to, to_with_retries,
};

/// A frame of Thrift's compact protocol: call 1, reply 2, exception 3, one-way call 4.
fn frame(kind: u8, sequence: u8, name: &str, body: &[u8]) -> Vec<u8> {
    let inside = [&[0x82, kind << 5 | 1, sequence, name.len() as u8], name.as_bytes(), body].concat();
    [&(inside.len() as u32).to_be_bytes(), &inside[..]].concat()
}

fn call(sequence: u8, name: &str, body: &[u8]) -> Vec<u8> {
    frame(1, sequence, name, body)
}

fn answer(sequence: u8, name: &str, body: &[u8]) -> Vec<u8> {
    frame(2, sequence, name, body)
}

/// An exception of the framework, which is what replies made here are. `kind`: 1 unknown method, 6 internal error.
fn exception(sequence: u8, name: &str, message: &str, kind: u8) -> Vec<u8> {
    let text = [&[0x18, message.len() as u8], message.as_bytes(), &[0x15, kind << 1, 0]].concat();
    frame(3, sequence, name, &text)
}

fn worker(routes: Vec<plan::Route>, endpoints: &[&str]) -> Worker {
    let declared = ("declaredExceptions".to_owned(), serde_json::json!("serverError"));
    let manager =
        speaking(plan::RpcCodec::Native { name: "thrift-compact".into(), options: [declared].into() });
    let listener = listener(plan::Terminal::Http { manager });
    Worker::new(&listener, &[table(routes)], &[cluster("shop", endpoints)])
}

fn shop() -> Worker {
    worker(vec![route("/Cart", to("shop"))], &["10.1.0.1:80"])
}

#[test]
fn calls_go_by_service_and_method_and_are_recorded() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, call(7, "Cart:add", b"tea"));
    let upstream = worker.accept();
    assert_eq!(worker.sent_bytes(upstream), call(7, "Cart:add", b"tea"));
    worker.receive(upstream, answer(7, "Cart:add", b"\0"));
    assert_eq!(worker.sent_bytes(client), answer(7, "Cart:add", b"\0"));
    let record = worker.record();
    assert_eq!((record.protocol, record.status, record.received), (Protocol::Rpc, 200, 3));
    worker.receive(client, call(8, "Stock:list", b""));
    let unrouted = exception(8, "Stock:list", "no route for this call", 1);
    assert_eq!(worker.sent_bytes(client), unrouted);
    assert_eq!((worker.record().status, worker.streams.active()), (404, 0));
}

#[test]
fn connections_to_providers_carry_one_call_at_a_time_and_are_kept() {
    let mut worker = shop();
    let (one, two) = (worker.connect_rpc(), worker.connect_rpc());
    worker.receive(one, call(1, "Cart:add", b""));
    worker.receive(two, call(1, "Cart:list", b""));
    let (first, second) = (worker.accept(), worker.accept());
    assert_eq!(worker.sent_bytes(second), call(1, "Cart:list", b""));
    worker.receive(second, answer(1, "Cart:list", b"\0"));
    assert_eq!(worker.sent_bytes(two), answer(1, "Cart:list", b"\0"));
    worker.receive(two, call(2, "Cart:list", b""));
    assert_eq!((worker.sent_bytes(second), worker.next_dial()), (call(2, "Cart:list", b""), None));
    worker.receive(first, answer(1, "Cart:add", b"\0"));
    assert_eq!(worker.sent_bytes(one), answer(1, "Cart:add", b"\0"));
}

#[test]
fn pipelined_calls_are_answered_in_their_order() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, [call(1, "Cart:add", b"a"), call(2, "Cart:add", b"b")].concat());
    let upstream = worker.accept();
    assert_eq!(worker.sent_bytes(upstream), call(1, "Cart:add", b"a"));
    worker.receive(upstream, answer(1, "Cart:add", b"\0"));
    assert_eq!(worker.sent_bytes(upstream), call(2, "Cart:add", b"b"));
    worker.receive(upstream, answer(2, "Cart:add", b"\0"));
    let both = [answer(1, "Cart:add", b"\0"), answer(2, "Cart:add", b"\0")].concat();
    assert_eq!(worker.sent_bytes(client), both);
}

#[test]
fn what_fails_is_tried_again_where_the_route_says_so() {
    let again = to_with_retries("shop", retries(1, &["5xx"]));
    let mut worker = worker(vec![route("/", again)], &["10.1.0.1:80"]);
    let client = worker.connect_rpc();
    worker.receive(client, call(3, "Cart:add", b"tea"));
    let upstream = worker.accept();
    worker.sent_bytes(upstream);
    // What the interface declares, as a result's field 1: the option makes it a failure.
    worker.receive(upstream, answer(3, "Cart:add", b"\x1c\0\0"));
    worker.pass(100);
    assert_eq!(
        (worker.sent_bytes(client), worker.sent_bytes(upstream)),
        (vec![], call(3, "Cart:add", b"tea"))
    );
    worker.receive(upstream, answer(3, "Cart:add", b"\0"));
    assert_eq!(worker.sent_bytes(client), answer(3, "Cart:add", b"\0"));
}

#[test]
fn one_way_calls_end_when_they_are_sent_and_a_lost_provider_is_told_of() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, frame(4, 3, "Cart:note", b"x"));
    let upstream = worker.accept();
    assert_eq!(worker.sent_bytes(upstream), frame(4, 3, "Cart:note", b"x"));
    assert_eq!((worker.sent_bytes(client), worker.streams.active()), (vec![], 0));
    worker.receive(client, call(4, "Cart:add", b""));
    assert_eq!(worker.sent_bytes(upstream), call(4, "Cart:add", b""));
    worker.pass(10);
    worker.lose(upstream);
    // Its head, then the type of the exception at the end.
    let told = worker.sent_bytes(client);
    assert_eq!(&told[4..8], &[0x82, 3 << 5 | 1, 4, 8]);
    assert_eq!(&told[told.len() - 3..], &[0x15, 6 << 1, 0]);
    assert_eq!(worker.record().status, 503);
}

#[test]
fn a_call_of_which_the_application_got_nothing_is_sent_elsewhere() {
    let manager = speaking(plan::RpcCodec::Native { name: "thrift-compact".into(), options: [].into() });
    let mut beside = listener(plan::Terminal::Http { manager });
    beside.direction = plan::TrafficDirection::Inbound;
    let routes = table(vec![route("/", to("shop"))]);
    let mut worker = Worker::new(&beside, &[routes], &[cluster("shop", &["127.0.0.1:80"])]);
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "Cart:add", b"tea"));
    worker.refuse();
    let unreached = worker.sent_bytes(client);
    assert_eq!(unreached[16..21], [0x25, 0xee, 0x07, 0x08, 0x02], "{unreached:?}");
    assert_eq!((worker.record().status, &*worker.record().flags), (503, "UF"));

    let policy = retries(2, &["connect-failure", "refused-stream", "unavailable"]);
    let again = to_with_retries("shop", policy);
    let mut worker = self::worker(vec![route("/", again)], &["10.1.0.1:80", "10.1.0.2:80"]);
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "Cart:add", b"tea"));
    let first = worker.accept();
    assert_eq!(worker.sent_bytes(first), call(1, "Cart:add", b"tea"));
    worker.receive(first, unreached);
    worker.pass(25);
    let second = worker.accept();
    assert_eq!(worker.sent_bytes(second), call(1, "Cart:add", b"tea"));
    worker.receive(second, answer(1, "Cart:add", b"\0"));
    assert_eq!(worker.sent_bytes(client), answer(1, "Cart:add", b"\0"));
}

#[test]
fn large_calls_pass_in_pieces() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    let sent = call(1, "Cart:put", &vec![b'x'; 300_000]);
    for piece in sent.chunks(50_000) {
        worker.receive(client, piece);
    }
    let upstream = worker.accept();
    let mut came = Vec::new();
    while came.len() < sent.len() {
        let piece = worker.sent_bytes(upstream);
        assert!(!piece.is_empty(), "{} of {}", came.len(), sent.len());
        came.extend(piece);
    }
    assert!(came == sent);
    let large = answer(1, "Cart:put", &vec![0; 200_000]);
    for piece in large.chunks(50_000) {
        worker.receive(upstream, piece);
    }
    let mut told = worker.sent_bytes(client);
    told.extend(worker.sent_bytes(client));
    assert!(told == large, "{}", told.len());
}
