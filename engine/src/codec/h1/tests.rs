//! Transcripts and tables of both roles: what a peer sends, what the exchange sees and answers, what goes out.

use proptest::prelude::*;

use super::{Client, Server, Settings};
use crate::bytes::Outbox;
use crate::codec::contract::{Codec, Command, Ending, READ_WINDOW, Refused, StreamId};
use crate::codec::testing::{Bench, Seen, fields, request, response};
use crate::message::{BodyLength, HeaderBlock, NameId, ResetReason};

fn server() -> Bench<Server> {
    Bench::new(Server::new(Settings::default()))
}

fn client() -> (Bench<Client>, StreamId) {
    let mut bench = Bench::new(Client::new(Settings::default()));
    let stream = bench.codec.open_stream().unwrap();
    (bench, stream)
}

fn asking(method: &str) -> (Bench<Client>, StreamId) {
    let (mut bench, stream) = client();
    let head = request(method, "shop", "/", &[]);
    bench.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
    bench.sent();
    (bench, stream)
}

fn fault(seen: &[Seen]) -> Option<(Option<u16>, &'static str)> {
    seen.iter().find_map(|seen| match seen {
        Seen::Fault(answered, what) => Some((*answered, *what)),
        _ => None,
    })
}

fn trailers() -> HeaderBlock {
    let mut block = HeaderBlock::default();
    block.push(b"grpc-status", b"0");
    block
}

#[test]
fn request_is_understood_without_what_belongs_to_the_hop() {
    let mut bench = server();
    let seen = bench.receive(
        b"POST /cart?x=1 HTTP/1.1\r\nHost: shop:8080\r\nContent-Length: 5\r\nConnection: keep-alive, x-own\r\n\
          X-Own: gone\r\nKeep-Alive: timeout=5\r\nTE: trailers, deflate\r\nX-Mine: \t a b \r\n\r\nhello",
    );
    let text = "POST http shop:8080 /cart?x=1\ncontent-length: 5\nx-mine: a b\nte: trailers".to_owned();
    assert_eq!(seen, [Seen::Request(1, text), Seen::data(1, b"hello"), Seen::End(1)]);
}

#[test]
fn doubtful_framing_gets_400_and_a_close() {
    let cases: &[(&str, &str)] = &[
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "both content length and transfer coding",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "several content lengths",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", "bad content length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", "bad content length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "bad content length"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            "transfer coding after chunked",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "transfer coding other than chunked",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "transfer coding other than chunked",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "transfer coding after chunked",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", "empty transfer coding"),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer coding in HTTP/1.0"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "folded header line"),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded header line"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", "bare line feed"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "bare line feed"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", "bare line feed"),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare line feed"),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "control byte in header value"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "control byte in header value"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "blank before colon"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n", "bad header name"),
        ("GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", "bad header name"),
        ("GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n", "bad header name"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "several Host fields"),
        ("GET / HTTP/1.1\r\n\r\n", "no Host field"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "bad Host field"),
        ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", "bad Host field"),
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "Host differs from the request target"),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad authority in request target"),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad request target"),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", "bad request target"),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "bad request target"),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "bad request line"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "bad request line"),
        ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", "bad request line"),
        ("GET /\r\nHost: a\r\n\r\n", "bad request line"),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "bad request line"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", "bad HTTP version"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1\r\n\r\n", "CONNECT with a body"),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "bad target of CONNECT"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\n\r\n",
            "connection option names a field for all recipients",
        ),
    ];
    for (bytes, what) in cases {
        let mut bench = server();
        assert_eq!(bench.receive(bytes.as_bytes()), [Seen::Fault(Some(400), what)], "{bytes:?}");
        assert_eq!(
            bench.sent_text(),
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        assert_eq!((bench.codec.ending(), bench.codec.next_reset()), (Ending::Lingering, None));
    }
}

