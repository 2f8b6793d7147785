use crate::plan;
use crate::stream::port::DialErrorKind;
use crate::stream::testing::{Worker, cluster, retries, route, table, to_with_retries};
use crate::stream::testing::{listener, manager};
use crate::telemetry::ClusterCounter;

const HOSTS: [&str; 2] = ["10.1.0.1:80", "10.1.0.2:80"];

fn shop(policy: plan::RetryPolicy) -> Worker {
    Worker::http(vec![route("/", to_with_retries("shop", policy))], &[cluster("shop", &HOSTS)])
}

#[test]
fn a_refused_connection_is_tried_elsewhere() {
    let mut worker = shop(retries(2, &["connect-failure"]));
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let first = worker.next_dial();
    worker.refuse();
    assert_eq!(worker.sent(client), "");
    worker.pass(25);
    assert_ne!(worker.next_dial(), first);
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(client).starts_with("HTTP/1.1 200"));
    assert_eq!((worker.record().attempts, worker.record().flags.as_str()), (2, "-"));
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::RqRetry), 1);
}

#[test]
fn the_body_is_sent_again_and_the_attempts_are_counted() {
    let mut action_table = table(vec![route("/", to_with_retries("shop", retries(1, &["5xx"])))]);
    action_table.virtual_hosts[0].send_attempt_count = true;
    action_table.virtual_hosts[0].return_attempt_count = true;
    let listener = listener(plan::Terminal::Http { manager: manager() });
    let mut worker = Worker::new(&listener, &[action_table], &[cluster("shop", &HOSTS)]);
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let first = worker.accept();
    let sent = worker.sent(first);
    assert!(sent.contains("x-envoy-attempt-count: 1") && sent.ends_with("hello"), "{sent}");
    worker.receive(first, "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy");
    worker.pass(25);
    let second = worker.accept();
    let sent = worker.sent(second);
    assert!(sent.contains("x-envoy-attempt-count: 2") && sent.ends_with("hello"), "{sent}");
    worker.receive(second, "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy");
    let sent = worker.sent(client);
    assert!(sent.starts_with("HTTP/1.1 503") && sent.ends_with("busy"), "{sent}");
    assert!(sent.contains("x-envoy-attempt-count: 2"));
    assert_eq!((worker.record().attempts, worker.record().flags.as_str()), (2, "URX"));
}

#[test]
fn a_body_beyond_the_replay_limit_is_not_retried() {
    let mut worker = shop(retries(2, &["5xx"]));
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(client, vec![b'x'; 70_000]);
    worker.receive(upstream, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(client).starts_with("HTTP/1.1 503"));
    assert_eq!(worker.record().attempts, 1);
}

#[test]
fn a_try_has_its_time() {
    let policy = plan::RetryPolicy { per_try_timeout: Some(100), ..retries(1, &["gateway-error"]) };
    let mut worker = shop(policy);
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let first = worker.accept();
    assert!(worker.sent(first).contains("x-envoy-expected-rq-timeout-ms: 100\r\n"));
    worker.pass(100);
    assert!(worker.gone(first).is_some());
    worker.pass(25);
    worker.accept();
    worker.pass(100);
    assert!(worker.sent(client).starts_with("HTTP/1.1 504"));
    assert_eq!((worker.record().attempts, worker.record().flags.as_str()), (2, "URX,UT"));
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::RqPerTryTimeout), 2);
}

#[test]
fn retries_stop_at_the_breaker() {
    let mut plan = cluster("shop", &HOSTS);
    plan.breakers.default.max_retries = Some(1);
    let action = to_with_retries("shop", retries(3, &["5xx"]));
    let mut worker = Worker::http(vec![route("/", action)], &[plan]);
    let clients = [worker.connect(), worker.connect()];
    for client in clients {
        worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let upstreams = [worker.accept(), worker.accept()];
    for upstream in upstreams {
        worker.receive(upstream, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    }
    assert!(worker.sent(clients[1]).starts_with("HTTP/1.1 503"));
    assert_eq!(worker.record().flags, "UO");
    worker.pass(25);
    let again = worker.busy_upstream().unwrap_or_else(|| worker.accept());
    worker.receive(again, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(clients[0]).starts_with("HTTP/1.1 200"));
}

#[test]
fn only_what_the_policy_names_is_tried_again() {
    for (retry_on, answer, attempts) in [
        ("gateway-error", "500", 1),
        ("gateway-error", "502", 2),
        ("5xx", "500", 2),
        ("retriable-4xx", "409", 2),
        ("retriable-4xx", "404", 1),
        ("retriable-status-codes", "418", 2),
        ("retriable-status-codes", "503", 1),
    ] {
        let policy = plan::RetryPolicy { retriable_statuses: vec![418], ..retries(1, &[retry_on]) };
        let mut worker = shop(policy);
        let client = worker.connect();
        worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let upstream = worker.accept();
        worker.receive(upstream, format!("HTTP/1.1 {answer} X\r\nContent-Length: 0\r\n\r\n"));
        worker.pass(25);
        if attempts == 2 {
            let upstream = worker.accept();
            worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        assert_eq!(worker.record().attempts, attempts, "{retry_on} {answer}");
    }
}

#[test]
fn callers_inside_may_ask_for_retries() {
    for (forwarded, attempts) in [("10.2.2.2", 2), ("8.8.8.8", 1)] {
        let mut manager = manager();
        manager.internal_ranges = vec![plan::AddressRange { ip: [10, 0, 0, 0].into(), prefix: 8 }];
        let listener = listener(plan::Terminal::Http { manager });
        let routes = table(vec![route("/", crate::stream::testing::to("shop"))]);
        let mut worker = Worker::new(&listener, &[routes], &[cluster("shop", &HOSTS)]);
        let client = worker.connect();
        let asked = "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 1\r\n";
        worker.receive(
            client,
            format!("GET / HTTP/1.1\r\nHost: a\r\nx-forwarded-for: {forwarded}\r\n{asked}\r\n"),
        );
        let upstream = worker.accept();
        assert!(!worker.sent(upstream).contains("x-envoy-retry-on"));
        worker.receive(upstream, "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
        worker.pass(25);
        if attempts == 2 {
            let upstream = worker.accept();
            worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        assert_eq!(worker.record().attempts, attempts, "{forwarded}");
    }
}

#[test]
fn a_kept_connection_that_dies_under_the_request_is_tried_again() {
    let mut worker = shop(retries(1, &["reset-before-request", "reset"]));
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    // Round robin goes to the other host first.
    let other = worker.accept();
    worker.lose(other);
    worker.pass(25);
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(worker.sent(client).matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(worker.record().attempts, 2);
}

#[test]
fn a_connect_timeout_is_told_apart() {
    let mut worker = shop(retries(0, &[]));
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    worker.pass(cluster("shop", &HOSTS).connect_timeout);
    worker.fail_dial(DialErrorKind::Timeout, "connection timed out");
    assert!(worker.sent(client).contains("reset reason: connection timeout"));
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::CxConnectTimeout), 1);
}

#[test]
fn a_request_that_never_left_was_not_processed() {
    for (turns, attempts) in [(0, 2), (1, 1)] {
        let mut worker = shop(retries(1, &["refused-stream"]));
        let client = worker.connect();
        worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let upstream = worker.accept();
        worker.pass(turns);
        worker.lose(upstream);
        worker.pass(25);
        if attempts == 2 {
            let upstream = worker.accept();
            worker.receive(upstream, "HTTP/1.1 204 X\r\n\r\n");
        }
        assert_eq!(worker.record().attempts, attempts, "{turns} turns later");
    }
}
