use crate::plan;
use crate::stream::testing::{Gone, Worker, cluster, listener, manager, route, table, to};
use crate::telemetry::{ClusterCounter, HttpCounter};

const UPSTREAM: &str = "10.1.0.1:80";

fn shop() -> Worker {
    Worker::http(vec![route("/", to("shop"))], &[cluster("shop", &[UPSTREAM])])
}

fn lines(text: &str) -> Vec<&str> {
    text.split("\r\n").filter(|line| !line.starts_with("x-request-id:")).collect()
}

#[test]
fn a_request_goes_up_and_its_response_comes_down() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "GET /cart?x=1 HTTP/1.1\r\nHost: shop\r\nX-Mine: 1\r\n\r\n");
    assert_eq!(worker.next_dial().as_deref(), Some(UPSTREAM));
    let upstream = worker.accept();
    assert_eq!(
        lines(&worker.sent(upstream)),
        [
            "GET /cart?x=1 HTTP/1.1",
            "host: shop",
            "x-mine: 1",
            "x-forwarded-proto: http",
            "x-envoy-expected-rq-timeout-ms: 15000",
            "",
            ""
        ]
    );
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(
        lines(&worker.sent(client)),
        [
            "HTTP/1.1 200 OK",
            "x-envoy-upstream-service-time: 0",
            "date: Sun, 06 Nov 1994 08:49:38 GMT",
            "content-length: 5",
            "",
            "hello"
        ]
    );
    let record = worker.record();
    assert_eq!((record.status, record.sent, record.upstream.as_str()), (200, 5, UPSTREAM));
    assert_eq!((record.flags.as_str(), record.details.as_str()), ("-", "via_upstream"));
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::RqActive), 0);
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::Rq2xx), 1);
    assert_eq!(worker.http_counter(HttpCounter::RqActive), 0);
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn each_request_goes_to_its_cluster_as_the_present_snapshot_has_it() {
    let mut worker = shop();
    let client = worker.connect();
    let request = "GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
    worker.receive(client, request);
    assert_eq!(worker.next_dial().as_deref(), Some(UPSTREAM));
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    worker.put_cluster(&cluster("shop", &["10.1.0.2:80"]));
    worker.receive(client, request);
    assert_eq!(worker.next_dial().as_deref(), Some("10.1.0.2:80"));
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    worker.remove_cluster("shop");
    worker.receive(client, request);
    let record = worker.record();
    assert_eq!((record.status, record.flags.as_str()), (503, "NC"));
}

#[test]
fn connections_are_kept_on_both_sides() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    let upstream = worker.accept();
    for _ in 0..3 {
        worker.receive(upstream, "HTTP/1.1 204 No Content\r\n\r\n");
        assert!(worker.sent(client).starts_with("HTTP/1.1 204"));
        worker.sent(upstream);
        worker.receive(client, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
        assert!(worker.sent(upstream).starts_with("GET / HTTP/1.1"));
        assert_eq!(worker.next_dial(), None);
    }
}

#[test]
fn body_waits_for_the_connection_and_follows_the_head() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    worker.receive(client, "2\r\nde\r\n0\r\nx-sum: 5\r\n\r\n");
    let upstream = worker.accept();
    let sent = worker.sent(upstream);
    assert!(
        sent.ends_with("transfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nx-sum: 5\r\n\r\n"),
        "{sent}"
    );
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    worker.receive(upstream, "0\r\nx-end: 1\r\n\r\n");
    let sent = worker.sent(client);
    assert!(sent.ends_with("\r\n\r\n2\r\nok\r\n0\r\nx-end: 1\r\n\r\n"), "{sent}");
    assert_eq!((worker.record().received, worker.record().sent), (5, 2));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    assert!(worker.sent(upstream).starts_with("GET /1 "));
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert!(worker.sent(upstream).starts_with("GET /2 "));
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    let sent = worker.sent(client);
    assert_eq!(sent.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(sent.ends_with('2'));
}