#[test]
fn doubtful_chunks_end_the_connection() {
    for (body, what) in [
        ("5 \r\nhello\r\n", "bad chunk size"),
        ("0x5\r\nhello\r\n", "bad chunk size"),
        ("+5\r\nhello\r\n", "bad chunk size"),
        ("\r\n", "bad chunk size"),
        ("g\r\n", "bad chunk size"),
        ("-1\r\n", "bad chunk size"),
        ("11111111111111111\r\n", "bad chunk size"),
        ("5;a\rb\r\nhello\r\n", "bad chunk size"),
        ("5\nhello\r\n", "bare line feed"),
        ("5\r\nhello!\r\n", "chunk longer than its size"),
        ("5\r\nhello\n0\r\n\r\n", "chunk longer than its size"),
        ("0\r\nbad name: x\r\n\r\n", "blank before colon"),
        ("0\r\nx: y\n\r\n", "bare line feed"),
    ] {
        let mut bench = server();
        let seen = bench.receive(
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes(),
        );
        assert_eq!(fault(&seen), Some((Some(400), what)), "{body:?}");
        assert_eq!((bench.codec.next_reset(), bench.codec.next_reset()), (Some(StreamId(1)), None));
    }
}

#[test]
fn limits_have_their_status() {
    let many: String = (0..101).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = "y".repeat(61_440);
    for (bytes, status) in [
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}"), 431),
        (format!("GET /{long}"), 414),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
    ] {
        assert_eq!(fault(&server().receive(bytes.as_bytes())).unwrap().0, Some(status));
    }
    let settings = Settings { accept_http_10: false, ..Settings::default() };
    let mut bench = Bench::new(Server::new(settings));
    assert_eq!(fault(&bench.receive(b"GET / HTTP/1.0\r\n\r\n")).unwrap().0, Some(426));
}

