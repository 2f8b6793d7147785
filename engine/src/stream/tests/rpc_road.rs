//! Many callers on few connections: leases of large frames, what is repeated and what is not, who leaves, who goes.

use crate::codec::contract::Command;
use crate::message::Key;
use crate::plan;
use crate::stream::Port;
use crate::stream::testing::bolt::{
    self, answer, call, call_v2, call_within, heartbeat, heartbeat_answer, one_way,
};
use crate::stream::testing::{
    Worker, cluster, listener, retries, route, speaking, table, to, to_with_retries,
};
use crate::telemetry::ClusterCounter;

const ERROR: u16 = 1;
const BUSY: u16 = 4;
const TIMEOUT: u16 = 7;
const NOT_SENT: u16 = 8;
const CONNECTION_CLOSED: u16 = 16;
/// What Istio's routes retry by default.
const BY_DEFAULT: [&str; 5] =
    ["connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"];

pub fn worker(action: plan::RouteAction, hosts: &[&str]) -> Worker {
    let manager = speaking(bolt::codec());
    let listener = listener(plan::Terminal::Http { manager });
    Worker::new(&listener, &[table(vec![route("/", action)])], &[cluster("shop", hosts)])
}

fn shop() -> Worker {
    worker(to("shop"), &["10.1.0.1:80"])
}

fn retrying(attempts: u32, retry_on: &[&str]) -> Worker {
    worker(to_with_retries("shop", retries(attempts, retry_on)), &["10.1.0.1:80", "10.1.0.2:80"])
}

/// A call too large to be sent whole, and its body.
fn large(id: u32) -> Vec<u8> {
    call(id, "cart/put", &[b'l'; 300_000])
}

/// A connection on which a call of somebody else runs.
fn with_neighbour(worker: &mut Worker) -> (Key, Key) {
    let neighbour = worker.connect_rpc();
    worker.receive(neighbour, call(70, "cart/add", b""));
    let shared = worker.accept();
    assert_eq!(worker.sent_bytes(shared), call(1, "cart/add", b""));
    (neighbour, shared)
}

#[test]
fn a_caller_that_dies_within_a_large_frame_harms_nobody_else() {
    let mut worker = shop();
    let (neighbour, shared) = with_neighbour(&mut worker);
    let client = worker.connect_rpc();
    worker.receive(client, &large(5)[..200_000]);
    let leased = worker.accept();
    assert!(worker.sent_bytes(leased).len() > 100_000, "it goes out as it comes");
    // Others do not get its connection.
    worker.receive(neighbour, call(71, "cart/list", b""));
    assert_eq!(worker.sent_bytes(shared), call(2, "cart/list", b""));
    worker.lose(client);
    assert!(worker.gone(leased).is_some() && worker.is_open(shared));
    worker.receive(shared, [answer(2, 0, b"b"), answer(1, 0, b"a")].concat());
    assert_eq!(worker.sent_bytes(neighbour), [answer(71, 0, b"b"), answer(70, 0, b"a")].concat());
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn a_connection_is_shared_again_when_its_large_frame_is_written() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, large(5));
    let upstream = worker.accept();
    assert!(worker.sent_bytes(upstream) == large(1));
    worker.receive(client, call(6, "cart/add", b""));
    assert_eq!((worker.sent_bytes(upstream), worker.next_dial()), (call(2, "cart/add", b""), None));
    let big = vec![b'r'; 500_000];
    worker.receive(upstream, [answer(2, 0, b""), answer(1, 0, &big)].concat());
    assert!(worker.sent_bytes(client) == [answer(6, 0, b""), answer(5, 0, &big)].concat());
}

