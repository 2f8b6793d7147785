//! Framed protocols: the same exchange, policies and record, with frames that are not HTTP.

use crate::message::{Key, Protocol};
use crate::plan;
use crate::stream::testing::bolt::{self, answer, call, call_with, call_within, one_way};
use crate::stream::testing::{
    Worker, cluster, listener, mutual_tls, retries, route, speaking, table, to, to_with_retries,
};

const NO_PROCESSOR: u16 = 6;
const TIMEOUT: u16 = 7;
const ERROR: u16 = 1;
const BUSY: u16 = 4;
const CONNECTION_CLOSED: u16 = 16;

fn worker(routes: Vec<plan::Route>) -> Worker {
    let manager =
        plan::HttpConnectionManager { server_name: Some("mainstay".into()), ..speaking(bolt::codec()) };
    let listener = listener(plan::Terminal::Http { manager });
    Worker::new(&listener, &[table(routes)], &[cluster("shop", &["10.1.0.1:80"])])
}

/// As `shop`, with tracing of all calls.
fn traced() -> Worker {
    let manager = plan::HttpConnectionManager { tracing: Some(1.0), ..speaking(bolt::codec()) };
    let listener = listener(plan::Terminal::Http { manager });
    Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[cluster("shop", &["10.1.0.1:80"])])
}

fn shop() -> Worker {
    worker(vec![route("/cart", to("shop"))])
}

#[test]
fn calls_share_a_connection_and_answers_come_in_any_order() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, [call(7, "cart/add", b"tea"), call(8, "cart/list", b"")].concat());
    let upstream = worker.accept();
    assert_eq!(
        worker.sent_bytes(upstream),
        [call(1, "cart/add", b"tea"), call(2, "cart/list", b"")].concat()
    );
    worker.receive(upstream, answer(2, 0, b"tea"));
    assert_eq!(worker.sent_bytes(client), answer(8, 0, b"tea"));
    worker.receive(upstream, answer(1, 0, b""));
    assert_eq!(worker.sent_bytes(client), answer(7, 0, b""));
    let record = worker.record();
    assert_eq!((record.protocol, record.status, record.received), (Protocol::Rpc, 200, 3));
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn how_long_a_server_took_is_noted_and_stands_in_no_frame() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, call(7, "cart/add", b"tea"));
    let upstream = worker.accept();
    worker.pass(12);
    worker.receive(upstream, answer(1, 0, b"tea"));
    assert_eq!(worker.sent_bytes(client), answer(7, 0, b"tea"));
    assert_eq!(worker.record().service_time, Some(12));
    worker.receive(client, call(8, "stock/add", b"tea"));
    assert_eq!((worker.record().status, worker.record().service_time), (404, None));
}

#[test]
fn what_is_offered_to_servers_is_the_protocol_and_no_http_but_for_the_names_of_the_mesh() {
    for (known, offered) in [
        (&["istio-http/1.1", "istio", "http/1.1"][..], Some(&["mainstay-bolt", "istio"][..])),
        (&["istio-peer-exchange", "istio"], Some(&["mainstay-bolt", "istio-peer-exchange", "istio"])),
        (&["acme"], None),
        (&["istio-http/1.1", "istio-h2", "h2"], Some(&["mainstay-bolt", "istio-http/1.1", "istio-h2"])),
        (&["h2", "http/1.1"], Some(&[])),
    ] {
        let mut plan = cluster("shop", &["10.1.0.1:80"]);
        plan.tls = Some(mutual_tls(known));
        let mut worker = shop().with_identity(&[plan]);
        let client = worker.connect_rpc();
        worker.receive(client, call(1, "cart/add", b""));
        let offered = offered.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(worker.next_offer(), offered, "{known:?}");
    }
}

#[test]
fn callers_share_connections_to_an_endpoint() {
    let mut worker = shop();
    let (one, two) = (worker.connect_rpc(), worker.connect_rpc());
    worker.receive(one, call(7, "cart/add", b""));
    worker.receive(two, call(7, "cart/add", b""));
    let upstream = worker.accept();
    assert_eq!(worker.sent_bytes(upstream), [call(1, "cart/add", b""), call(2, "cart/add", b"")].concat());
    assert_eq!(worker.next_dial(), None);
    worker.receive(upstream, answer(2, 0, b"two"));
    assert_eq!((worker.sent_bytes(one), worker.sent_bytes(two)), (vec![], answer(7, 0, b"two")));
}

#[test]
fn replies_made_here_are_frames_too() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "stock/list", b""));
    assert_eq!(worker.sent_bytes(client), answer(1, NO_PROCESSOR, b""));
    worker.receive(client, call(2, "cart/list", b""));
    worker.refuse();
    assert_eq!(worker.sent_bytes(client), answer(2, CONNECTION_CLOSED, b""));
    assert_eq!(worker.record().flags, "UF");
}