#[test]
fn slow_head_gets_408() {
    let mut bench = server();
    assert_eq!((bench.receive(b"GET / HT"), bench.codec.deadline().is_some()), (vec![], true));
    assert_eq!(bench.pass_deadline().unwrap_err().answered, Some(408));
    assert!(bench.sent_text().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    let mut fast = server();
    fast.receive(b"GET / HT");
    fast.receive(b"TP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(fast.codec.deadline(), None);
}

#[test]
fn pipelined_requests_wait_for_the_response_before() {
    let mut bench = server();
    let two = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(bench.receive(two).len(), 2);
    assert!(!bench.codec.wants_input() && !bench.carry.is_empty());
    let head = response(200, &[("content-length", "2")]);
    bench.send(Command::SendResponse { stream: StreamId(1), head: &head, body: &[], end: false }).unwrap();
    bench.send(Command::SendData { stream: StreamId(1), bytes: b"ok", end: true }).unwrap();
    assert!(bench.codec.wants_input());
    assert_eq!(bench.receive(b""), [Seen::Request(2, "GET http a /2".to_owned()), Seen::End(2)]);
    assert_eq!(bench.sent_text(), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
}

#[test]
fn pipelining_without_reading_stops_at_the_high_mark() {
    let mut bench = server();
    let requests = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
    let head = response(404, &[("x-filler", "0123456789012345678901234567890123456789")]);
    let mut answered = 0;
    bench.receive_with(&requests, |seen, step| {
        if let Seen::Request(stream, _) = seen {
            step.send(Command::SendResponse { stream: StreamId(*stream), head: &head, body: &[], end: true })
                .unwrap();
            answered += 1;
        }
    });
    assert!((100..1_000).contains(&answered));
    assert!(bench.outbox.len() < Outbox::HIGH_MARK + 1_000 && !bench.codec.wants_input());
    bench.sent();
    bench.codec.on_room();
    assert!(bench.codec.wants_input());
    assert_eq!(bench.receive(b"").len(), 2);
}

#[test]
fn responses_are_framed_by_what_their_recipient_understands() {
    let sized: &[(&str, &str)] = &[("content-length", "2")];
    let hop: &[(&str, &str)] = &[("connection", "x"), ("transfer-encoding", "gzip"), ("keep-alive", "1")];
    for (ask, status, headers, body, expected, ending) in [
        ("GET / HTTP/1.1", 200, sized, Some("ok"), "200 OK\r\ncontent-length: 2\r\n\r\nok", Ending::Open),
        (
            "GET / HTTP/1.1",
            200,
            hop,
            Some("ok"),
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Ending::Open,
        ),
        ("GET / HTTP/1.1", 299, &[], None, "299 \r\ncontent-length: 0\r\n\r\n", Ending::Open),
        ("GET / HTTP/1.1", 200, sized, None, "200 OK\r\ncontent-length: 0\r\n\r\n", Ending::Open),
        ("GET / HTTP/1.1", 204, sized, None, "204 No Content\r\n\r\n", Ending::Open),
        ("GET / HTTP/1.1", 304, sized, None, "304 Not Modified\r\ncontent-length: 2\r\n\r\n", Ending::Open),
        ("HEAD / HTTP/1.1", 200, sized, None, "200 OK\r\ncontent-length: 2\r\n\r\n", Ending::Open),
        ("HEAD / HTTP/1.1", 200, sized, Some("ok"), "200 OK\r\ncontent-length: 2\r\n\r\n", Ending::Open),
        (
            "GET / HTTP/1.1\r\nConnection: close",
            200,
            sized,
            Some("ok"),
            "200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
            Ending::Closed,
        ),
        (
            "GET / HTTP/1.0",
            200,
            sized,
            Some("ok"),
            "200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
            Ending::Closed,
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive",
            200,
            sized,
            Some("ok"),
            "200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok",
            Ending::Open,
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive",
            200,
            &[],
            Some("ok"),
            "200 OK\r\nconnection: close\r\n\r\nok",
            Ending::Closed,
        ),
    ] {
        let mut bench = server();
        bench.receive(format!("{ask}\r\nHost: a\r\n\r\n").as_bytes());
        let (stream, head) = (StreamId(1), response(status, headers));
        bench.send(Command::SendResponse { stream, head: &head, body: &[], end: body.is_none() }).unwrap();
        if let Some(body) = body {
            bench.send(Command::SendData { stream, bytes: body.as_bytes(), end: true }).unwrap();
        }
        assert_eq!(
            (bench.sent_text(), bench.codec.ending()),
            (format!("HTTP/1.1 {expected}"), ending),
            "{ask} {status}"
        );
    }
}

#[test]
fn body_that_breaks_its_announced_length_breaks_the_connection() {
    for (bytes, end) in [(b"toolong".as_slice(), false), (b"o", true)] {
        let mut bench = server();
        bench.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (stream, head) = (StreamId(1), response(200, &[("content-length", "2")]));
        bench.send(Command::SendResponse { stream, head: &head, body: &[], end: false }).unwrap();
        assert_eq!(bench.send(Command::SendData { stream, bytes, end }), Err(Refused));
        assert_eq!(bench.codec.ending(), Ending::Aborted);
    }
}

#[test]
fn trailers_travel_in_chunks_and_are_dropped_elsewhere() {
    for (headers, expected) in [
        (&[][..], "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n"),
        (&[("content-length", "2")], "content-length: 2\r\n\r\nok"),
    ] {
        let mut bench = server();
        bench.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (stream, head) = (StreamId(1), response(200, headers));
        bench.send(Command::SendResponse { stream, head: &head, body: &[], end: false }).unwrap();
        bench.send(Command::SendData { stream, bytes: b"ok", end: false }).unwrap();
        bench.send(Command::SendTrailers { stream, trailers: &trailers() }).unwrap();
        assert_eq!(bench.sent_text(), format!("HTTP/1.1 200 OK\r\n{expected}"));
        assert_eq!(bench.codec.open_streams(), 0);
    }
    let mut bench = server();
    let seen = bench.receive(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n",
    );
    assert_eq!(seen[1..], [Seen::data(1, b"abc"), Seen::Trailers(1, "\nx-sum: 1".to_owned()), Seen::End(1)]);
}

#[test]
fn continue_is_answered_at_once_unless_it_is_passed_on() {
    let ask = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut bench = server();
    let seen = bench.receive(ask);
    assert_eq!(seen, [Seen::Request(1, "POST http a /\ncontent-length: 2".to_owned())]);
    assert_eq!(bench.sent_text(), "HTTP/1.1 100 Continue\r\n\r\n");

    let mut passing = Bench::new(Server::new(Settings { pass_expect: true, ..Settings::default() }));
    let seen = passing.receive(ask);
    assert_eq!(seen, [Seen::Request(1, "POST http a /\nexpect: 100-continue\ncontent-length: 2".to_owned())]);
    passing.send(Command::SendInterim { stream: StreamId(1), head: &response(100, &[]) }).unwrap();
    assert_eq!(passing.sent_text(), "HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn response_over_before_the_request_lingers() {
    let mut bench = server();
    bench.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome");
    bench
        .send(Command::SendResponse { stream: StreamId(1), head: &response(413, &[]), body: &[], end: true })
        .unwrap();
    assert!(bench.sent_text().contains("connection: close"));
    assert_eq!((bench.codec.ending(), bench.codec.open_streams()), (Ending::Lingering, 0));
}

#[test]
fn client_that_leaves_cancels() {
    let cancelled = [Seen::Reset(1, ResetReason::ConnectionClosed, false)];
    for bytes in
        ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab"]
    {
        let mut bench = server();
        bench.receive(bytes.as_bytes());
        assert_eq!(bench.receive_end(b""), cancelled);
        assert_eq!((bench.codec.ending(), bench.codec.next_reset()), (Ending::Closed, None));
    }
    assert_eq!(server().receive_end(b""), [Seen::InputEnded]);
    assert_eq!(fault(&server().receive_end(b"GET /")), Some((None, "connection ended within a head")));
}

#[test]
fn draining_closes_behind_the_next_response() {
    let mut bench = server();
    bench.send(Command::GoAway { gentle: true }).unwrap();
    assert_eq!(bench.codec.ending(), Ending::Open);
    bench.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    bench
        .send(Command::SendResponse { stream: StreamId(1), head: &response(204, &[]), body: &[], end: true })
        .unwrap();
    assert_eq!(bench.sent_text(), "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    assert_eq!(bench.codec.ending(), Ending::Closed);
    let mut idle = server();
    idle.send(Command::GoAway { gentle: false }).unwrap();
    assert_eq!(idle.codec.ending(), Ending::Closed);
}

#[test]
fn upload_without_credit_stops_reading() {
    let mut bench = server();
    bench.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    bench.receive(&vec![0; READ_WINDOW]);
    assert!(!bench.codec.wants_input());
    bench.send(Command::GrantCredit { stream: StreamId(1), bytes: READ_WINDOW }).unwrap();
    assert!(bench.codec.wants_input());
}

#[test]
fn websocket_becomes_a_tunnel_on_both_sides() {
    let mut server = server();
    let seen = server.receive(
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n\x01early",
    );
    assert_eq!(seen, [Seen::Request(1, "GET http a /ws".to_owned()), Seen::End(1)]);

    let (mut client, stream) = client();
    let mut head = request("GET", "a", "/ws", &[]);
    head.upgrade = Some(head.headers.stash(b"websocket"));
    client.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
    assert_eq!(
        client.sent_text(),
        "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    let seen = client.receive(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x02raw",
    );
    assert_eq!(seen, [Seen::Response(1, "101\nupgrade: websocket".to_owned())]);
    assert!(!client.codec.wants_input());
    client.send(Command::BecomeTunnel { stream }).unwrap();
    assert_eq!(client.receive_end(b""), [Seen::data(1, b"\x02raw"), Seen::End(1)]);

    let head = response(101, &[("upgrade", "websocket")]);
    server.send(Command::SendResponse { stream: StreamId(1), head: &head, body: &[], end: false }).unwrap();
    server.send(Command::BecomeTunnel { stream: StreamId(1) }).unwrap();
    assert_eq!(server.receive(b""), [Seen::data(1, b"\x01early")]);
    server.send(Command::SendData { stream: StreamId(1), bytes: b"\x02raw", end: true }).unwrap();
    assert_eq!(
        server.sent_text(),
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x02raw"
    );
    assert_eq!(server.codec.ending(), Ending::HalfClosed);
}

#[test]
fn absolute_target_is_taken_apart() {
    for (target, expected) in [
        ("http://A.b:80/x?y", "GET http A.b:80 /x?y"),
        ("HTTPS://A.b:80", "GET https A.b:80 /"),
        ("http://A.b:80?q", "GET http A.b:80 /?q"),
    ] {
        let seen = server().receive(format!("GET {target} HTTP/1.1\r\nHost: a.b:80\r\n\r\n").as_bytes());
        assert_eq!(seen[0], Seen::Request(1, expected.to_owned()));
    }
}

#[test]
fn requests_are_framed_by_length_or_chunks() {
    let sized: &[(&str, &str)] = &[("content-length", "2")];
    for (method, headers, body, expected) in [
        ("GET", &[][..], None, "\r\n"),
        ("GET", sized, None, "content-length: 0\r\n\r\n"),
        ("POST", &[], None, "content-length: 0\r\n\r\n"),
        ("POST", sized, Some("ok"), "content-length: 2\r\n\r\nok"),
        (
            "POST",
            &[("te", "trailers")],
            Some("ok"),
            "te: trailers\r\nconnection: te\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
    ] {
        let (mut bench, stream) = client();
        let head = request(method, "shop", "/", headers);
        bench.send(Command::SendRequest { stream, head: &head, body: &[], end: body.is_none() }).unwrap();
        if let Some(body) = body {
            bench.send(Command::SendData { stream, bytes: body.as_bytes(), end: true }).unwrap();
        }
        assert_eq!(bench.sent_text(), format!("{method} / HTTP/1.1\r\nhost: shop\r\n{expected}"));
    }
}

#[test]
fn responses_end_as_their_framing_says() {
    for (method, bytes, body, again) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Some("ok"), true),
        ("GET", "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Some("ok"), true),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", Some("ok"), false),
        ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Some("ok"), false),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None, true),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", None, true),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", None, true),
    ] {
        let (mut bench, stream) = asking(method);
        let seen = bench.receive(bytes.as_bytes());
        assert_eq!(seen.last(), Some(&Seen::End(stream.0)), "{bytes}");
        let received = body.map(|body| Seen::data(stream.0, body.as_bytes()));
        assert_eq!(seen.get(1).filter(|seen| matches!(seen, Seen::Data(..))), received.as_ref());
        assert_eq!(
            (bench.codec.open_stream().is_some(), bench.codec.is_finished()),
            (again, !again),
            "{bytes}"
        );
    }
    let (mut bench, stream) = asking("GET");
    bench.receive(b"HTTP/1.1 200 OK\r\n\r\nuntil");
    assert_eq!(bench.receive_end(b" close"), [Seen::data(stream.0, b" close"), Seen::End(stream.0)]);
    assert_eq!(bench.codec.ending(), Ending::Closed);
}

#[test]
fn upstream_that_breaks_the_rules_is_left() {
    for (bytes, what) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            "both content length and transfer coding",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", "several content lengths"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "bad status line"),
        ("HTTP/1.1 099 OK\r\n\r\n", "bad status line"),
        ("ICY 200 OK\r\n\r\n", "bad HTTP version"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "101 without being asked"),
    ] {
        let (mut bench, stream) = asking("GET");
        assert_eq!(bench.receive(bytes.as_bytes()), [Seen::Fault(None, what)], "{bytes}");
        assert_eq!((bench.codec.next_reset(), bench.codec.next_reset()), (Some(stream), None));
    }
    let mut idle = Bench::new(Client::new(Settings::default()));
    assert_eq!(idle.receive(b"HTTP/1.1 200 OK\r\n"), [Seen::Fault(None, "response without a request")]);
}

