//! Many callers, few connections: what one of them does, or one server, costs nobody else a call.

use super::bolt::{plus, v2};
use super::life::{head_of, large_answer};
use super::{bytes, client, description, server};
use crate::codec::contract::{Codec, Command, Ending, StreamId};
use crate::codec::rpc::{Connection, WHOLE};
use crate::codec::testing::{Bench, Seen};
use crate::message::{ResetReason, SECOND};

const LARGE: usize = 2 * WHOLE;

/// A connection to a server with these requests begun on it, the first one large and not all of it sent.
fn half_sent() -> (Bench<Connection>, StreamId) {
    let head = head_of(&mut server("bolt"), &v2(7, 1, 0, &[], &[b'l'; LARGE]));
    let mut bench = client("bolt");
    let stream = bench.codec.open_stream().unwrap();
    bench.send(Command::SendRequest { stream, head: &head, body: &[], end: false }).unwrap();
    bench.send(Command::SendData { stream, bytes: b"some", end: false }).unwrap();
    bench.sent();
    (bench, stream)
}

fn asked(count: u32) -> Bench<Connection> {
    let head = head_of(&mut server("bolt"), &plus(1));
    let mut bench = client("bolt");
    for _ in 0..count {
        let stream = bench.codec.open_stream().unwrap();
        bench.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
    }
    bench.sent();
    bench
}

#[test]
fn numbers_of_a_thousand_calls_wrap_around() {
    let head = head_of(&mut server("bolt"), &plus(1));
    let mut bench = client("bolt");
    bench.codec.count_from(u32::MAX - 500);
    let mut numbers = Vec::new();
    for _ in 0..1_000 {
        let stream = bench.codec.open_stream().unwrap();
        bench.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
        numbers.push(stream.0);
    }
    assert_eq!((numbers[0], numbers[499], numbers[500]), (u32::MAX - 499, u32::MAX, 1));
    let answers: Vec<u8> = numbers.iter().rev().flat_map(|number| large_answer(*number, 3)).collect();
    let seen = bench.receive(&answers);
    let ended: Vec<u32> =
        seen.iter().filter_map(|seen| if let Seen::End(id) = seen { Some(*id) } else { None }).collect();
    assert!(ended.iter().rev().eq(&numbers) && bench.codec.open_streams() == 0);
}

#[test]
fn an_answer_that_is_spoilt_or_too_large_costs_its_own_call_only() {
    let mut spoilt = bytes("01 00 0002 01 00000002 0b 0000 0000 0005 00000001 0000000941 62");
    let mut huge = large_answer(2, 9 << 20);
    for frame in [&mut spoilt, &mut huge] {
        let mut bench = asked(3);
        let stream = [&large_answer(1, 3)[..], frame, &large_answer(3, 3)].concat();
        let seen = bench.receive_split(&stream, &[100_000]);
        let fine = |id| [Seen::Response(id, "200".into()), Seen::data(id, b"aaa"), Seen::End(id)];
        let reset = Seen::Reset(2, ResetReason::ProtocolError, false);
        assert_eq!(seen, [&fine(1)[..], &[reset], &fine(3)].concat());
        assert_eq!((bench.codec.ending(), bench.codec.open_streams()), (Ending::Open, 0));
    }
    // Where an answer ends is not known any more: all is lost.
    let mut torn = large_answer(2, 3);
    torn[16] = 0xff;
    assert!(matches!(asked(3).receive(&torn)[..], [Seen::Fault(..)]));
}

#[test]
fn a_server_that_reads_slowly_makes_callers_wait() {
    let body = vec![b'b'; 30_000];
    let head = head_of(&mut server("bolt"), &v2(7, 1, 0, &[], &body));
    let mut bench = client("bolt");
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let stream = bench.codec.open_stream().unwrap();
        bench.send(Command::SendRequest { stream, head: &head, body: &[], end: false }).unwrap();
        let accepted = bench.send(Command::SendData { stream, bytes: &body, end: true }).unwrap();
        if accepted.bytes == 0 {
            waiting.push(stream.0);
        }
    }
    assert_eq!(waiting, [4, 5, 6]);
    // One of them gives up; it takes no part any more.
    bench.send(Command::ResetStream { stream: StreamId(5), reason: ResetReason::Cancelled }).unwrap();
    assert_eq!(bench.sent().len(), 3 * (body.len() + 24));
    assert_eq!(bench.receive(b""), []);
    bench.codec.on_room();
    assert_eq!(bench.receive(b""), [Seen::Writable(4), Seen::Writable(6)]);
    for stream in [4, 6].map(StreamId) {
        let accepted = bench.send(Command::SendData { stream, bytes: &body, end: true }).unwrap();
        assert_eq!(accepted.bytes, body.len());
    }
    assert_eq!(bench.sent().len(), 2 * (body.len() + 24));
}

#[test]
fn an_early_answer_does_not_end_a_frame_that_is_half_sent() {
    let (mut bench, stream) = half_sent();
    let seen = bench.receive(&large_answer(stream.0, 2));
    assert_eq!(seen.last(), Some(&Seen::End(stream.0)));
    assert_eq!(bench.receive(&large_answer(stream.0, 2)), [], "it has been answered");
    assert_eq!(bench.codec.open_stream(), None);
    let mut rest = &[b'l'; LARGE - 4][..];
    while !rest.is_empty() {
        let accepted = bench.send(Command::SendData { stream, bytes: rest, end: true }).unwrap();
        rest = &rest[accepted.bytes..];
        bench.sent();
        bench.codec.on_room();
        bench.receive(b"");
    }
    assert_eq!(bench.codec.open_streams(), 0);
    assert!(bench.codec.open_stream().is_some());
    // Who does not go on spoils the connection, which is its own.
    let (mut bench, stream) = half_sent();
    bench.receive(&large_answer(stream.0, 2));
    bench.send(Command::ResetStream { stream, reason: ResetReason::Cancelled }).unwrap();
    assert_eq!(bench.codec.ending(), Ending::Aborted);
}

