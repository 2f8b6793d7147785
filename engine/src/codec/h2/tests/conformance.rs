//! What a hostile or broken peer may send, as h2spec lists it, by sections of RFC 9113.

use super::*;

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

fn headers(flags: u8, stream: u32) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(GET))
}

/// One stream whose request has ended, one whose body is open, one that was reset by the client.
fn opened() -> Bench<Server> {
    let mut bench = server();
    bench.receive(&[get(1), post(3), get(5), frame(RST_STREAM, 0, 5, &[0, 0, 0, 8])].concat());
    bench.sent();
    bench
}

#[test]
fn connection_errors() {
    let cases: Vec<(&str, Vec<u8>, u32)> = vec![
        ("4.2 DATA too large", frame(DATA, 0, 3, &[0; 16_385]), FRAME_SIZE),
        ("4.2 HEADERS too large", frame(HEADERS, END, 7, &[0; 16_385]), FRAME_SIZE),
        ("4.2 SETTINGS too large", frame(SETTINGS, 0, 0, &[0; 16_386]), FRAME_SIZE),
        ("4.3 invalid block", frame(HEADERS, END, 7, &[0x80]), COMPRESSION),
        ("4.3 index beyond the table", frame(HEADERS, END, 7, &[0xff, 0x7f]), COMPRESSION),
        ("4.3 PRIORITY within a head", [headers(1, 7), frame(PRIORITY, 0, 7, &[0; 5])].concat(), PROTOCOL),
        ("4.3 HEADERS of another stream within a head", [headers(1, 7), get(9)].concat(), PROTOCOL),
        ("5.1 idle: DATA", frame(DATA, 1, 7, b"x"), PROTOCOL),
        ("5.1 idle: RST_STREAM", frame(RST_STREAM, 0, 7, &[0; 4]), PROTOCOL),
        ("5.1 idle: WINDOW_UPDATE", window_update(7, 1), PROTOCOL),
        ("5.1 idle: CONTINUATION", frame(CONTINUATION, 4, 7, b""), PROTOCOL),
        ("5.1 closed: HEADERS", get(5), STREAM_CLOSED),
        ("5.1 closed: CONTINUATION", frame(CONTINUATION, 4, 5, b""), PROTOCOL),
        ("5.1.1 even stream", get(8), PROTOCOL),
        ("5.1.1 smaller than the last", [get(99), get(97)].concat(), PROTOCOL),
        ("5.5 unknown frame within a head", [headers(1, 7), frame(0x77, 0, 7, b"")].concat(), PROTOCOL),
        ("6.1 DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL),
        ("6.1 padding too long", frame(DATA, 8, 3, &[5, 0, 0]), PROTOCOL),
        ("6.1 padded without padding", frame(DATA, 8, 3, &[]), FRAME_SIZE),
        ("6.2 HEADERS on stream 0", get(0), PROTOCOL),
        ("6.2 padding too long", frame(HEADERS, END | 8, 7, &[5, 0x82]), PROTOCOL),
        ("6.3 PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), PROTOCOL),
        ("6.4 RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL),
        ("6.4 length of RST_STREAM", frame(RST_STREAM, 0, 3, &[0; 3]), FRAME_SIZE),
        ("6.5 SETTINGS ack with content", frame(SETTINGS, 1, 0, &[0; 6]), FRAME_SIZE),
        ("6.5 SETTINGS on a stream", frame(SETTINGS, 0, 3, &[]), PROTOCOL),
        ("6.5 length of SETTINGS", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE),
        ("6.5.2 ENABLE_PUSH", settings(&[(2, 2)]), PROTOCOL),
        ("6.5.2 INITIAL_WINDOW_SIZE", settings(&[(4, 0x8000_0000)]), FLOW_CONTROL),
        ("6.5.2 MAX_FRAME_SIZE small", settings(&[(5, 16_383)]), PROTOCOL),
        ("6.5.2 MAX_FRAME_SIZE large", settings(&[(5, 0x100_0000)]), PROTOCOL),
        ("6.6 PUSH_PROMISE", frame(PUSH_PROMISE, 4, 3, &[0, 0, 0, 2]), PROTOCOL),
        ("6.7 PING on a stream", frame(PING, 0, 3, &[0; 8]), PROTOCOL),
        ("6.7 length of PING", frame(PING, 0, 0, &[0; 6]), FRAME_SIZE),
        ("6.8 GOAWAY on a stream", frame(GOAWAY, 0, 3, &[0; 8]), PROTOCOL),
        ("6.8 length of GOAWAY", frame(GOAWAY, 0, 0, &[0; 7]), FRAME_SIZE),
        ("6.9 WINDOW_UPDATE by 0", window_update(0, 0), PROTOCOL),
        ("6.9 length of WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), FRAME_SIZE),
        ("6.9.1 window above 2^31-1", window_update(0, 0x7fff_ffff), FLOW_CONTROL),
        (
            "6.9.2 stream window above 2^31-1 by SETTINGS",
            [window_update(3, 0x7fff_ffff - 65_535), settings(&[(4, 65_536)])].concat(),
            FLOW_CONTROL,
        ),
        ("6.10 CONTINUATION without HEADERS", frame(CONTINUATION, 4, 3, b""), PROTOCOL),
        ("6.10 CONTINUATION on stream 0", [headers(1, 7), frame(CONTINUATION, 4, 0, b"")].concat(), PROTOCOL),
        ("6.10 DATA within a head", [headers(1, 7), frame(DATA, 0, 7, b"")].concat(), PROTOCOL),
    ];
    for (what, bytes, code) in cases {
        let mut bench = opened();
        let seen = bench.receive(&bytes);
        assert!(matches!(seen.last(), Some(Seen::Fault(None, _))), "{what}: {seen:?}");
        assert_eq!(go_away_code(&bench.sent()), Some(code), "{what}");
        assert!(bench.codec.is_finished() && bench.receive(&get(101)).is_empty(), "{what}");
        let resets = std::iter::from_fn(|| bench.codec.next_reset()).count();
        assert!(resets >= 2, "{what}");
    }
}

#[test]
fn stream_errors() {
    let cases: Vec<(&str, Vec<u8>, (u32, u32))> = vec![
        ("5.1 half closed: DATA", frame(DATA, 1, 1, b"x"), (1, STREAM_CLOSED)),
        ("5.1 half closed: HEADERS", get(1), (1, STREAM_CLOSED)),
        ("5.1 closed: DATA", frame(DATA, 1, 5, b"x"), (5, STREAM_CLOSED)),
        (
            "5.3.1 HEADERS that depends on itself",
            frame(HEADERS, END | 0x20, 7, &{
                let mut payload = vec![0, 0, 0, 7, 1];
                payload.extend(block(GET));
                payload
            }),
            (7, PROTOCOL),
        ),
        ("5.3.1 PRIORITY that depends on itself", frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 1]), (3, PROTOCOL)),
        ("6.3 length of PRIORITY", frame(PRIORITY, 0, 3, &[0; 4]), (3, FRAME_SIZE)),
        ("6.9 WINDOW_UPDATE by 0", window_update(3, 0), (3, PROTOCOL)),
        ("6.9.1 window above 2^31-1", window_update(3, 0x7fff_ffff), (3, FLOW_CONTROL)),
        ("8.1 second HEADERS without an end", headers(END_HEADERS, 3), (3, PROTOCOL)),
    ];
    for (what, bytes, expected) in cases {
        let mut bench = opened();
        let seen = bench.receive(&bytes);
        assert!(!seen.iter().any(|seen| matches!(seen, Seen::Fault(..))), "{what}: {seen:?}");
        assert_eq!(reset(&bench.sent()), Some(expected), "{what}");
        assert_eq!(bench.receive(&get(101)).len(), 2, "{what}");
    }
}

#[test]
fn what_must_be_borne() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("4.1 unknown frame", frame(0x77, 0xff, 3, b"anything")),
        ("4.1 unknown flags", frame(PING, 0x16, 0, &[0; 8])),
        ("4.1 reserved bit", frame(PING, 0, 0x8000_0000, &[0; 8])),
        ("5.1 closed: PRIORITY", frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 1])),
        ("5.1 idle: PRIORITY", frame(PRIORITY, 0, 99, &[0, 0, 0, 3, 1])),
        ("5.1 closed: WINDOW_UPDATE", window_update(5, 1)),
        ("5.1 closed: RST_STREAM", frame(RST_STREAM, 0, 5, &[0; 4])),
        ("6.5.2 unknown setting", settings(&[(0x99, 7)])),
        ("6.7 acknowledgement of no PING", frame(PING, 1, 0, &[7; 8])),
        ("6.8 GOAWAY of a client", frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0, b'x'])),
        ("6.1 padded DATA", frame(DATA, 8, 3, &[2, b'x', 0, 0])),
    ];
    for (what, bytes) in cases {
        let mut bench = opened();
        let seen = bench.receive(&bytes);
        assert!(
            !seen.iter().any(|seen| matches!(seen, Seen::Fault(..) | Seen::Reset(..))),
            "{what}: {seen:?}"
        );
        let sent = bench.sent();
        assert_eq!((reset(&sent), go_away_code(&sent)), (None, None), "{what}");
        assert_eq!(bench.receive(&get(101)).len(), 2, "{what}");
    }
}