#[test]
fn four_connections_at_most_serve_large_and_small_calls() {
    let mut worker = shop();
    let clients: Vec<Key> = (0..5).map(|_| worker.connect_rpc()).collect();
    for client in &clients {
        worker.receive(*client, &large(5)[..150_000]);
    }
    let mut leased = Vec::new();
    while worker.next_dial().is_some() {
        leased.push(worker.accept());
    }
    assert_eq!(leased.len(), 3, "the others wait");
    let small = worker.connect_rpc();
    worker.receive(small, call(9, "cart/add", b""));
    let fourth = worker.accept();
    worker.receive(fourth, answer(1, 0, b""));
    assert_eq!(worker.sent_bytes(small), answer(9, 0, b""));
    // The fourth caller is not read beyond what it may have with us.
    worker.receive(clients[3], &large(5)[150_000..]);
    for piece in call(6, "cart/put", &vec![b'x'; 4 << 20]).chunks(100_000) {
        worker.receive(clients[3], piece);
    }
    assert!(worker.port.links.get(clients[3]).unwrap().unread() > 3 << 20);
    // The first frame ends: its connection is everybody's, and the next frame gets the one that is idle.
    worker.sent_bytes(fourth);
    worker.receive(clients[0], &large(5)[150_000..]);
    assert!(worker.sent_bytes(fourth) == large(2));
    worker.receive(leased[0], answer(1, 0, b""));
    assert_eq!(worker.sent_bytes(clients[0]), answer(5, 0, b""));
    assert_eq!(worker.next_dial(), None);
}

#[test]
fn what_did_not_run_is_repeated_by_default_and_nothing_else() {
    let statuses =
        [(BUSY, true), (NOT_SENT, true), (ERROR, false), (TIMEOUT, false), (CONNECTION_CLOSED, false)];
    for (status, repeated) in statuses {
        let mut worker = retrying(1, &BY_DEFAULT);
        let client = worker.connect_rpc();
        worker.receive(client, call(1, "cart/add", b"tea"));
        let first = worker.accept();
        worker.receive(first, answer(1, status, b""));
        worker.pass(25);
        assert_eq!(worker.next_dial().is_some(), repeated, "{status}");
        if repeated {
            let second = worker.accept();
            assert_eq!(worker.sent_bytes(second), call(1, "cart/add", b"tea"));
            worker.receive(second, answer(1, 0, b"ok"));
            assert_eq!(worker.sent_bytes(client), answer(1, 0, b"ok"));
        } else {
            assert_eq!(worker.sent_bytes(client), answer(1, status, b""));
        }
    }
}

/// The side of a provider, in front of its application.
fn beside_the_application(action: plan::RouteAction) -> Worker {
    let manager = speaking(bolt::codec());
    let mut listener = listener(plan::Terminal::Http { manager });
    listener.direction = plan::TrafficDirection::Inbound;
    Worker::new(&listener, &[table(vec![route("/", action)])], &[cluster("shop", &["127.0.0.1:80"])])
}

#[test]
fn a_caller_learns_that_nothing_of_its_call_reached_the_application() {
    let mut worker = beside_the_application(to("shop"));
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b"tea"));
    worker.refuse();
    assert_eq!(worker.sent_bytes(client), answer(1, NOT_SENT, b""));
    let record = worker.record();
    assert_eq!((record.status, &*record.flags), (503, "UF"));
    // A call that was written may have run.
    worker.receive(client, call(2, "cart/add", b"tea"));
    let upstream = worker.accept();
    worker.pass(1);
    worker.lose(upstream);
    assert_eq!(worker.sent_bytes(client), answer(2, CONNECTION_CLOSED, b""));
    // Nobody hears of a one-way call.
    worker.receive(client, one_way(3, "cart/note", b"x"));
    worker.refuse();
    assert_eq!(worker.sent_bytes(client), b"");
}

#[test]
fn a_call_whose_first_try_may_have_run_is_not_said_to_have_reached_nobody() {
    let mut worker = beside_the_application(to_with_retries("shop", retries(1, &["reset"])));
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b"tea"));
    let upstream = worker.accept();
    worker.pass(1);
    worker.lose(upstream);
    worker.pass(25);
    worker.refuse();
    assert_eq!(worker.sent_bytes(client), answer(1, CONNECTION_CLOSED, b""));
}

#[test]
fn a_call_that_may_have_run_is_repeated_only_where_the_route_says_so() {
    for (retry_on, repeated) in [(&BY_DEFAULT[..], false), (&["reset"], true), (&["5xx"], true)] {
        let mut worker = retrying(1, retry_on);
        let client = worker.connect_rpc();
        worker.receive(client, call(1, "cart/add", b"tea"));
        let first = worker.accept();
        worker.pass(1);
        worker.lose(first);
        worker.pass(25);
        assert_eq!(worker.next_dial().is_some(), repeated, "{retry_on:?}");
        let expected = if repeated { vec![] } else { answer(1, CONNECTION_CLOSED, b"") };
        assert_eq!(worker.sent_bytes(client), expected);
    }
}