#[test]
fn nothing_is_asked_of_a_server_within_a_large_frame() {
    let (mut bench, _) = half_sent();
    bench.pass_deadline().unwrap();
    assert_eq!((bench.sent(), bench.codec.ending()), (vec![], Ending::Open));
    // Nor while a large answer comes.
    let mut bench = asked(1);
    bench.receive(&large_answer(1, 300_000)[..100_000]);
    bench.now = bench.now + 16 * SECOND;
    bench.receive(&[b'a'; 1_000]);
    bench.pass_deadline().unwrap();
    assert_eq!(bench.sent(), b"");
}

#[test]
fn a_caller_that_stalls_within_a_large_frame_is_left() {
    let frame = v2(7, 1, 0, &[], &[b'l'; 3 * WHOLE]);
    let mut bench = server("bolt");
    bench.receive(&frame[..WHOLE]);
    bench.now = bench.now + 20 * SECOND;
    bench.receive(&frame[WHOLE..WHOLE + 1]);
    let due = bench.codec.deadline().unwrap();
    assert_eq!(due, bench.now + 30 * SECOND);
    assert_eq!(bench.pass_deadline().unwrap_err().what, "a frame takes too long");
}

#[test]
fn a_caller_that_is_not_read_is_not_blamed() {
    let frame = v2(7, 1, 0, &[], &[b'l'; 40 * WHOLE]);
    let mut bench = server("bolt");
    bench.receive(&frame[..20 * WHOLE]);
    assert!(!bench.codec.wants_input());
    bench.pass_deadline().unwrap();
    bench.now = bench.now + 29 * SECOND;
    bench.send(Command::GrantCredit { stream: StreamId(1), bytes: 20 * WHOLE }).unwrap();
    assert_eq!(bench.codec.deadline(), Some(bench.now + 30 * SECOND));
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error_for_its_caller_alone() {
    let mut answers = asked(1);
    let mut head = super::life::response_head(&mut answers, &large_answer(1, 3));
    // A header map's length has two bytes.
    head.headers.push(b"x-large", &[b'x'; 70_000]);
    let mut bench = server("bolt");
    bench.receive(&[plus(5), plus(6)].concat());
    assert!(
        bench
            .send(Command::SendResponse { stream: StreamId(1), head: &head, body: &[], end: false })
            .is_err()
    );
    assert_eq!(bench.sent(), bytes("01 00 0002 01 00000005 01 0003 0000 0000 00000000"));
    assert_eq!((bench.codec.open_streams(), bench.codec.ending()), (1, Ending::Open));
}

#[test]
fn one_way_calls_count_until_they_are_over() {
    let mut one_way = plus(4);
    one_way[1] = 2;
    let mut bench = server("bolt");
    bench.receive(&one_way);
    assert_eq!(bench.codec.open_streams(), 1);
    bench.send(Command::ResetStream { stream: StreamId(1), reason: ResetReason::NoError }).unwrap();
    assert_eq!((bench.codec.open_streams(), bench.sent()), (0, vec![]));
}

#[test]
fn answers_that_nobody_takes_are_bounded() {
    let mut plan = super::plan("bolt");
    plan.limits.frame = 64 << 20;
    let description = std::sync::Arc::new(super::compile(&plan).unwrap());
    let mut upstream = Bench::new(Connection::client(std::sync::Arc::clone(&description)));
    upstream.codec.open_stream().unwrap();
    let mut bench = Bench::new(Connection::server(description));
    bench.receive(&[plus(5), plus(6)].concat());
    let head = super::life::response_head(&mut upstream, &large_answer(1, 40 << 20));
    let piece = vec![b'a'; 1 << 20];
    for stream in [StreamId(1), StreamId(2)] {
        bench.send(Command::SendResponse { stream, head: &head, body: &[], end: false }).unwrap();
    }
    // The first goes out in pieces, the second has to wait for its end; both count.
    let mut taken = 0;
    'all: for _ in 0..40 {
        for stream in [StreamId(1), StreamId(2)] {
            if bench.send(Command::SendData { stream, bytes: &piece, end: false }).is_err() {
                break 'all;
            }
            taken += 1;
        }
    }
    assert!((31..=33).contains(&taken), "{taken}");
    assert_eq!(bench.codec.ending(), Ending::Aborted);
}

#[test]
fn callers_with_half_frames_are_not_read_without_end() {
    let description = description("bolt");
    let half = v2(7, 1, 0, &[], &[b'h'; 60_000]);
    let mut benches: Vec<_> =
        (0..1_200).map(|_| Bench::new(Connection::server(std::sync::Arc::clone(&description)))).collect();
    for bench in &mut benches {
        if bench.codec.wants_input() {
            bench.receive(&half[..100]);
        }
    }
    let read = benches.iter().filter(|bench| !bench.carry.is_empty()).count();
    assert!((1_000..1_200).contains(&read), "{read}");
    // They can become whole, and then others are read.
    for bench in benches.iter_mut().take(600) {
        bench.receive(&half[100..]);
    }
    assert!(benches.iter().all(|bench| bench.codec.wants_input()));
    assert!(crate::codec::rpc::is_fed_again());
}
