//! Flow control, both ways, and turns.

use super::*;
use crate::bytes::Outbox;
use crate::codec::testing::response;

fn send(bench: &mut Bench<Server>, stream: u32, bytes: &[u8], end: bool) -> usize {
    bench.send(Command::SendData { stream: StreamId(stream), bytes, end }).unwrap().bytes
}

fn answering(streams: &[u32], initial_window: u32) -> Bench<Server> {
    let mut bench = server();
    bench.receive(&settings(&[(4, initial_window)]));
    for &stream in streams {
        bench.receive(&get(stream));
        let head = response(200, &[]);
        bench
            .send(Command::SendResponse { stream: StreamId(stream), head: &head, body: &[], end: false })
            .unwrap();
    }
    bench.sent();
    bench
}

#[test]
fn data_waits_for_the_window_of_its_stream() {
    let mut bench = answering(&[1], 10);
    assert_eq!(send(&mut bench, 1, b"0123456789ab", true), 10);
    assert_eq!(bench.receive(&window_update(1, 1)), [Seen::Writable(1)]);
    assert_eq!(send(&mut bench, 1, b"ab", true), 1);
    assert_eq!(bench.receive(&window_update(1, 1)), [Seen::Writable(1)]);
    assert_eq!(send(&mut bench, 1, b"b", true), 1);
    assert_eq!(bench.codec.open_streams(), 0);
}

#[test]
fn settings_turn_windows_negative() {
    let mut bench = answering(&[1], 10);
    assert_eq!(send(&mut bench, 1, &[0; 20], false), 10);
    assert_eq!(bench.receive(&settings(&[(4, 5)])), []);
    assert_eq!(bench.receive(&window_update(1, 5)), []);
    assert_eq!(send(&mut bench, 1, &[0; 20], false), 0);
    assert_eq!(bench.receive(&settings(&[(4, 6)])), [Seen::Writable(1)]);
    assert_eq!(send(&mut bench, 1, &[0; 20], false), 1);
}

#[test]
fn empty_end_needs_no_window() {
    let mut bench = answering(&[1], 0);
    assert_eq!(send(&mut bench, 1, b"x", true), 0);
    assert_eq!(send(&mut bench, 1, b"", true), 0);
    assert_eq!(frames(&bench.sent()), [(DATA, END_STREAM, 1, vec![])]);
}

#[test]
fn streams_that_wait_take_turns_a_frame_each() {
    let mut bench = answering(&[1, 3, 5], 1 << 20);
    let body = vec![0; 200_000];
    let mut sent: std::collections::HashMap<u32, usize> = std::collections::HashMap::new();
    for stream in [1, 3, 5] {
        sent.insert(stream, send(&mut bench, stream, &body, false));
    }
    // The connection's window went to the first; now it opens for all.
    assert_eq!((sent[&1], sent[&3], sent[&5]), (65_535, 0, 0));
    bench.sent();
    let mut order = Vec::new();
    bench.codec.on_room();
    bench.receive_with(&window_update(0, 6 * 16_384), |seen, step| {
        if let Seen::Writable(stream) = seen {
            let accepted =
                step.send(Command::SendData { stream: StreamId(*stream), bytes: &body, end: false }).unwrap();
            order.push((*stream, accepted.bytes));
        }
    });
    assert_eq!(order[..3], [(1, 16_384), (3, 16_384), (5, 16_384)]);
    // Then the outbox was full; the flush makes room for the rest of the window.
    bench.sent();
    bench.codec.on_room();
    bench.receive_with(b"", |seen, step| {
        if let Seen::Writable(stream) = seen {
            let accepted =
                step.send(Command::SendData { stream: StreamId(*stream), bytes: &body, end: false }).unwrap();
            order.push((*stream, accepted.bytes));
        }
    });
    let total = |stream| order.iter().filter(|(id, _)| *id == stream).map(|(_, bytes)| bytes).sum::<usize>();
    assert_eq!(total(1) + total(3) + total(5), 6 * 16_384);
    assert!([1, 3, 5].iter().all(|&stream| total(stream).abs_diff(2 * 16_384) <= 16_384), "{order:?}");
}

#[test]
fn one_stream_fills_the_outbox_in_one_go_when_no_other_waits() {
    let mut bench = answering(&[1], 1 << 20);
    bench.receive(&window_update(0, 1 << 20));
    assert_eq!(send(&mut bench, 1, &vec![0; 200_000], false), Outbox::HIGH_MARK);
    assert!(frames(&bench.sent()).iter().all(|frame| frame.3.len() <= 16_384));
    bench.codec.on_room();
    assert_eq!(bench.receive(b""), [Seen::Writable(1)]);
}

