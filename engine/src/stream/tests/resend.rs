use super::http2::{ask, over_http2, server, status_of, talk};
use crate::codec::contract::{Command, StreamId};
use crate::codec::h2;
use crate::codec::testing::{Bench, Seen, request, response};
use crate::message::ResetReason;
use crate::plan;
use crate::stream::testing::{
    Worker, client_peer, cluster, listener, manager, retries, route, table, tcp_proxy, to, to_with_retries,
};
use crate::stream::{DialErrorKind, Streams};
use crate::telemetry::{ClusterCounter, HttpCounter};

const HOSTS: [&str; 4] = ["10.1.0.1:80", "10.1.0.2:80", "10.1.0.3:80", "10.1.0.4:80"];
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A cluster of so many hosts, and a route that retries nothing.
fn shop(hosts: usize) -> Worker {
    Worker::http(
        vec![route("/", to_with_retries("shop", retries(0, &[])))],
        &[cluster("shop", &HOSTS[..hosts])],
    )
}

fn resent(worker: &Worker) -> i64 {
    worker.cluster_counter("shop", ClusterCounter::RqResent)
}

#[test]
fn a_refused_connection_costs_nobody_a_request() {
    let mut worker = shop(3);
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    let mut asked = vec![worker.next_dial()];
    worker.refuse();
    asked.push(worker.next_dial());
    worker.refuse();
    asked.push(worker.next_dial());
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 3, "each time another");
    let upstream = worker.accept();
    assert!(worker.sent(upstream).ends_with("\r\n\r\nhi"));
    worker.receive(upstream, OK);
    assert!(worker.sent(client).starts_with("HTTP/1.1 200"));
    assert_eq!((worker.record().attempts, worker.record().flags.as_str()), (3, "-"));
    assert_eq!((resent(&worker), worker.cluster_counter("shop", ClusterCounter::RqRetry)), (2, 0));
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::RqActive), 0);
}

#[test]
fn who_is_refused_everywhere_hears_of_it_after_three() {
    for (hosts, attempts) in [(1, 1), (2, 2), (4, 3)] {
        let mut worker = shop(hosts);
        let client = worker.connect();
        worker.receive(client, GET);
        for _ in 0..attempts {
            worker.refuse();
        }
        let sent = worker.sent(client);
        assert!(sent.starts_with("HTTP/1.1 503") && sent.contains("connection failure"), "{sent}");
        assert_eq!((worker.record().attempts, worker.record().flags.as_str()), (attempts, "UF"));
    }
}

#[test]
fn nothing_is_sent_again_as_envoy_does_it() {
    let mut worker = shop(2);
    worker.streams = Streams::new(1, 1, &plan::LocalWorkload::default()).resending(false);
    let client = worker.connect();
    worker.receive(client, GET);
    worker.refuse();
    assert!(worker.sent(client).starts_with("HTTP/1.1 503"));
}

#[test]
fn a_connect_timeout_has_used_up_the_time() {
    let mut worker = shop(2);
    let client = worker.connect();
    worker.receive(client, GET);
    worker.pass(cluster("shop", &HOSTS).connect_timeout);
    worker.fail_dial(DialErrorKind::Timeout, "connection timed out");
    assert!(worker.sent(client).starts_with("HTTP/1.1 503"));
}

#[test]
fn retries_come_first_and_what_they_leave_is_sent_again() {
    let action = to_with_retries("shop", retries(1, &["connect-failure"]));
    let mut worker = Worker::http(vec![route("/", action)], &[cluster("shop", &HOSTS)]);
    let client = worker.connect();
    worker.receive(client, GET);
    worker.refuse();
    worker.pass(25);
    worker.refuse();
    let upstream = worker.accept();
    worker.receive(upstream, OK);
    assert!(worker.sent(client).starts_with("HTTP/1.1 200"));
    assert_eq!((worker.record().attempts, worker.record().flags.as_str()), (3, "-"));
}

#[test]
fn who_refuses_is_avoided_for_a_second_and_asked_again() {
    let mut worker = shop(2);
    let client = worker.connect();
    worker.receive(client, GET);
    let dead = worker.next_dial();
    worker.refuse();
    let mut alive = worker.accept();
    worker.receive(alive, OK);
    for _ in 0..8 {
        worker.receive(client, GET);
        alive = worker.busy_upstream().unwrap_or_else(|| worker.accept());
        assert_ne!(Some(worker.address_of(alive)), dead);
        worker.receive(alive, OK);
    }
    assert_eq!(resent(&worker), 1);
    worker.pass(1_000);
    // Round robin comes to it within two requests.
    for _ in 0..2 {
        worker.receive(client, GET);
        let Some(upstream) = worker.busy_upstream() else { break };
        worker.receive(upstream, OK);
    }
    assert_eq!(worker.next_dial(), dead);
    let back = worker.accept();
    worker.receive(back, OK);
    assert_eq!(resent(&worker), 1);
}

