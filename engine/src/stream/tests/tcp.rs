use crate::plan;
use crate::stream::testing::{Gone, Worker, cluster, listener, tcp_proxy};
use crate::telemetry::ClusterCounter;

const HOSTS: [&str; 2] = ["10.1.0.1:5432", "10.1.0.2:5432"];

fn with(change: impl FnOnce(&mut plan::TcpProxy)) -> Worker {
    let mut proxy = tcp_proxy("db");
    change(&mut proxy);
    Worker::new(&listener(plan::Terminal::Tcp { proxy }), &[], &[cluster("db", &HOSTS)])
}

#[test]
fn bytes_go_both_ways_and_each_side_ends_by_itself() {
    let mut worker = with(|_| {});
    let client = worker.connect_tcp();
    worker.receive(client, "early");
    let upstream = worker.accept();
    assert_eq!(worker.sent(upstream), "early");
    worker.receive(upstream, "welcome");
    assert_eq!(worker.sent(client), "welcome");
    worker.end(client);
    assert!(worker.port.links.get(upstream).unwrap().finished);
    worker.receive(upstream, "the rest");
    assert_eq!(worker.sent(client), "the rest");
    worker.end(upstream);
    assert_eq!((worker.gone(client), worker.gone(upstream)), (Some(Gone::Closed), Some(Gone::Closed)));
    let record = worker.record();
    assert_eq!((record.received, record.sent, record.flags.as_str()), (5, 15, "-"));
    assert_eq!(worker.cluster_counter("db", ClusterCounter::CxActive), 0);
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn a_server_may_speak_first() {
    let mut worker = with(|_| {});
    let client = worker.connect_tcp();
    let upstream = worker.accept();
    worker.receive(upstream, "220 ready");
    assert_eq!(worker.sent(client), "220 ready");
}

#[test]
fn a_reset_travels() {
    let mut worker = with(|_| {});
    let client = worker.connect_tcp();
    let upstream = worker.accept();
    worker.lose(upstream);
    assert_eq!(worker.gone(client), Some(Gone::Reset));
    assert_eq!(worker.record().flags, "UC");
    let client = worker.connect_tcp();
    let upstream = worker.accept();
    worker.lose(client);
    assert_eq!(worker.gone(upstream), Some(Gone::Reset));
    assert_eq!(worker.record().flags, "DC");
}

#[test]
fn connecting_is_tried_as_often_as_the_plan_says() {
    let mut worker = with(|proxy| proxy.max_connect_attempts = 2);
    let client = worker.connect_tcp();
    let first = worker.next_dial();
    worker.refuse();
    assert_ne!(worker.next_dial(), first);
    worker.refuse();
    assert_eq!(worker.next_dial(), None);
    assert!(worker.gone(client).is_some());
    assert_eq!((worker.record().flags.as_str(), worker.record().attempts), ("UF,URX", 2));
    assert_eq!(worker.cluster_counter("db", ClusterCounter::CxActive), 0);
}

#[test]
fn silence_ends_a_pipe() {
    let mut worker = with(|proxy| proxy.idle_timeout = Some(1_000));
    let client = worker.connect_tcp();
    let upstream = worker.accept();
    worker.pass(900);
    worker.receive(client, "x");
    worker.pass(900);
    assert!(worker.is_open(client));
    worker.pass(100);
    assert!(worker.gone(client).is_some() && worker.gone(upstream).is_some());
    assert_eq!(worker.record().flags, "SI");
}

#[test]
fn the_slower_side_sets_the_pace() {
    let mut worker = with(|_| {});
    let client = worker.connect_tcp();
    let upstream = worker.accept();
    worker.stall(upstream, true);
    for _ in 0..100 {
        worker.receive(client, vec![7; 50_000]);
    }
    assert!(5_000_000 - worker.port.links.get(client).unwrap().unread() <= 64 * 1024 * 2 + 50_000);
    worker.stall(upstream, false);
    worker.end(client);
    assert_eq!(worker.sent_bytes(upstream).len(), 5_000_000);
    worker.end(upstream);
    assert_eq!(worker.record().received, 5_000_000);
}

#[test]
fn no_cluster_and_no_endpoint_are_told_apart() {
    let proxy = tcp_proxy("nowhere");
    let mut worker = Worker::new(&listener(plan::Terminal::Tcp { proxy }), &[], &[cluster("db", &[])]);
    let client = worker.connect_tcp();
    assert!(worker.gone(client).is_some());
    assert_eq!(worker.record().flags, "NC");
    let proxy = tcp_proxy("db");
    let mut worker = Worker::new(&listener(plan::Terminal::Tcp { proxy }), &[], &[cluster("db", &[])]);
    let client = worker.connect_tcp();
    assert!(worker.gone(client).is_some());
    assert_eq!(worker.record().flags, "UH");
}