#[test]
fn what_the_route_says_is_answered_here() {
    let respond = plan::RouteAction::Respond {
        response: plan::DirectResponse { status: 418, body: b"teapot".to_vec() },
    };
    let redirect = plan::RouteAction::Redirect {
        redirect: plan::Redirect {
            scheme: "https".into(),
            host: String::new(),
            port: None,
            path: None,
            path_rewrite: None,
            status: 301,
            strip_query: false,
        },
    };
    let routes = vec![route("/tea", respond), route("/old", redirect), route("/gone", to("nowhere"))];
    let mut worker = Worker::http(routes, &[cluster("shop", &[UPSTREAM])]);
    for (path, status, expected, flags, details) in [
        ("/tea", 418, "teapot", "-", "direct_response"),
        ("/old?a", 301, "location: https://shop/old?a", "-", "direct_response"),
        ("/gone", 503, "", "NC", "cluster_not_found"),
        ("/none", 404, "", "NR", "route_not_found"),
    ] {
        let client = worker.connect();
        worker.receive(client, format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n"));
        let sent = worker.sent(client);
        assert!(sent.starts_with(&format!("HTTP/1.1 {status}")) && sent.contains(expected), "{sent}");
        let record = worker.record();
        assert_eq!((record.status, record.flags.as_str(), record.details.as_str()), (status, flags, details));
    }
}

#[test]
fn head_requests_get_no_body() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    let sent = worker.sent(client);
    assert!(sent.contains("content-length: 500") && sent.ends_with("\r\n\r\n"), "{sent}");
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn nobody_there_is_told_by_flag_and_status() {
    let mut empty = Worker::http(vec![route("/", to("shop"))], &[cluster("shop", &[])]);
    let client = empty.connect();
    empty.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(empty.sent(client).ends_with("no healthy upstream"));
    assert_eq!((empty.record().status, empty.record().flags.as_str()), (503, "UH"));

    let mut refused = shop();
    let client = refused.connect();
    refused.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused.refuse();
    let sent = refused.sent(client);
    assert!(
        sent.ends_with(
            "reset reason: remote connection failure, transport failure reason: connection refused"
        ),
        "{sent}"
    );
    let record = refused.record();
    assert_eq!((record.status, record.flags.as_str()), (503, "UF"));
    assert_eq!(record.details, "upstream_reset_before_response_started{remote_connection_failure}");
    assert_eq!(refused.cluster_counter("shop", ClusterCounter::CxConnectFail), 1);
    assert_eq!(refused.cluster_counter("shop", ClusterCounter::CxActive), 0);
}

#[test]
fn a_lost_upstream_is_503_before_the_head_and_a_cut_after_it() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.pass(1);
    worker.lose(upstream);
    assert!(worker.sent(client).starts_with("HTTP/1.1 503"));
    assert_eq!(worker.record().flags, "UC");
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    worker.lose(upstream);
    assert!(worker.sent(client).ends_with("half"));
    assert!(worker.gone(client).is_some());
    let record = worker.record();
    assert_eq!((record.status, record.flags.as_str()), (200, "UC"));
}

#[test]
fn a_client_that_goes_away_takes_its_request_along() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.lose(client);
    assert_eq!(worker.gone(upstream), Some(Gone::Closed));
    assert_eq!((worker.record().status, worker.record().flags.as_str()), (0, "DC"));
    // Waiting for a connection is given up likewise.
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    worker.lose(client);
    let upstream = worker.accept();
    assert_eq!(worker.sent(upstream), "");
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::RqPendingActive), 0);
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn a_slow_client_slows_its_upstream() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.stall(client, true);
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
    let mut taken = 0;
    for _ in 0..100 {
        worker.receive(upstream, vec![b'x'; 100_000]);
        taken += 100_000;
    }
    // Outbox, one window and one read at most.
    let left = worker.port.links.get(upstream).unwrap().unread();
    let held = taken - left;
    assert!(held <= 64 * 1024 + 64 * 1024 + 100_000 + 4_096, "{held} bytes taken from the socket");
    worker.stall(client, false);
    let body = worker.sent_bytes(client);
    assert!(body.len() > 10_000_000, "{}", body.len());
    assert_eq!((worker.record().status, worker.record().sent), (200, 10_000_000));
}

#[test]
fn a_slow_upstream_slows_its_client() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n");
    let upstream = worker.accept();
    worker.stall(upstream, true);
    for _ in 0..50 {
        worker.receive(client, vec![b'x'; 100_000]);
    }
    assert!(5_000_000 - worker.port.links.get(client).unwrap().unread() <= 64 * 1024 * 2 + 104_096);
    worker.stall(upstream, false);
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(client).starts_with("HTTP/1.1 200"));
    assert_eq!(worker.record().received, 5_000_000);
}

#[test]
fn an_answer_before_the_end_of_the_request_ends_both() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome");
    let upstream = worker.accept();
    worker.receive(upstream, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    let sent = worker.sent(client);
    assert!(sent.starts_with("HTTP/1.1 413") && sent.contains("connection: close"), "{sent}");
    assert!(worker.gone(upstream).is_some() && worker.gone(client).is_some());
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn a_websocket_is_a_tunnel_after_101() {
    let mut manager = manager();
    manager.upgrades = vec!["websocket".into()];
    let listener = listener(plan::Terminal::Http { manager });
    let mut worker =
        Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[cluster("shop", &[UPSTREAM])]);
    let client = worker.connect();
    worker.receive(
        client,
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let upstream = worker.accept();
    assert!(worker.sent(upstream).contains("connection: upgrade\r\nupgrade: websocket\r\n"));
    worker.receive(
        upstream,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    );
    let sent = worker.sent(client);
    assert!(sent.starts_with("HTTP/1.1 101") && sent.ends_with("\r\n\r\nhello"), "{sent}");
    worker.receive(client, "\x01\x02");
    assert_eq!(worker.sent(upstream), "\x01\x02");
    worker.pass(20_000);
    worker.end(client);
    assert!(worker.port.links.get(upstream).unwrap().finished);
    worker.receive(upstream, "bye");
    assert_eq!(worker.sent(client), "bye");
    worker.end(upstream);
    assert_eq!((worker.record().status, worker.streams.active()), (101, 0));
    assert!(worker.gone(client).is_some() && worker.gone(upstream).is_some());
}

#[test]
fn upgrades_that_nobody_allows_are_refused() {
    let mut worker = shop();
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    ] {
        let client = worker.connect();
        worker.receive(client, request);
        assert!(worker.sent(client).starts_with("HTTP/1.1 403"), "{request}");
        assert_eq!(worker.record().details, "upgrade_failed");
    }
}