#[test]
fn a_call_of_which_nothing_was_written_is_repeated_by_default() {
    let mut worker = retrying(1, &BY_DEFAULT);
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b"tea"));
    worker.refuse();
    worker.pass(25);
    let second = worker.accept();
    assert_eq!(worker.sent_bytes(second), call(1, "cart/add", b"tea"));
    // Of a frame that is sent whole nothing goes out while the server takes nothing.
    worker.receive(second, answer(1, 0, b""));
    worker.stall(second, true);
    let body = [b'b'; 50_000];
    for id in 2..6 {
        worker.receive(client, call(id, "cart/add", &body));
    }
    worker.pass(1);
    worker.sent_bytes(client);
    worker.lose(second);
    worker.pass(25);
    let third = worker.accept();
    let repeated = worker.sent_bytes(third).len();
    assert!((50_000..110_000).contains(&repeated), "{repeated}: those that had no room");
}

#[test]
fn one_way_calls_are_never_repeated() {
    for refused in [true, false] {
        let mut worker = retrying(3, &["5xx", "connect-failure"]);
        let client = worker.connect_rpc();
        worker.receive(client, one_way(3, "cart/note", b"x"));
        if refused {
            worker.refuse();
        } else {
            let first = worker.accept();
            worker.lose(first);
        }
        worker.pass(1_000);
        assert_eq!((worker.next_dial(), worker.sent_bytes(client)), (None, vec![]));
        assert_eq!(worker.streams.active(), 0);
    }
}

#[test]
fn a_one_way_call_goes_on_when_its_caller_has_left() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, one_way(3, "cart/note", b"x"));
    worker.end(client);
    let upstream = worker.accept();
    assert_eq!(worker.sent_bytes(upstream), one_way(1, "cart/note", b"x"));
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn a_mebibyte_is_kept_for_another_attempt() {
    for (size, repeated) in [(300_000, true), (1_000_000, true), (1_100_000, false)] {
        let mut worker = retrying(1, &["5xx"]);
        let client = worker.connect_rpc();
        let body = vec![b'k'; size];
        worker.receive(client, call(1, "cart/put", &body));
        let first = worker.accept();
        assert!(worker.sent_bytes(first) == call(1, "cart/put", &body));
        worker.receive(first, answer(1, BUSY, b""));
        worker.pass(25);
        assert_eq!(worker.next_dial().is_some(), repeated, "{size}");
        if repeated {
            let second = worker.accept();
            assert!(worker.sent_bytes(second) == call(1, "cart/put", &body), "{size}");
        }
    }
}

#[test]
fn a_server_that_dies_within_a_large_frame_is_replaced_where_the_route_allows_it() {
    let mut worker = retrying(1, &["reset"]);
    let client = worker.connect_rpc();
    worker.receive(client, &large(5)[..200_000]);
    let first = worker.accept();
    worker.pass(1);
    worker.lose(first);
    worker.pass(25);
    let second = worker.accept();
    worker.receive(client, &large(5)[200_000..]);
    assert!(worker.sent_bytes(second) == large(1));
    worker.receive(second, answer(1, 0, b""));
    assert_eq!(worker.sent_bytes(client), answer(5, 0, b""));
}

#[test]
fn who_leaves_takes_its_calls_along_and_late_answers_find_nobody() {
    let mut worker = shop();
    let (neighbour, shared) = with_neighbour(&mut worker);
    let client = worker.connect_rpc();
    worker.receive(client, call(5, "cart/add", b""));
    worker.sent_bytes(shared);
    worker.lose(client);
    assert_eq!(worker.streams.active(), 1);
    worker.receive(shared, [answer(2, 0, b"late"), answer(1, 0, b"")].concat());
    assert_eq!(worker.sent_bytes(neighbour), answer(70, 0, b""));
    assert!(worker.is_open(shared));
}

#[test]
fn attempts_share_the_callers_time() {
    let mut worker = retrying(5, &["unavailable"]);
    let client = worker.connect_rpc();
    worker.receive(client, call_within(1, 100, "cart/add"));
    let first = worker.accept();
    worker.pass(60);
    worker.receive(first, answer(1, BUSY, b""));
    worker.pass(25);
    let second = worker.accept();
    assert_eq!(worker.sent_bytes(second), call_within(1, 100, "cart/add"));
    worker.pass(15);
    assert_eq!(worker.sent_bytes(client), answer(1, TIMEOUT, b""));
    assert_eq!(worker.cluster_counter("shop", ClusterCounter::RqTimeout), 1);
}