#[test]
fn interim_heads_are_events_of_their_own() {
    let (mut bench, stream) = asking("GET");
    let seen = bench.receive(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    let expected = [
        Seen::Interim(stream.0, "103\nlink: x".to_owned()),
        Seen::Response(stream.0, "204".to_owned()),
        Seen::End(stream.0),
    ];
    assert_eq!(seen, expected);
    let (mut bench, _) = asking("GET");
    let flood = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(33);
    assert_eq!(fault(&bench.receive(&flood)), Some((None, "too many interim responses")));
}

#[test]
fn upstream_that_goes_away_resets_or_just_ends() {
    let (mut bench, stream) = asking("GET");
    assert_eq!(
        bench.receive_end(b"HTTP/1.1 2"),
        [Seen::Reset(stream.0, ResetReason::ConnectionClosed, false)]
    );
    let mut idle = Bench::new(Client::new(Settings::default()));
    assert_eq!(idle.receive_end(b""), [Seen::InputEnded]);
    assert_eq!(idle.codec.open_stream(), None);
}

/// Messages that a client may send, whole and in pieces of them, some of them wrong.
fn stream_of_requests() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET /a HTTP/1.1\r\nHost: h\r\nX-Y:  z \r\n\r\n".to_vec()),
        Just(b"\r\nPOST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody".to_vec()),
        Just(b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=1\r\nde\r\n0\r\n\r\n".to_vec()),
        Just(b"POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nSum: 1\r\n\r\n".to_vec()),
        Just(b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc".to_vec()),
        proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), any::<u8>()], 0..24),
    ];
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

