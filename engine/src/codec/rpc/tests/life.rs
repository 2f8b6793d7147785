//! A connection's life: many calls, heartbeats, limits, ends.

use super::bolt::{plus, three, v2};
use super::{Proxy, bytes, client, server};
use crate::bytes::Out;
use crate::codec::contract::{Codec, Command, Ending, Event, Input, StreamId};
use crate::codec::rpc::Connection;
use crate::codec::testing::{Bench, Seen};
use crate::message::{MILLISECOND, RequestHead, ResetReason, ResponseHead, SECOND, Tick};

/// The head of a request, as the codec gives it; the body is left.
pub fn head_of(bench: &mut Bench<Connection>, frame: &[u8]) -> Box<RequestHead> {
    let mut copy = frame.to_vec();
    let mut input = Input::new(&mut copy, false);
    let mut head = None;
    loop {
        let mut out = Out::new(&mut bench.outbox, &mut bench.pool);
        match bench.codec.next_event(&mut input, &mut out, bench.now) {
            Ok(Some(Event::RequestReceived { head: found, .. })) => head = Some(found),
            Ok(Some(_)) => {}
            Ok(None) => return head.expect("a request"),
            Err(fault) => panic!("{fault:?}"),
        }
    }
}

/// The same of a response.
pub fn response_head(bench: &mut Bench<Connection>, frame: &[u8]) -> Box<ResponseHead> {
    let mut copy = frame.to_vec();
    let mut input = Input::new(&mut copy, false);
    let mut found = None;
    loop {
        let mut out = Out::new(&mut bench.outbox, &mut bench.pool);
        match bench.codec.next_event(&mut input, &mut out, bench.now) {
            Ok(Some(Event::ResponseReceived { head, .. })) => found = Some(head),
            Ok(Some(_)) => {}
            Ok(None) => return found.expect("a response"),
            Err(fault) => panic!("{fault:?}"),
        }
    }
}

fn beating() -> Bench<Connection> {
    let mut bench = client("bolt");
    assert_eq!(bench.codec.deadline(), None);
    call(&mut bench);
    bench
}

fn call(bench: &mut Bench<Connection>) {
    let head = head_of(&mut server("bolt"), &v2(1, 2, 1, &[], b""));
    let stream = bench.codec.open_stream().unwrap();
    bench.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
    bench.sent();
}

fn heartbeat(id: u32) -> Vec<u8> {
    bytes(&format!("02 02 01 0000 01 {id:08x} 01 00 ffffffff 0000 0000 00000000"))
}

fn answer(id: u32) -> Vec<u8> {
    bytes(&format!("02 02 00 0000 01 {id:08x} 01 00 0000 0000 0000 00000000"))
}

/// A response of version 1 with so many bytes in it.
pub fn large_answer(id: u32, length: u32) -> Vec<u8> {
    let mut frame = bytes(&format!("01 00 0002 01 {id:08x} 0b 0000 0000 0000 {length:08x}"));
    frame.resize(20 + length as usize, b'a');
    frame
}

#[test]
fn idle_connections_are_asked_ever_more_rarely() {
    let mut bench = beating();
    let mut waits = Vec::new();
    for id in 2..6 {
        let before = bench.now;
        bench.pass_deadline().unwrap();
        waits.push(bench.now.since(before) / SECOND);
        assert_eq!(bench.sent(), heartbeat(id));
        bench.now = bench.now + 5 * MILLISECOND;
        assert_eq!(bench.receive(&answer(id)), []);
    }
    assert_eq!(waits, [15, 30, 60, 90]);
    // A response is traffic: the next silence counts from it, and from the beginning.
    bench.receive(&bytes("02 02 00 0002 01 00000001 0b 00 0000 0000 0000 00000000"));
    assert_eq!(bench.codec.deadline(), Some(bench.now + 15 * SECOND));
}

#[test]
fn a_server_that_does_not_answer_is_left() {
    let mut bench = beating();
    bench.pass_deadline().unwrap();
    bench.pass_deadline().unwrap();
    bench.pass_deadline().unwrap();
    assert_eq!(bench.sent(), [heartbeat(2), heartbeat(3), heartbeat(4)].concat());
    let fault = bench.pass_deadline().unwrap_err();
    assert_eq!((fault.what, fault.reason), ("heartbeats are not answered", ResetReason::Timeout));
    assert_eq!(bench.codec.next_reset(), Some(StreamId(1)));
    assert_eq!(bench.codec.next_reset(), None);
}