#[test]
fn versions_share_a_port_and_have_their_own_connections() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    let calls = [call(1, "cart/a", b""), call_v2(2, "cart/b", b"x"), call(3, "cart/c", b"")].concat();
    worker.receive(client, [calls, call_v2(4, "cart/d", b"")].concat());
    let (v1, v2) = (worker.accept(), worker.accept());
    assert_eq!(worker.sent_bytes(v1), [call(1, "cart/a", b""), call(2, "cart/c", b"")].concat());
    assert_eq!(worker.sent_bytes(v2), [call_v2(1, "cart/b", b"x"), call_v2(2, "cart/d", b"")].concat());
    // A wrong checksum gets an answer of its own version, and costs no other caller anything.
    let (neighbour, mut spoilt) = (worker.connect_rpc(), call_v2(9, "cart/b", b"x"));
    worker.receive(neighbour, call_v2(8, "cart/b", b"x"));
    *spoilt.last_mut().unwrap() ^= 1;
    let stranger = worker.connect_rpc();
    worker.receive(stranger, spoilt);
    assert_eq!(worker.sent_bytes(stranger)[..14], [2, 2, 0, 0, 2, 1, 0, 0, 0, 9, 11, 1, 0, 9]);
    assert!(worker.gone(stranger).is_some() && worker.is_open(neighbour) && worker.is_open(v2));
}

#[test]
fn heartbeats_are_between_neighbours_and_stop_under_traffic() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b""));
    let upstream = worker.accept();
    worker.sent_bytes(upstream);
    worker.receive(upstream, answer(1, 0, b""));
    worker.sent_bytes(client);
    // Of both sides: answered here.
    worker.receive(client, heartbeat(900, 3_000));
    worker.receive(upstream, heartbeat(800, -1));
    assert_eq!(worker.sent_bytes(client), heartbeat_answer(900));
    assert_eq!(worker.sent_bytes(upstream), heartbeat_answer(800));
    let mut asked = Vec::new();
    for second in 1..=200 {
        worker.pass(1_000);
        let sent = worker.sent_bytes(upstream);
        if !sent.is_empty() {
            asked.push(second);
            let id = u32::from_be_bytes(sent[5..9].try_into().unwrap());
            assert_eq!(sent, heartbeat(id, -1));
            worker.receive(upstream, heartbeat_answer(id));
        }
    }
    assert_eq!(asked, [15, 45, 105, 195]);
    for id in 6..20 {
        worker.pass(10_000);
        worker.receive(client, call(id + 100, "cart/add", b""));
        assert_eq!(worker.sent_bytes(upstream), call(id, "cart/add", b""), "and no heartbeat");
        worker.receive(upstream, answer(id, 0, b""));
        assert_eq!(worker.sent_bytes(client), answer(id + 100, 0, b""));
    }
}

#[test]
fn a_server_that_no_longer_answers_heartbeats_is_left_by_its_calls() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b""));
    let upstream = worker.accept();
    worker.receive(upstream, answer(1, 0, b""));
    worker.sent_bytes(client);
    worker.pass(10_000);
    worker.receive(client, call(2, "cart/add", b""));
    worker.pass(5_000);
    // The call itself has no more than its 15 s; other connections are dialled meanwhile for new ones.
    worker.pass(4_900);
    assert!(worker.is_open(upstream));
    worker.pass(30_000);
    assert!(worker.gone(upstream).is_some());
    assert_eq!(worker.sent_bytes(client), answer(2, TIMEOUT, b""));
}

#[test]
fn a_broken_answer_costs_its_own_call_only() {
    let mut worker = shop();
    let (neighbour, shared) = with_neighbour(&mut worker);
    let client = worker.connect_rpc();
    worker.receive(client, call(5, "cart/add", b""));
    worker.sent_bytes(shared);
    let mut spoilt = answer(2, 0, b"");
    spoilt[15] = 4;
    spoilt.extend([0, 0, 0, 9]);
    worker.receive(shared, [spoilt, answer(1, 0, b"")].concat());
    assert_eq!(worker.sent_bytes(client), answer(5, CONNECTION_CLOSED, b""));
    assert_eq!(worker.sent_bytes(neighbour), answer(70, 0, b""));
    assert!(worker.is_open(shared) && worker.is_open(client));
}

