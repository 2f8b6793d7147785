//! Which heads and trailers are messages (RFC 9113 §8).

use super::*;
use crate::message::ResetReason;

#[test]
fn request_is_understood() {
    let fields = [
        ("cookie", "a=1"),
        ("x-mine", " \tpadded "),
        ("te", "trailers"),
        ("cookie", "b=2"),
        ("host", "SHOP"),
        ("content-length", "0"),
    ];
    let mut bench = server();
    let seen = bench.receive(&frame(HEADERS, END, 1, &with(GET, &fields)));
    let text = "GET http shop /\nx-mine: padded\nte: trailers\ncontent-length: 0\ncookie: a=1; b=2";
    assert_eq!(seen, [Seen::Request(1, text.to_owned()), Seen::End(1)]);
    let without = [(":method", "GET"), (":scheme", "HTTPS"), (":path", "/"), ("host", "shop:1")];
    let seen = bench.receive(&frame(HEADERS, END, 3, &block(&without)));
    assert_eq!(seen[0], Seen::Request(3, "GET https shop:1 /".to_owned()));
}

#[test]
fn malformed_requests_reset_their_stream_only() {
    let replaced = |name: &str, value: &'static str| {
        GET.iter().map(|&(known, old)| (known, if known == name { value } else { old })).collect::<Vec<_>>()
    };
    let without = |name: &str| GET.iter().copied().filter(|(known, _)| *known != name).collect::<Vec<_>>();
    let also = |name: &'static str, value: &'static str| [GET, &[(name, value)]].concat();
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("upper-case name", also("X-Mine", "a")),
        ("empty name", also("", "a")),
        ("blank in name", also("x mine", "a")),
        ("colon in name", also("x:mine", "a")),
        ("line feed in value", also("x", "a\nb")),
        ("NUL in value", also("x", "a\0b")),
        ("carriage return in value", also("x", "a\rb")),
        ("Connection", also("connection", "close")),
        ("Keep-Alive", also("keep-alive", "1")),
        ("Proxy-Connection", also("proxy-connection", "close")),
        ("Transfer-Encoding", also("transfer-encoding", "chunked")),
        ("Upgrade", also("upgrade", "websocket")),
        ("TE", also("te", "trailers, deflate")),
        ("unknown pseudo-header", also(":test", "a")),
        ("response pseudo-header", also(":status", "200")),
        ("extended CONNECT", also(":protocol", "websocket")),
        ("pseudo-header behind a field", [&[("x", "y")], GET].concat()),
        ("method twice", also(":method", "GET")),
        ("scheme twice", also(":scheme", "http")),
        ("path twice", also(":path", "/")),
        ("authority twice", also(":authority", "shop")),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("no authority", without(":authority")),
        ("bad method", replaced(":method", "GE T")),
        ("empty method", replaced(":method", "")),
        ("empty path", replaced(":path", "")),
        ("path without a slash", replaced(":path", "x")),
        ("asterisk without OPTIONS", replaced(":path", "*")),
        ("blank in path", replaced(":path", "/a b")),
        ("scheme", replaced(":scheme", "ftp")),
        ("user in authority", replaced(":authority", "a@b")),
        ("empty authority", replaced(":authority", "")),
        ("Host that differs", also("host", "other")),
        ("Host twice", [&without(":authority")[..], &[("host", "a"), ("host", "a")]].concat()),
        ("CONNECT with path", replaced(":method", "CONNECT")),
        ("content length without a body", also("content-length", "1")),
        ("bad content length", also("content-length", "+0")),
        ("content length twice", [GET, &[("content-length", "0"), ("content-length", "0")]].concat()),
    ];
    for (what, fields) in cases {
        let mut bench = server();
        assert_eq!(bench.receive(&frame(HEADERS, END, 1, &block(&fields))), [], "{what}");
        assert_eq!(reset(&bench.sent()), Some((1, 1)), "{what}");
        assert_eq!(bench.receive(&get(3)).len(), 2, "{what}");
    }
}