#[test]
fn a_server_that_hangs_is_left_though_callers_go_on_calling() {
    let mut bench = beating();
    let since = bench.now;
    let fault = (1..60).find_map(|second| {
        let next = since + second * SECOND;
        while bench.codec.deadline().is_some_and(|due| due <= next) {
            if let Err(fault) = bench.pass_deadline() {
                return Some(fault);
            }
        }
        bench.now = next;
        call(&mut bench);
        None
    });
    assert_eq!(fault.map(|fault| fault.what), Some("heartbeats are not answered"));
    assert_eq!(bench.now.since(since), 18 * SECOND, "15 s of silence, then three answers of a second each");
}

#[test]
fn a_server_that_answers_is_not_asked() {
    let mut bench = beating();
    for id in 2..60 {
        bench.now = bench.now + SECOND;
        call(&mut bench);
        bench.receive(&bytes(&format!("02 02 00 0002 01 {id:08x} 0b 00 0000 0000 0000 00000000")));
        assert_eq!(bench.codec.deadline(), Some(bench.now + 15 * SECOND));
    }
}

#[test]
fn a_thousand_calls_share_a_connection() {
    let mut proxy = Proxy::new("bolt");
    let requests: Vec<u8> = (0..1_000).flat_map(|call| plus(call * 3 + 7)).collect();
    let (up, _) = proxy.caller_sends(&requests);
    let expected: Vec<u8> = (1..=1_000).flat_map(plus).collect();
    assert!(up == expected);
    let responses: Vec<u8> = (1..=1_000).rev().flat_map(three).collect();
    let answered = proxy.server_sends(&responses);
    let expected: Vec<u8> = (0..1_000).rev().flat_map(|call| three(call * 3 + 7)).collect();
    assert!(answered == expected);
    assert_eq!((proxy.down.open_streams(), proxy.up.open_streams()), (0, 0));
}

#[test]
fn calls_beyond_the_limit_are_told_that_we_are_busy() {
    let mut plan = super::plan("bolt");
    (plan.limits.calls, plan.limits.provider_calls) = (2, 2);
    let description = std::sync::Arc::new(super::compile(&plan).unwrap());
    let mut bench = Bench::new(Connection::server(std::sync::Arc::clone(&description)));
    let seen = bench.receive(&[plus(1), plus(2), plus(3)].concat());
    assert_eq!(seen.iter().filter(|seen| matches!(seen, Seen::Request(..))).count(), 2);
    assert_eq!(bench.sent(), bytes("01 00 0002 01 00000003 01 0004 0000 0000 00000000"));
    let mut client = Connection::client(description);
    assert!(
        client.open_stream().is_some() && client.open_stream().is_some() && client.open_stream().is_none()
    );
}

#[test]
fn a_frame_that_does_not_become_whole_ends_the_connection() {
    let mut bench = server("bolt");
    assert_eq!(bench.receive(&plus(1)[..50]), []);
    assert_eq!(bench.codec.deadline(), Some(Tick(30 * SECOND)));
    assert_eq!(bench.pass_deadline().unwrap_err().what, "a frame takes too long");
    let mut bench = server("bolt");
    assert_eq!(bench.receive_end(&plus(1)[..50]), [Seen::Fault(None, "the connection ended within a frame")]);
}

#[test]
fn the_callers_end_is_reported_once() {
    let mut bench = server("bolt");
    let seen = bench.receive_end(&plus(1));
    assert_eq!(seen.last(), Some(&Seen::InputEnded));
    assert_eq!(bench.receive(b""), []);
    assert_eq!((bench.codec.ending(), bench.codec.next_reset()), (Ending::Closed, Some(StreamId(1))));
}

#[test]
fn draining_ends_a_connection_after_its_last_call() {
    let mut bench = server("bolt");
    bench.receive(&plus(5));
    bench.send(Command::GoAway { gentle: true }).unwrap();
    assert_eq!(bench.codec.ending(), Ending::Open);
    bench.send(Command::GoAway { gentle: false }).unwrap();
    assert_eq!(
        (bench.codec.ending(), bench.sent()),
        (Ending::Open, vec![]),
        "Java would close: nothing is said"
    );
    bench.send(Command::ResetStream { stream: StreamId(1), reason: ResetReason::Overloaded }).unwrap();
    assert_eq!(bench.sent(), bytes("01 00 0002 01 00000005 01 0004 0000 0000 00000000"));
    assert_eq!(bench.codec.ending(), Ending::Closed);
}

