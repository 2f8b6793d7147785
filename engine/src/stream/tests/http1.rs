use crate::stream::testing::{Worker, cluster, route, to};
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
