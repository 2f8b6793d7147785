//! What is allowed once but not a thousand times.

use super::*;
use crate::codec::testing::response;

/// Repeats until the connection breaks; says how often, and what was said.
fn until_broken(bench: &mut Bench<Server>, mut bytes: impl FnMut(u32) -> Vec<u8>) -> (u32, &'static str) {
    for turn in 0..20_000 {
        let seen = bench.receive(&bytes(turn));
        if let Some(Seen::Fault(_, what)) = seen.last() {
            assert_eq!(go_away_code(&bench.sent()), Some(11), "{what}");
            return (turn, what);
        }
        bench.sent();
    }
    panic!("never broken");
}

#[test]
fn rapid_resets() {
    let (turns, what) = until_broken(&mut server(), |turn| {
        let stream = 1 + 2 * turn;
        [get(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    assert_eq!((turns, what), (500, "flood of resets"));
}

#[test]
fn resets_that_we_are_made_to_send() {
    let (turns, what) = until_broken(&mut server(), |turn| {
        let stream = 1 + 2 * turn;
        [get(stream), window_update(stream, 0)].concat()
    });
    assert_eq!((turns, what), (500, "flood of resets"));
}

#[test]
fn cancelled_streams_among_good_ones_are_no_flood() {
    let mut bench = server();
    for turn in 0..2_000 {
        let stream = 1 + 2 * turn;
        bench.receive(&get(stream));
        if turn % 2 == 0 {
            bench.receive(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        } else {
            let head = response(204, &[]);
            bench
                .send(Command::SendResponse { stream: StreamId(stream), head: &head, body: &[], end: true })
                .unwrap();
        }
        bench.sent();
    }
    assert!(!bench.codec.is_finished());
}

#[test]
fn frames_without_content_in_a_row() {
    let tables: &[(&str, Vec<u8>)] = &[
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", settings(&[(4, 1)])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("empty DATA", frame(DATA, 0, 1, b"")),
        ("unknown", frame(0x55, 0, 1, b"x")),
        ("RST_STREAM of a closed stream", frame(RST_STREAM, 0, 3, &[0; 4])),
    ];
    for (what, bytes) in tables {
        let mut bench = server();
        bench.receive(&[post(1), get(3), frame(RST_STREAM, 0, 3, &[0; 4])].concat());
        let (turns, _) = until_broken(&mut bench, |_| bytes.clone());
        assert!((95..=100).contains(&turns), "{what}: {turns}");
    }
}

#[test]
fn window_updates_without_data() {
    let mut bench = server();
    bench.receive(&post(1));
    let (turns, what) = until_broken(&mut bench, |_| window_update(1, 1));
    assert!((1_000..1_100).contains(&turns) && what == "flood of WINDOW_UPDATE");
}

#[test]
fn continuation_without_end() {
    let empty = |flags| frame(CONTINUATION, flags, 1, b"");
    let mut bench = server();
    bench.receive(&frame(HEADERS, END_STREAM, 1, &block(GET)));
    let (turns, what) = until_broken(&mut bench, |_| empty(0));
    assert!(turns < 70 && what == "flood of CONTINUATION");
    let mut bench = server();
    bench.receive(&frame(HEADERS, END_STREAM, 1, &block(GET)));
    let filler = block(&[("x", &"y".repeat(16_000))]);
    let (turns, _) = until_broken(&mut bench, |_| frame(CONTINUATION, 0, 1, &filler));
    assert!(turns < 10);
}

#[test]
fn answers_that_nobody_reads() {
    let mut bench = server();
    let mut turns = 0;
    loop {
        // Traffic between the pings, so that they are not in a row; the outbox is never flushed.
        let stream = 1 + 2 * turns;
        let bytes = [get(stream), frame(RST_STREAM, 0, stream, &[0; 4]), frame(PING, 0, 0, &[0; 8])].concat();
        bench.now = bench.now.after_milliseconds(2_000);
        match bench.receive(&bytes).last() {
            Some(Seen::Fault(_, what)) => {
                assert!(matches!(*what, "answers to control frames are not read" | "flood of resets"));
                break;
            }
            _ => turns += 1,
        }
        assert!(turns < 2_000);
    }
    assert!(bench.outbox.len() < 64 * 1024);
}

#[test]
fn too_large_heads_get_431_then_the_end() {
    let huge: Vec<(String, String)> =
        (0..101).map(|number| (format!("x-{number}"), "y".to_owned())).collect();
    let huge: Vec<(&str, &str)> = huge.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let long = "y".repeat(15_000);
    let mut bench = server();
    assert_eq!(bench.receive(&frame(HEADERS, END_HEADERS, 1, &with(GET, &huge))), []);
    let sent = bench.sent();
    let (mut client, _) = asking("GET", true);
    assert_eq!(client.receive(&sent[..sent.len() - 13])[0], Seen::Response(1, "431".to_owned()));
    assert_eq!(reset(&sent), Some((1, 0)));
    // 75 kB in CONTINUATION frames.
    let parts = [
        frame(HEADERS, END_STREAM, 3, &with(GET, &[("a", &long)])),
        frame(CONTINUATION, 0, 3, &block(&[("b", &long)])),
        frame(CONTINUATION, 0, 3, &block(&[("c", &long)])),
        frame(CONTINUATION, 0, 3, &block(&[("d", &long)])),
        frame(CONTINUATION, END_HEADERS, 3, &block(&[("e", &long)])),
    ];
    assert_eq!(bench.receive(&parts.concat()), []);
    assert_eq!(frames(&bench.sent())[0].1, END);
    assert_eq!(bench.receive(&get(5)).len(), 2);
    let (turns, _) = until_broken(&mut bench, |turn| frame(HEADERS, END, 7 + 2 * turn, &with(GET, &huge)));
    assert!(turns <= 500);
}