#[test]
fn answers_that_a_route_gives_are_told_apart() {
    for (http, status) in [(503, BUSY), (502, CONNECTION_CLOSED), (404, NO_PROCESSOR)] {
        let response = plan::DirectResponse { status: http, body: Vec::new() };
        let mut worker = worker(vec![route("/", plan::RouteAction::Respond { response })]);
        let client = worker.connect_rpc();
        worker.receive(client, call(1, "cart/add", b""));
        assert_eq!(worker.sent_bytes(client), answer(1, status, b""), "{http}");
    }
}

#[test]
fn one_way_calls_end_when_they_are_sent() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, one_way(3, "cart/note", b"x"));
    let upstream = worker.accept();
    assert_eq!(worker.sent_bytes(upstream), one_way(1, "cart/note", b"x"));
    assert_eq!((worker.sent_bytes(client), worker.streams.active()), (vec![], 0));
}

#[test]
fn retries_know_statuses_and_nothing_of_http() {
    let mut worker = worker(vec![route("/", to_with_retries("shop", retries(1, &["5xx"])))]);
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b"tea"));
    let upstream = worker.accept();
    worker.receive(upstream, answer(1, ERROR, b"oops"));
    worker.pass(25);
    assert_eq!(
        worker.sent_bytes(upstream),
        [call(1, "cart/add", b"tea"), call(2, "cart/add", b"tea")].concat()
    );
    worker.receive(upstream, answer(2, 0, b"ok"));
    assert_eq!(worker.sent_bytes(client), answer(1, 0, b"ok"));
}

#[test]
fn a_stuck_call_times_out_and_its_late_answer_is_dropped() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b""));
    let upstream = worker.accept();
    worker.pass(15_000);
    assert_eq!(worker.sent_bytes(client), answer(1, TIMEOUT, b""));
    worker.receive(upstream, answer(1, 0, b"late"));
    assert_eq!(worker.sent_bytes(client), b"");
    assert!(worker.is_open(client) && worker.is_open(upstream));
}

#[test]
fn a_caller_is_not_kept_waiting_beyond_its_own_patience() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, call_within(1, 200, "cart/add"));
    let upstream = worker.accept();
    assert_eq!(worker.sent_bytes(upstream), call_within(1, 200, "cart/add"));
    worker.pass(200);
    assert_eq!(worker.sent_bytes(client), answer(1, TIMEOUT, b""));
}

#[test]
fn routes_match_headers_and_change_them() {
    let mut canary = route("/cart", to("shop"));
    canary.matches.headers = vec![plan::HeaderMatch {
        name: "x-user".into(),
        test: plan::HeaderTest::Text {
            matches: plan::StringMatch {
                test: plan::StringTest::Exact { text: "kim".into() },
                ignore_case: false,
            },
        },
        invert: false,
        absent_as_empty: false,
    }];
    canary.headers.request = vec![plan::HeaderChange {
        name: "x-canary".into(),
        value: "yes".into(),
        action: plan::HeaderChangeKind::OverwriteIfExistsOrAdd,
        keep_empty: false,
    }];
    let mut worker = worker(vec![canary]);
    let client = worker.connect_rpc();
    worker.receive(client, call_with(1, "cart/add", &[("X-User", "lee")]));
    assert_eq!(worker.sent_bytes(client), answer(1, NO_PROCESSOR, b""));
    worker.receive(client, call_with(2, "cart/add", &[("X-User", "kim")]));
    let upstream = worker.accept();
    let changed = call_with(1, "cart/add", &[("X-User", "kim"), ("x-canary", "yes")]);
    assert_eq!(worker.sent_bytes(upstream), changed);
}

#[test]
fn mirrors_get_frames_too() {
    let mut action = to("shop");
    if let plan::RouteAction::Forward { mirrors, .. } = &mut action {
        *mirrors = vec![plan::Mirror { cluster: "shop".into(), fraction: None, shadow_host: false }];
    }
    let mut worker = worker(vec![route("/", action)]);
    let client = worker.connect_rpc();
    worker.receive(client, call(9, "cart/add", b"tea"));
    let upstream = worker.accept();
    assert_eq!(
        worker.sent_bytes(upstream),
        [call(1, "cart/add", b"tea"), call(2, "cart/add", b"tea")].concat()
    );
    worker.receive(upstream, [answer(2, 0, b"shadow"), answer(1, 0, b"real")].concat());
    assert_eq!(worker.sent_bytes(client), answer(9, 0, b"real"));
}

#[test]
fn a_server_that_goes_takes_its_calls_with_it_and_nobody_elses() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b""));
    let upstream = worker.accept();
    worker.pass(1);
    worker.lose(upstream);
    assert_eq!(worker.sent_bytes(client), answer(1, CONNECTION_CLOSED, b""));
    worker.receive(client, call(2, "cart/add", b""));
    let upstream = worker.accept();
    worker.receive(upstream, answer(1, 0, b""));
    assert_eq!(worker.sent_bytes(client), answer(2, 0, b""));
}