#[test]
fn a_burst_that_a_server_takes_slowly_waits_and_loses_nothing() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    worker.receive(client, call(1, "cart/add", b""));
    let upstream = worker.accept();
    worker.receive(upstream, answer(1, 0, b""));
    worker.sent_bytes(upstream);
    worker.sent_bytes(client);
    worker.stall(upstream, true);
    let body = [b'b'; 40_000];
    let burst: Vec<u8> = (2..202).flat_map(|id| call(id, "cart/add", &body)).collect();
    worker.receive(client, &burst);
    let outbox = worker.port.links.get(upstream).unwrap().outbox.len();
    assert!(outbox < 200_000 && worker.streams.held() < 3 << 20, "{outbox} {}", worker.streams.held());
    worker.stall(upstream, false);
    let expected: usize = (2..202).map(|id| call(id, "cart/add", &body).len()).sum();
    assert_eq!(worker.sent_bytes(upstream).len(), expected);
    let answers: Vec<u8> = (2..202).rev().flat_map(|id| answer(id, 0, b"")).collect();
    worker.receive(upstream, &answers);
    assert!(worker.sent_bytes(client) == answers);
}

#[test]
fn a_caller_that_reads_nothing_is_cut_and_its_neighbours_are_served() {
    let mut worker = shop();
    let (neighbour, shared) = with_neighbour(&mut worker);
    let client = worker.connect_rpc();
    let calls: Vec<u8> = (0..40).flat_map(|id| call(id, "cart/get", b"")).collect();
    worker.receive(client, &calls);
    worker.stall(client, true);
    let big = vec![b'r'; 1 << 20];
    for id in 2..42 {
        worker.receive(shared, answer(id, 0, &big));
    }
    assert!(worker.gone(client).is_some(), "32 MiB are enough");
    worker.receive(shared, answer(1, 0, b"mine"));
    assert_eq!(worker.sent_bytes(neighbour), answer(70, 0, b"mine"));
    assert!(worker.is_open(shared));
}

#[test]
fn a_server_that_says_goodbye_ends_its_calls_and_gets_no_new_ones() {
    let mut worker = shop();
    let (neighbour, shared) = with_neighbour(&mut worker);
    let mut goodbye = heartbeat(0, 0);
    goodbye[3] = 100;
    worker.receive(shared, goodbye);
    worker.receive(neighbour, call(71, "cart/list", b""));
    let other = worker.accept();
    assert_eq!(worker.sent_bytes(other), call(1, "cart/list", b""));
    assert!(worker.is_open(shared));
    worker.receive(shared, answer(1, 0, b"last"));
    assert_eq!(worker.sent_bytes(neighbour), answer(70, 0, b"last"));
    assert!(worker.gone(shared).is_some());
}

#[test]
fn a_caller_that_drains_hears_nothing_it_does_not_know_and_keeps_its_calls() {
    let mut worker = shop();
    let (client, upstream) = with_neighbour(&mut worker);
    worker.streams.drain(&mut worker.port, &[client]);
    worker.settle();
    worker.receive(client, call(71, "cart/list", b""));
    worker.receive(upstream, [answer(1, 0, b"a"), answer(2, 0, b"b")].concat());
    assert_eq!(worker.sent_bytes(client), [answer(70, 0, b"a"), answer(71, 0, b"b")].concat());
    assert!(worker.is_open(client));
    let _ = worker.port.perform(client, Command::GoAway { gentle: false });
    worker.settle();
    assert!(worker.gone(client).is_some(), "nothing runs on it any more");
}

#[test]
fn whole_calls_that_wait_for_a_connection_hold_their_caller_back() {
    let mut worker = shop();
    let client = worker.connect_rpc();
    for id in 1..=60 {
        worker.receive(client, call(id, "cart/put", &[b'w'; 30_000]));
    }
    let unread = worker.port.links.get(client).unwrap().unread();
    assert!(unread > 20 * 30_000 && worker.streams.held() < (1 << 20) + 100_000, "{unread}");
    // They go out once it is there, and the caller is read again.
    let upstream = worker.accept();
    let mut sent = worker.sent_bytes(upstream).len();
    for _ in 0..60 {
        worker.settle();
        sent += worker.sent_bytes(upstream).len();
    }
    assert_eq!(sent, 60 * call(1, "cart/put", &[b'w'; 30_000]).len());
    assert_eq!(worker.port.links.get(client).unwrap().unread(), 0);
}