/// Everything a server sees, with each request answered as it ends.
fn serve(bytes: &[u8], sizes: &[usize]) -> (Vec<Seen>, Vec<u8>) {
    let mut bench = server();
    let (head, mut all, mut rest, mut turn) = (response(204, &[]), Vec::new(), bytes, 0);
    while !rest.is_empty() {
        let size = sizes[turn % sizes.len()].clamp(1, rest.len());
        let seen = bench.receive_with(&rest[..size], |seen, step| {
            if let Seen::End(stream) = seen {
                step.send(Command::SendResponse {
                    stream: StreamId(*stream),
                    head: &head,
                    body: &[],
                    end: true,
                })
                .unwrap();
            }
        });
        (rest, turn) = (&rest[size..], turn + 1);
        for event in seen {
            match (all.last_mut(), event) {
                (Some(Seen::Data(id, known)), Seen::Data(stream, more)) if *id == stream => {
                    known.extend(more)
                }
                (_, event) => all.push(event),
            }
        }
        if matches!(all.last(), Some(Seen::Fault(..))) {
            break;
        }
    }
    (all, bench.sent())
}

proptest! {
    #[test]
    fn any_split_of_the_input_gives_the_same_events(
        bytes in stream_of_requests(),
        sizes in proptest::collection::vec(1usize..40, 1..8),
    ) {
        prop_assert_eq!(serve(&bytes, &sizes), serve(&bytes, &[usize::MAX]));
    }

    #[test]
    fn what_the_client_writes_the_server_reads(
        path in "/[a-z0-9/?=%]{0,40}",
        headers in proptest::collection::vec(("x-[a-z0-9-]{1,12}", "[!-~]([ -~]{0,20}[!-~])?"), 0..12),
        body in proptest::collection::vec(any::<u8>(), 0..2_000),
        chunked: bool,
        sizes in proptest::collection::vec(1usize..400, 1..4),
    ) {
        let (mut client, stream) = client();
        let pairs: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut head = request("PUT", "shop:80", &path, &pairs);
        if !chunked {
            head.headers.push_id(NameId::CONTENT_LENGTH, body.len().to_string().as_bytes());
        }
        let end = body.is_empty() && !chunked;
        client.send(Command::SendRequest { stream, head: &head, body: &[], end }).unwrap();
        if !end {
            client.send(Command::SendData { stream, bytes: &body, end: true }).unwrap();
        }
        let mut server = server();
        let seen = server.receive_split(&client.sent(), &sizes);
        let Some(Seen::Request(1, text)) = seen.first() else { panic!("{seen:?}") };
        let mut expected = head.headers.clone();
        expected.remove_id(NameId::CONTENT_LENGTH);
        let length = if chunked { String::new() } else { format!("\ncontent-length: {}", body.len()) };
        prop_assert_eq!(text, &format!("PUT http shop:80 {path}{}{length}", fields(&expected)));
        let received: Vec<u8> =
            seen.iter().flat_map(|seen| if let Seen::Data(_, bytes) = seen { bytes.clone() } else { vec![] }).collect();
        prop_assert_eq!((received, seen.last()), (body, Some(&Seen::End(1))));
    }

    #[test]
    fn no_bytes_of_an_upstream_break_the_client(bytes in proptest::collection::vec(any::<u8>(), 0..300), keep in 0usize..60) {
        let (mut bench, _) = asking("GET");
        let mut response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        response.truncate(keep);
        response.extend(bytes);
        bench.receive_end(&response);
        let resets = std::iter::from_fn(|| bench.codec.next_reset()).count();
        prop_assert!(resets <= 1 && bench.codec.is_finished());
    }
}

#[test]
fn body_length_is_known_from_the_head() {
    let mut bench = Bench::new(Server::new(Settings::default()));
    bench.carry = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n".to_vec();
    let mut bytes = bench.carry.clone();
    let mut input = crate::codec::contract::Input::new(&mut bytes, false);
    let mut out = crate::bytes::Out::new(&mut bench.outbox, &mut bench.pool);
    match bench.codec.next_event(&mut input, &mut out, bench.now) {
        Ok(Some(crate::codec::contract::Event::RequestReceived { head, end: false, .. })) => {
            assert_eq!(head.body, BodyLength::Known(3));
        }
        other => panic!("{other:?}"),
    }
}