/// Two calls where the thresholds allow one: the second is answered from here. Gives the worker with the first, and its caller.
fn two_calls_and_one_is_told_busy(allow_one: fn(&mut plan::Thresholds)) -> (Worker, Key) {
    let mut plan = cluster("shop", &["10.1.0.1:80"]);
    allow_one(&mut plan.breakers.default);
    let listener = listener(plan::Terminal::Http { manager: speaking(bolt::codec()) });
    let mut worker = Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[plan]);
    let client = worker.connect_rpc();
    worker.receive(client, [call(1, "cart/add", b""), call(2, "cart/add", b"")].concat());
    assert_eq!(worker.sent_bytes(client), answer(2, BUSY, b""));
    assert_eq!(worker.record().flags, "UO");
    (worker, client)
}

#[test]
fn breakers_answer_that_we_are_busy() {
    two_calls_and_one_is_told_busy(|breakers| breakers.max_requests = Some(1));
}

#[test]
fn calls_that_wait_for_a_connection_are_bounded() {
    let (mut worker, client) = two_calls_and_one_is_told_busy(|breakers| breakers.max_pending = Some(1));
    let upstream = worker.accept();
    assert_eq!(worker.sent_bytes(upstream), call(1, "cart/add", b""));
    // Where a connection is there, nobody waits.
    worker.receive(client, [call(3, "cart/add", b""), call(4, "cart/add", b"")].concat());
    assert_eq!(worker.sent_bytes(client), b"");
    assert_eq!(worker.sent_bytes(upstream), [call(2, "cart/add", b""), call(3, "cart/add", b"")].concat());
}

#[test]
fn a_trace_that_a_call_brings_is_told_and_left_alone() {
    let mut worker = traced();
    let client = worker.connect_rpc();
    let sofa = "0a0fe9d41488955146071100140705";
    let mut upstream = None;
    let w3c = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (id, headers, told) in [
        (1, &[("rpc_trace_context.sofaTraceId", sofa), ("rpc_trace_context.sofaRpcId", "0.1")][..], sofa),
        (2, &[("traceparent", w3c)], &w3c[3..35]),
        (3, &[("rpc_trace_context.sofaTraceId", sofa), ("traceparent", w3c)], sofa),
        // What no log can hold is nobody's business but the applications'.
        (4, &[("rpc_trace_context.sofaTraceId", "a \"b\"")], ""),
    ] {
        worker.receive(client, call_with(id, "cart/add", headers));
        let upstream = *upstream.get_or_insert_with(|| worker.accept());
        assert_eq!(worker.sent_bytes(upstream), call_with(id, "cart/add", headers), "{headers:?}");
        worker.receive(upstream, answer(id, 0, b""));
        assert_eq!(worker.record().trace_id, told);
    }
}

#[test]
fn a_call_without_a_trace_begins_one_that_its_protocol_knows() {
    let mut worker = traced();
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b""));
    let upstream = worker.accept();
    let sent = worker.sent_bytes(upstream);
    worker.receive(upstream, answer(1, 0, b""));
    let trace = worker.record().trace_id.clone();
    assert_eq!(trace.len(), 32);
    let headers = [
        ("rpc_trace_context.sofaTraceId", trace.as_str()),
        ("rpc_trace_context.sofaRpcId", "0"),
        ("rpc_trace_context.samp", "true"),
    ];
    assert_eq!(sent, call_with(1, "cart/add", &headers));
}

#[test]
fn a_call_without_room_for_a_trace_leaves_as_it_came() {
    let mut worker = traced();
    let client = worker.connect_rpc();
    let names: Vec<String> = (0..124).map(|number| format!("n{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let long = "v".repeat(32_600);
    let cases = [(&fields[..123], true), (&fields[..], false), (&[("long", long.as_str())][..], false)];
    let mut upstream = None;
    for (id, (headers, begins)) in (1..).zip(cases) {
        worker.receive(client, call_with(id, "cart/add", headers));
        let upstream = *upstream.get_or_insert_with(|| worker.accept());
        let sent = worker.sent_bytes(upstream);
        assert_eq!(sent != call_with(id, "cart/add", headers), begins, "{id}");
        worker.receive(upstream, answer(id, 0, b""));
        assert_eq!(worker.sent_bytes(client), answer(id, 0, b""));
        assert_eq!(worker.record().trace_id.is_empty(), !begins);
    }
}

#[test]
fn bytes_that_are_no_frame_are_logged_and_counted_as_no_call() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, b"GET / HTTP/1.1\r\n\r\n");
    assert!(worker.sent_bytes(client).is_empty());
    assert!(!worker.is_open(client));
    let record = worker.record();
    assert_eq!(
        (record.status, record.flags.as_str(), record.details.as_str(), record.protocol),
        (0, "DPE", "no_such_frame", Protocol::Rpc)
    );
}

#[test]
fn a_broken_frame_is_refused_and_told() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    let mut broken = call(7, "cart/add", b"");
    // The first name of the header map is longer than the map.
    broken[22..26].copy_from_slice(&1_000_u32.to_be_bytes());
    worker.receive(client, broken);
    assert_eq!(worker.sent_bytes(client), answer(7, 9, b""));
    assert!(!worker.is_open(client));
    let record = worker.record();
    assert_eq!(
        (record.status, record.flags.as_str(), record.details.as_str(), record.protocol),
        (400, "DPE", "a_header_map_is_cut", Protocol::Rpc)
    );
}