#[test]
fn all_avoided_is_none_avoided() {
    let mut worker = shop(2);
    let clients = [worker.connect(), worker.connect()];
    worker.receive(clients[0], GET);
    worker.refuse();
    worker.refuse();
    worker.receive(clients[1], GET);
    let upstream = worker.accept();
    worker.receive(upstream, OK);
    assert!(worker.sent(clients[1]).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_declined_stream_goes_elsewhere_with_its_body() {
    let mut plan = cluster("shop", &HOSTS[..2]);
    plan.http.protocol = plan::UpstreamProtocol::Http2;
    let mut worker = Worker::http(vec![route("/", to("shop"))], &[plan]);
    let client = worker.connect();
    worker.receive(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    let (first, mut declines) = (worker.accept(), server());
    talk(&mut worker, first, &mut declines);
    worker.pass(1);
    declines.send(Command::ResetStream { stream: StreamId(1), reason: ResetReason::Refused }).unwrap();
    talk(&mut worker, first, &mut declines);
    let (second, mut takes) = (worker.accept(), server());
    assert_ne!(worker.address_of(first), worker.address_of(second));
    worker.receive(client, "lo");
    let seen = talk(&mut worker, second, &mut takes);
    assert_eq!(body_of(&seen), "hello", "{seen:?}");
    let head = response(204, &[]);
    takes.send(Command::SendResponse { stream: StreamId(1), head: &head, body: &[], end: true }).unwrap();
    talk(&mut worker, second, &mut takes);
    assert!(worker.sent(client).starts_with("HTTP/1.1 204"));
    assert_eq!(resent(&worker), 1);
}

fn body_of(seen: &[Seen]) -> String {
    let pieces = seen.iter().filter_map(|event| match event {
        Seen::Data(_, bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    pieces.collect()
}

/// Only one host: who declines is not asked at once again, whose connection was on its way out is.
#[test]
fn the_only_host_is_asked_again_if_only_its_connection_went() {
    for (goes_away, again) in [(false, false), (true, true)] {
        let mut worker = over_http2(None);
        let client = worker.connect();
        worker.receive(client, GET);
        let (upstream, mut peer) = (worker.accept(), server());
        if goes_away {
            // The server had said so before the request reached it.
            peer.send(Command::GoAway { gentle: false }).unwrap();
            let gone = peer.sent();
            worker.receive(upstream, gone);
        } else {
            talk(&mut worker, upstream, &mut peer);
            peer.send(Command::ResetStream { stream: StreamId(1), reason: ResetReason::Refused }).unwrap();
            talk(&mut worker, upstream, &mut peer);
        }
        assert_eq!(worker.next_dial().is_some(), again, "{goes_away}");
        assert_eq!(worker.sent(client).starts_with("HTTP/1.1 503"), !again, "{goes_away}");
    }
}

#[test]
fn what_may_have_been_seen_is_not_sent_again() {
    let mut worker = shop(2);
    let client = worker.connect();
    worker.receive(client, GET);
    let upstream = worker.accept();
    worker.pass(1);
    worker.lose(upstream);
    assert!(worker.sent(client).starts_with("HTTP/1.1 503"));
    assert_eq!((worker.record().attempts, worker.record().flags.as_str()), (1, "UC"));
}

/// The inbound side, in front of one application.
fn inbound() -> Worker {
    let mut listener = listener(plan::Terminal::Http { manager: manager() });
    listener.direction = plan::TrafficDirection::Inbound;
    Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[cluster("shop", &HOSTS[..1])])
}

#[test]
fn a_peer_that_asked_for_it_learns_that_the_application_saw_nothing() {
    for resends in [true, false] {
        let mut worker = inbound();
        let codec = h2::Server::new(h2::Settings::default());
        let link = worker.connect_as(codec.into(), client_peer());
        let mut peer = Bench::new(h2::Client::new(h2::Settings { resends, ..h2::Settings::default() }));
        ask(&mut peer, &request("GET", "shop", "/", &[]), true);
        talk(&mut worker, link, &mut peer);
        worker.refuse();
        let seen = talk(&mut worker, link, &mut peer);
        let declined = seen.iter().any(|event| matches!(event, Seen::Reset(1, ResetReason::Refused, true)));
        assert_eq!(declined, resends, "{seen:?}");
        assert_eq!(status_of(&seen), if resends { vec![] } else { vec![(1, 503)] });
        assert_eq!((worker.record().status, worker.record().flags.as_str()), (503, "UF"));
        assert_eq!(worker.http_counter(HttpCounter::RqDeclined), i64::from(resends));
    }
}

#[test]
fn a_tcp_connection_finds_another_endpoint() {
    let listener = listener(plan::Terminal::Tcp { proxy: tcp_proxy("shop") });
    let mut worker = Worker::new(&listener, &[], &[cluster("shop", &HOSTS)]);
    let client = worker.connect_tcp();
    let first = worker.next_dial();
    worker.refuse();
    assert_ne!(worker.next_dial(), first);
    let upstream = worker.accept();
    worker.receive(client, "hello");
    assert_eq!(worker.sent(upstream), "hello");
    assert_eq!(resent(&worker), 1);
}