#[test]
fn body_must_have_the_length_that_was_said() {
    let head = |length: &str| frame(HEADERS, END_HEADERS, 1, &with(POST, &[("content-length", length)]));
    let trailers = frame(HEADERS, END, 1, &block(&[("x", "y")]));
    for (what, frames, is_fine) in [
        ("right", vec![head("4"), frame(DATA, 0, 1, b"ab"), frame(DATA, 1, 1, b"cd")], true),
        ("right, with trailers", vec![head("2"), frame(DATA, 0, 1, b"ab"), trailers.clone()], true),
        ("short", vec![head("4"), frame(DATA, 1, 1, b"ab")], false),
        ("short, with trailers", vec![head("4"), frame(DATA, 0, 1, b"ab"), trailers], false),
        ("long", vec![head("1"), frame(DATA, 1, 1, b"ab")], false),
        ("long in pieces", vec![head("3"), frame(DATA, 0, 1, b"ab"), frame(DATA, 1, 1, b"ab")], false),
    ] {
        let mut bench = server();
        let seen = bench.receive(&frames.concat());
        let expected = match is_fine {
            true => Seen::End(1),
            false => Seen::Reset(1, ResetReason::ProtocolError, false),
        };
        assert_eq!(seen.last(), Some(&expected), "{what}");
    }
}

#[test]
fn trailers_end_the_message_and_carry_no_framing() {
    let mut bench = server();
    let fields = [("x-sum", "7"), ("content-length", "4"), ("authorization", "x"), ("host", "a")];
    let seen = bench.receive(&[post(1), frame(HEADERS, END, 1, &block(&fields))].concat());
    assert_eq!(seen[1..], [Seen::Trailers(1, "\nx-sum: 7".to_owned()), Seen::End(1)]);
    for trailers in [
        frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")])),
        frame(HEADERS, END, 1, &block(&[(":path", "/")])),
        frame(HEADERS, END, 1, &block(&[("connection", "close")])),
    ] {
        let mut bench = server();
        let seen = bench.receive(&[post(1), trailers].concat());
        assert_eq!(seen[1..], [Seen::Reset(1, ResetReason::ProtocolError, false)]);
    }
}

#[test]
fn malformed_responses_reset_their_stream() {
    let status = |status: &'static str| vec![(":status", status)];
    for (what, frames) in [
        ("no status", vec![frame(HEADERS, END, 1, &block(&[("x", "y")]))]),
        ("letters", vec![frame(HEADERS, END, 1, &block(&status("2x0")))]),
        ("four digits", vec![frame(HEADERS, END, 1, &block(&status("2000")))]),
        ("status 101", vec![frame(HEADERS, END_HEADERS, 1, &block(&status("101")))]),
        ("interim that ends", vec![frame(HEADERS, END, 1, &block(&status("100")))]),
        (
            "request pseudo-header",
            vec![frame(HEADERS, END, 1, &block(&[(":status", "200"), (":path", "/")]))],
        ),
        ("data first", vec![frame(DATA, 1, 1, b"x")]),
        (
            "content length without a body",
            vec![frame(HEADERS, END, 1, &block(&[(":status", "200"), ("content-length", "3")]))],
        ),
        (
            "connection field",
            vec![frame(HEADERS, END, 1, &block(&[(":status", "200"), ("connection", "close")]))],
        ),
        (
            "two heads",
            vec![
                frame(HEADERS, END_HEADERS, 1, &block(&status("200"))),
                frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")])),
            ],
        ),
    ] {
        let (mut bench, _) = asking("GET", true);
        let seen = bench.receive(&frames.concat());
        assert_eq!(seen.last(), Some(&Seen::Reset(1, ResetReason::ProtocolError, false)), "{what}");
        assert_eq!(reset(&bench.sent()), Some((1, 1)), "{what}");
        assert!(!bench.codec.is_finished());
    }
}

#[test]
fn secrets_are_passed_on_as_secrets() {
    let mut fields = block(GET);
    fields.extend(b"\x10\x05x-key\x01s");
    let mut bench = server();
    let mut bytes = frame(HEADERS, END, 1, &fields);
    let mut input = crate::codec::contract::Input::new(&mut bytes, false);
    let mut out = crate::bytes::Out::new(&mut bench.outbox, &mut bench.pool);
    let Ok(Some(crate::codec::contract::Event::RequestReceived { head, .. })) =
        bench.codec.next_event(&mut input, &mut out, bench.now)
    else {
        panic!("no request")
    };
    let mut client = client();
    for _ in 0..2 {
        let stream = client.codec.open_stream().unwrap();
        client.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
        let sent = client.sent();
        assert!(
            sent.windows(2).any(|pair| pair == b"\x10\x04" || pair == b"\x10\x84" || pair == b"\x10\x05")
        );
    }
}