#[test]
fn pings_and_settings_are_answered() {
    let mut bench = opened();
    bench.receive(&[frame(PING, 0, 0, b"12345678"), settings(&[(4, 1)])].concat());
    assert_eq!(frames(&bench.sent()), [(PING, 1, 0, b"12345678".to_vec()), (SETTINGS, 1, 0, vec![])]);
}

#[test]
fn connection_begins_with_preface_and_settings() {
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".to_vec(),
        [HTTP2_PREFACE, &get(1)].concat(),
        [HTTP2_PREFACE, &frame(SETTINGS, 1, 0, &[])].concat(),
    ] {
        let mut bench = Bench::new(Server::new(Settings::default()));
        assert!(matches!(bench.receive(&bytes)[..], [Seen::Fault(..)]));
        assert_eq!(go_away_code(&bench.sent()), Some(PROTOCOL));
    }
    let mut bench = Bench::new(Client::new(Settings::default()));
    assert!(matches!(bench.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")[..], [Seen::Fault(..)]));
}

#[test]
fn head_in_any_number_of_frames_and_with_padding() {
    let fields = block(GET);
    let (first, rest) = fields.split_at(7);
    let (second, third) = rest.split_at(0);
    let mut padded = vec![3, 0x80, 0, 0, 1, 9];
    padded.extend(first);
    padded.extend([0; 3]);
    let bytes = [
        frame(HEADERS, END_STREAM | 8 | 0x20, 1, &padded),
        frame(CONTINUATION, 0, 1, second),
        frame(CONTINUATION, END_HEADERS, 1, third),
    ]
    .concat();
    assert_eq!(server().receive(&bytes), [Seen::Request(1, "GET http shop /".to_owned()), Seen::End(1)]);
}

#[test]
fn client_refuses_what_only_clients_may_send() {
    for (what, bytes) in [
        ("HEADERS on an even stream", frame(HEADERS, END, 2, &block(&[(":status", "200")]))),
        ("HEADERS on a stream never opened", frame(HEADERS, END, 9, &block(&[(":status", "200")]))),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])),
        ("ENABLE_PUSH", settings(&[(2, 1)])),
        ("DATA on a stream never opened", frame(DATA, 0, 9, b"x")),
    ] {
        let (mut bench, _) = asking("GET", true);
        assert!(matches!(bench.receive(&bytes)[..], [Seen::Fault(..)]), "{what}");
        assert_eq!(bench.codec.next_reset(), Some(StreamId(1)));
    }
}