#[test]
fn who_understands_a_go_away_is_told_once_and_keeps_its_calls() {
    let mut plan = super::plan("bolt");
    // MOSN's: a request of command 100, shaped as a heartbeat is.
    plan.go_away = plan.heartbeat.as_ref().unwrap().templates.clone();
    for template in &mut plan.go_away {
        template.values.iter_mut().find(|value| value.field.item == "command").unwrap().value = 100;
    }
    let mut bench = Bench::new(Connection::server(std::sync::Arc::new(super::compile(&plan).unwrap())));
    bench.send(Command::GoAway { gentle: true }).unwrap();
    assert_eq!(bench.sent(), b"", "what it speaks is not known yet");
    let mut bench = Bench::new(Connection::server(std::sync::Arc::new(super::compile(&plan).unwrap())));
    bench.receive(&[v2(5, 1, 0, &[], b""), v2(6, 1, 0, &[], b"")].concat());
    bench.send(Command::GoAway { gentle: true }).unwrap();
    let told = bench.sent();
    assert_eq!((&told[..6], told.len()), (&[2, 1, 1, 0, 100, 1][..], 24));
    bench.send(Command::GoAway { gentle: false }).unwrap();
    assert_eq!((bench.sent(), bench.codec.ending()), (vec![], Ending::Open));
    for stream in [1, 2].map(StreamId) {
        let refusal = crate::codec::testing::response(404, &[]);
        bench.send(Command::SendResponse { stream, head: &refusal, body: &[], end: true }).unwrap();
    }
    assert_eq!(bench.codec.ending(), Ending::Closed);
}

#[test]
fn a_caller_that_reads_no_answers_is_not_read() {
    let mut bench = server("bolt");
    bench.receive(&plus(1));
    let heartbeats = bytes("0101 0000 01 00000007 01 00000bb8 0000 0000 00000000").repeat(10_000);
    bench.receive(&heartbeats);
    assert!(!bench.codec.wants_input());
    assert!(bench.outbox.len() < 70_000 && !bench.carry.is_empty());
    bench.sent();
    bench.codec.on_room();
    assert!(bench.codec.wants_input());
    bench.receive(b"");
    assert!(bench.outbox.len() > 60_000);
}

/// A connection with 40 calls whose bodies stay here.
fn holding() -> Bench<Connection> {
    let mut bench = server("bolt");
    for call in 1..=40 {
        bench.receive(&v2(call, 1, 0, &[], &[0; 30_000]));
        assert!(bench.codec.wants_input() == (call <= 35), "what came whole counts as gone");
        bench.send(Command::HoldCredit { stream: StreamId(call), bytes: 30_000 }).unwrap();
    }
    bench
}

#[test]
fn bodies_for_which_no_credit_comes_back_stop_reading() {
    let mut bench = holding();
    assert!(!bench.codec.wants_input());
    // A call cannot give back more than it holds.
    bench.send(Command::GrantCredit { stream: StreamId(1), bytes: 300_000 }).unwrap();
    assert!(!bench.codec.wants_input());
    for call in 2..10 {
        bench.send(Command::GrantCredit { stream: StreamId(call), bytes: 30_000 }).unwrap();
    }
    assert!(bench.codec.wants_input());
}

#[test]
fn a_call_that_ends_gives_back_what_it_held() {
    let mut bench = holding();
    assert!(!bench.codec.wants_input());
    for call in 1..10 {
        let reset = Command::ResetStream { stream: StreamId(call), reason: ResetReason::Failed };
        bench.send(reset).unwrap();
    }
    assert!(bench.codec.wants_input());
    // Answers are whole when they are handed over: a server may answer for ever.
    let mut bench = client("bolt");
    for _ in 0..1_200 {
        let stream = bench.codec.open_stream().unwrap();
        bench.receive(&large_answer(stream.0, 30_000));
    }
    assert!(bench.codec.wants_input());
}