#[test]
fn draining_says_so_on_the_next_response() {
    let mut worker = shop();
    let (client, other) = (worker.connect(), worker.connect());
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    worker.port.drains = true;
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(client).contains("connection: close"));
    assert!(worker.gone(client).is_some() && worker.is_open(other));
    worker.streams.drain(&mut worker.port, &[other]);
    worker.settle();
    worker.receive(other, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    worker.receive(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(other).contains("connection: close"));
}

#[test]
fn malformed_requests_count_and_are_logged() {
    let mut worker = shop();
    let client = worker.connect();
    worker.receive(
        client,
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert!(worker.sent(client).starts_with("HTTP/1.1 400"));
    assert_eq!((worker.record().status, worker.record().flags.as_str()), (400, "DPE"));
    assert_eq!(worker.http_counter(HttpCounter::Rq4xx), 1);
    assert!(worker.gone(client).is_some());
}

#[test]
fn a_redirect_is_followed_here_where_the_route_says_so() {
    let mut action = to("shop");
    if let plan::RouteAction::Forward { internal_redirect, .. } = &mut action {
        *internal_redirect = Some(plan::InternalRedirect { max_redirects: 1, statuses: vec![302] });
    }
    let mut worker = Worker::http(vec![route("/", action)], &[cluster("shop", &[UPSTREAM])]);
    let client = worker.connect();
    worker.receive(client, "POST /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi");
    let upstream = worker.accept();
    worker.sent(upstream);
    worker.receive(upstream, "HTTP/1.1 302 Found\r\nLocation: http://stock/b\r\nContent-Length: 0\r\n\r\n");
    let upstream = worker.busy_upstream().unwrap_or_else(|| worker.accept());
    let sent = worker.sent(upstream);
    assert!(sent.starts_with("POST /b HTTP/1.1\r\nhost: stock\r\n") && sent.ends_with("hi"), "{sent}");
    assert!(sent.contains("x-envoy-original-url: http://shop/a\r\n"));
    worker.receive(upstream, "HTTP/1.1 302 Found\r\nLocation: /c\r\nContent-Length: 0\r\n\r\n");
    assert!(worker.sent(client).contains("location: /c"));
}

#[test]
fn workloads_that_say_who_they_are_are_told_who_we_are() {
    let mut listener = listener(plan::Terminal::Http { manager: manager() });
    listener.direction = plan::TrafficDirection::Inbound;
    let mut worker =
        Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[cluster("shop", &[UPSTREAM])]);
    let own = plan::LocalWorkload { name: "cart".into(), ..plan::LocalWorkload::default() };
    worker.streams = crate::stream::Streams::new(1, 1, &own);
    let client = worker.connect();
    let metadata = crate::stream::head::peer_metadata::encode(&own);
    worker.receive(client, format!("GET / HTTP/1.1\r\nHost: a\r\nx-envoy-peer-metadata: {metadata}\r\n\r\n"));
    let upstream = worker.accept();
    assert!(!worker.sent(upstream).contains("peer-metadata"));
    worker.receive(upstream, "HTTP/1.1 204 X\r\n\r\n");
    assert!(worker.sent(client).contains("x-envoy-peer-metadata-id: sidecar~~cart.~\r\n"));
}

#[test]
fn the_application_learns_which_node_asks_if_it_is_to() {
    let mut manager = manager();
    manager.add_user_agent = true;
    let listener = listener(plan::Terminal::Http { manager });
    let mut worker =
        Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[cluster("shop", &[UPSTREAM])]);
    worker.streams =
        crate::stream::Streams::new(1, 1, &plan::LocalWorkload::default()).named("front-1", "front");
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept();
    let sent = worker.sent(upstream);
    for field in [
        "user-agent: front\r\n",
        "x-envoy-downstream-service-cluster: front\r\n",
        "x-envoy-downstream-service-node: front-1\r\n",
    ] {
        assert!(sent.contains(field), "{field} in {sent}");
    }
}