#[test]
fn credit_comes_back_as_window_updates() {
    let mut bench = server();
    bench.receive(&post(1));
    let chunk = vec![0; 16_384];
    for turn in 1..=8 {
        bench.receive(&frame(DATA, 0, 1, &chunk));
        bench.send(Command::GrantCredit { stream: StreamId(1), bytes: chunk.len() }).unwrap();
        let updates = frames(&bench.sent());
        assert_eq!(updates.len(), usize::from(turn == 8), "half a window");
        if turn == 8 {
            assert_eq!(updates[0], (WINDOW_UPDATE, 0, 1, (8 * 16_384u32).to_be_bytes().to_vec()));
        }
    }
    // No more than was handed over.
    bench.send(Command::GrantCredit { stream: StreamId(1), bytes: 1 << 30 }).unwrap();
    assert!(bench.sent().is_empty());
}

#[test]
fn data_beyond_the_windows_is_an_error() {
    let settings = Settings { stream_window: 65_535, ..Settings::default() };
    let mut bench = server_with(settings);
    bench.receive(&post(1));
    let chunk = vec![0; 16_384];
    for _ in 0..3 {
        bench.receive(&frame(DATA, 0, 1, &chunk));
    }
    let seen = bench.receive(&frame(DATA, 0, 1, &chunk));
    assert!(matches!(seen[..], [Seen::Reset(1, ..)]), "{seen:?}");
    assert_eq!(reset(&bench.sent()), Some((1, 3)));
    let settings = Settings { connection_window: 65_535, ..Settings::default() };
    let mut bench = server_with(settings);
    bench.receive(&post(1));
    for _ in 0..3 {
        bench.receive(&frame(DATA, 0, 1, &chunk));
    }
    let seen = bench.receive(&frame(DATA, 0, 1, &chunk));
    assert!(matches!(seen[..], [Seen::Fault(..)]), "{seen:?}");
    assert_eq!(go_away_code(&bench.sent()), Some(3));
}

#[test]
fn padding_is_credited_at_once() {
    let mut bench = server();
    bench.receive(&post(1));
    let payload = [&[200][..], b"body", &[0; 200]].concat();
    assert_eq!(bench.receive(&frame(DATA, 8, 1, &payload)), [Seen::data(1, b"body")]);
    assert_eq!(bench.codec.connection().missing_credit(), 4);
    assert_eq!(bench.receive(&frame(DATA, 9, 1, &[2, b'x', 0, 0])), [Seen::data(1, b"x"), Seen::End(1)]);
    assert_eq!(bench.codec.connection().missing_credit(), 5);
}

#[test]
fn window_of_the_connection_outlives_its_streams() {
    let mut bench = server();
    let chunk = vec![0; 16_384];
    for number in 0..100 {
        let stream = 1 + 2 * number;
        bench.receive(&[post(stream), frame(DATA, 0, stream, &chunk)].concat());
        match number % 3 {
            0 => {
                let reason = crate::message::ResetReason::Cancelled;
                bench.send(Command::ResetStream { stream: StreamId(stream), reason }).unwrap();
                // Under way when the reset came.
                assert_eq!(bench.receive(&frame(DATA, 0, stream, &chunk)), []);
            }
            1 => {
                bench.receive(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            }
            _ => {
                bench.receive(&frame(DATA, END_STREAM, stream, b""));
                let head = response(200, &[]);
                bench
                    .send(Command::SendResponse {
                        stream: StreamId(stream),
                        head: &head,
                        body: &[],
                        end: true,
                    })
                    .unwrap();
            }
        }
        assert_eq!(bench.codec.connection().missing_credit(), 0);
        bench.sent();
    }
}

#[test]
fn full_outbox_parks_new_requests_but_nothing_else() {
    let mut bench = answering(&[1], 1 << 20);
    bench.receive(&window_update(0, 1 << 20));
    assert_eq!(send(&mut bench, 1, &vec![0; 200_000], false), Outbox::HIGH_MARK);
    assert_eq!(bench.receive(&[frame(PING, 0, 0, &[1; 8]), get(3)].concat()), []);
    assert!(!bench.codec.wants_input() && bench.carry == get(3));
    bench.sent();
    bench.codec.on_room();
    assert!(bench.codec.wants_input());
    assert_eq!(bench.receive(b"").len(), 3);
}

#[test]
fn a_stream_that_nobody_reads_holds_up_no_other_stream_of_an_endpoint() {
    let mut bench = client();
    let ok = block(&[(":status", "200")]);
    let chunk = vec![0; 16_384];
    for number in 0..20 {
        let stream = ask(&mut bench, "GET", true).0;
        assert_eq!(stream, 1 + 2 * number);
        bench.receive(&frame(HEADERS, END_HEADERS, stream, &ok));
        // All of its own window, of which nothing is granted.
        for _ in 0..16 {
            assert_eq!(bench.receive(&frame(DATA, 0, stream, &chunk)).len(), 1);
        }
        assert!(bench.codec.connection().missing_credit() == 0);
    }
    let seen = bench.receive(&frame(DATA, 0, 1, b"x"));
    assert!(matches!(seen[..], [Seen::Reset(1, ..)]), "{seen:?}");
}
