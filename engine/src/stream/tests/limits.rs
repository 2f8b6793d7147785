use crate::plan;
use crate::stream::testing::{Worker, cluster, listener, manager, outlier, route, table, to};
use crate::telemetry::{ClusterCounter, HttpCounter};

fn with(change: impl FnOnce(&mut plan::HttpConnectionManager)) -> Worker {
    let mut manager = manager();
    change(&mut manager);
    let listener = listener(plan::Terminal::Http { manager });
    Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[cluster("shop", &["10.1.0.1:80"])])
}

#[test]
fn the_route_timeout_counts_from_the_end_of_the_request() {
    let mut worker = with(|_| {});
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
    let upstream = worker.accept();
    worker.pass(20_000);
    assert_eq!(worker.sent(client), "");
    worker.receive(client, "b");
    worker.pass(14_999);
    assert_eq!(worker.sent(client), "");
    worker.pass(1);
    assert!(worker.sent(client).ends_with("upstream request timeout"));
    assert_eq!((worker.record().status, worker.record().flags.as_str()), (504, "UT"));
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::RqTimeout), 1);
    assert!(worker.gone(upstream).is_some());
}

#[test]
fn silence_is_408_for_a_client_that_is_late_and_504_for_a_server() {
    for (body, status) in [("", 408), ("ab", 504)] {
        let mut worker = with(|manager| manager.stream_idle_timeout = Some(1_000));
        let client = worker.connect();
        worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");
        worker.accept();
        worker.pass(900);
        worker.receive(client, body);
        worker.pass(1_000);
        assert_eq!((worker.record().status, worker.record().flags.as_str()), (status, "SI"));
        assert_eq!(worker.http_counter(HttpCounter::RqIdleTimeout), 1);
    }
}

#[test]
fn activity_puts_the_idle_timeout_off() {
    let mut worker = with(|manager| manager.stream_idle_timeout = Some(1_000));
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        worker.pass(900);
        worker.receive(upstream, "x");
    }
    assert_eq!((worker.record().status, worker.record().flags.as_str()), (200, "-"));
}

#[test]
fn the_whole_request_and_the_whole_stream_have_limits() {
    let mut worker = with(|manager| manager.request_timeout = Some(500));
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");
    worker.pass(500);
    assert!(worker.sent(client).starts_with("HTTP/1.1 408"));
    assert_eq!(worker.record().details, "request_overall_timeout");

    let mut worker = with(|manager| manager.max_stream_duration = Some(500));
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx");
    worker.pass(500);
    assert_eq!((worker.record().status, worker.record().flags.as_str()), (200, "DT"));
    assert!(worker.gone(client).is_some() && worker.gone(upstream).is_some());
}

#[test]
fn idle_connections_end_and_busy_ones_do_not() {
    let mut worker = with(|manager| {
        manager.idle_timeout = Some(2_000);
        manager.stream_idle_timeout = None;
    });
    let (idle, busy) = (worker.connect(), worker.connect());
    worker.receive(busy, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.pass(2_000);
    assert!(worker.gone(idle).is_some() && worker.is_open(busy));
    worker.pass(8_000);
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    worker.pass(1_900);
    assert!(worker.is_open(busy));
    worker.pass(2_100);
    assert!(worker.gone(busy).is_some());
    assert_eq!(worker.http_counter(HttpCounter::CxIdleTimeout), 2);
    assert_eq!(worker.http_counter(HttpCounter::CxActive), 0);
}

#[test]
fn old_connections_and_used_ones_say_goodbye() {
    let mut worker = with(|manager| manager.max_connection_duration = Some(1_000));
    let client = worker.connect();
    worker.pass(1_000);
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(client).contains("connection: close"));

    let mut worker = with(|manager| {
        manager.max_connection_duration = Some(1_000);
        manager.drain_timeout = 500;
    });
    let silent = worker.connect();
    worker.pass(1_400);
    assert!(worker.is_open(silent), "its next response would tell it");
    worker.pass(200);
    assert!(worker.gone(silent).is_some());

    let mut worker = with(|manager| manager.max_requests_per_connection = Some(1));
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(client).contains("connection: close"));
}

#[test]
fn breakers_refuse_with_a_flag_and_a_hint() {
    let mut plan = cluster("shop", &["10.1.0.1:80"]);
    plan.breakers.default.max_requests = Some(1);
    let mut worker = Worker::http(vec![route("/", to("shop"))], &[plan]);
    let (first, second) = (worker.connect(), worker.connect());
    worker.receive(first, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    worker.receive(second, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let sent = worker.sent(second);
    assert!(sent.starts_with("HTTP/1.1 503") && sent.contains("x-envoy-overloaded: true"), "{sent}");
    assert_eq!(worker.record().flags, "UO");
    // The permit comes back with the response.
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    worker.receive(second, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(second).starts_with("HTTP/1.1 200"));
}

#[test]
fn waiting_has_a_limit_of_its_own() {
    let mut plan = cluster("shop", &["10.1.0.1:80"]);
    plan.breakers.default.max_connections = Some(1);
    plan.breakers.default.max_pending = Some(1);
    let mut worker = Worker::http(vec![route("/", to("shop"))], &[plan]);
    let clients = [worker.connect(), worker.connect(), worker.connect()];
    worker.receive(clients[0], "GET /0 HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(clients[1], "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    worker.receive(clients[2], "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(worker.next_dial(), None);
    assert!(worker.sent(clients[2]).starts_with("HTTP/1.1 503"));
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::RqPendingOverflow), 1);
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(clients[1]).starts_with("HTTP/1.1 200"));
}

#[test]
fn overload_refuses_new_exchanges() {
    let mut worker = with(|_| {});
    let client = worker.connect();
    worker.port.overloaded = true;
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(worker.sent(client).starts_with("HTTP/1.1 503"));
    assert_eq!(worker.record().flags, "OM");
}

#[test]
fn five_failures_in_a_row_eject_the_endpoint() {
    let mut plan = cluster("shop", &["10.1.0.1:80", "10.1.0.2:80"]);
    plan.panic_threshold = 0;
    plan.outlier = Some(outlier(2));
    let mut worker = Worker::http(vec![route("/", to("shop"))], &[plan]);
    let client = worker.connect();
    let mut seen = Vec::new();
    for _ in 0..8 {
        worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if worker.next_dial().is_some() {
            worker.accept();
        }
        let busy = worker.busy_upstream().unwrap();
        let bad = worker.address_of(busy) == "10.1.0.1:80";
        let status = if bad { "500" } else { "200" };
        seen.push(status);
        worker.receive(busy, format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
    }
    assert_eq!(seen.iter().filter(|status| **status == "500").count(), 2, "{seen:?}");
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::EjectionsTotal), 1);
}
