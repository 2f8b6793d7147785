//! Requests, responses, resets and the end of connections.

use super::*;
use crate::codec::contract::{Ending, Refused};
use crate::codec::testing::response;
use crate::message::{HeaderBlock, ResetReason};

#[test]
fn both_sides_open_with_their_settings() {
    let mut server = Bench::new(Server::new(Settings::default()));
    assert_eq!(server.receive(&HTTP2_PREFACE[..10]), []);
    let sent = frames(&server.sent());
    assert_eq!((sent[0].0, sent[0].1), (SETTINGS, 0));
    assert_eq!(sent[1], (WINDOW_UPDATE, 0, 0, (1024 * 1024 - 65_535u32).to_be_bytes().to_vec()));
    let mut client = Bench::new(Client::new(Settings::default()));
    let stream = client.codec.open_stream().unwrap();
    let head = request("GET", "shop", "/", &[]);
    client.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
    let bytes = client.sent();
    assert!(bytes.starts_with(HTTP2_PREFACE));
    let kinds: Vec<_> = frames(&bytes).iter().map(|frame| frame.0).collect();
    assert_eq!(kinds, [SETTINGS, WINDOW_UPDATE, HEADERS]);
    assert_eq!(server.receive(&HTTP2_PREFACE[10..]), []);
    let rest = &bytes[HTTP2_PREFACE.len()..];
    assert_eq!(server.receive(rest), [Seen::Request(1, "GET http shop /".to_owned()), Seen::End(1)]);
    // Its acknowledgement and our SETTINGS tell the client how much it may open.
    let mut answer = sent_settings(256);
    answer.extend(server.sent());
    assert_eq!(client.receive(&answer), [Seen::Capacity(256)]);
}

fn sent_settings(streams: u32) -> Vec<u8> {
    settings(&[(3, streams)])
}

#[test]
fn request_with_body_and_trailers_gets_its_response() {
    let mut bench = server();
    let bytes = [
        post(1),
        frame(DATA, 0, 1, b"hello "),
        frame(DATA, 0, 1, b"world"),
        frame(HEADERS, END, 1, &block(&[("x-sum", "7")])),
    ]
    .concat();
    assert_eq!(
        bench.receive(&bytes),
        [
            Seen::Request(1, "POST http shop /".to_owned()),
            Seen::data(1, b"hello world"),
            Seen::Trailers(1, "\nx-sum: 7".to_owned()),
            Seen::End(1),
        ]
    );
    let stream = StreamId(1);
    bench.send(Command::SendInterim { stream, head: &response(103, &[]) }).unwrap();
    let head = response(200, &[("content-type", "text/plain"), ("connection", "close")]);
    bench.send(Command::SendResponse { stream, head: &head, body: &[], end: false }).unwrap();
    bench.send(Command::SendData { stream, bytes: b"ok", end: false }).unwrap();
    let mut trailers = HeaderBlock::default();
    trailers.push(b"grpc-status", b"0");
    bench.send(Command::SendTrailers { stream, trailers: &trailers }).unwrap();
    assert_eq!(bench.codec.open_streams(), 0);
    let sent = bench.sent();
    let shape: Vec<_> = frames(&sent).iter().map(|(kind, flags, ..)| (*kind, *flags)).collect();
    assert_eq!(shape, [(HEADERS, END_HEADERS), (HEADERS, END_HEADERS), (DATA, 0), (HEADERS, END)]);
    let (mut client, _) = asking("POST", true);
    assert_eq!(
        client.receive(&sent),
        [
            Seen::Interim(1, "103".to_owned()),
            Seen::Response(1, "200\ncontent-type: text/plain".to_owned()),
            Seen::data(1, b"ok"),
            Seen::Trailers(1, "\ngrpc-status: 0".to_owned()),
            Seen::End(1),
        ]
    );
    assert_eq!((client.codec.open_streams(), client.codec.ending()), (0, Ending::Open));
}

#[test]
fn expectation_is_answered_here_unless_passed_on() {
    let head = frame(HEADERS, END_HEADERS, 1, &with(POST, &[("expect", "100-continue")]));
    let mut bench = server();
    assert_eq!(bench.receive(&head), [Seen::Request(1, "POST http shop /".to_owned())]);
    let (mut client, _) = asking("POST", false);
    assert_eq!(client.receive(&bench.sent()), [Seen::Interim(1, "100".to_owned())]);
    let mut passing = server_with(Settings { pass_expect: true, ..Settings::default() });
    passing.receive(&head);
    assert!(passing.sent().is_empty());
}

#[test]
fn response_without_a_body_by_nature_drops_what_is_given() {
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let mut bench = server();
        bench.receive(&frame(HEADERS, END, 1, &with(&[(":method", method)], &GET[1..])));
        let stream = StreamId(1);
        let head = response(status, &[("content-length", "5")]);
        bench.send(Command::SendResponse { stream, head: &head, body: &[], end: false }).unwrap();
        bench.send(Command::SendData { stream, bytes: b"hello", end: true }).unwrap();
        let sent = bench.sent();
        assert_eq!(
            frames(&sent).iter().map(|frame| (frame.0, frame.1)).collect::<Vec<_>>(),
            [(HEADERS, END)]
        );
        let (mut client, _) = asking(method, true);
        let seen = client.receive(&sent);
        assert_eq!(seen.last(), Some(&Seen::End(1)), "{method} {status}");
    }
}

#[test]
fn resets_travel_with_their_reason() {
    for (code, reason, unprocessed) in [
        (0u32, ResetReason::NoError, false),
        (1, ResetReason::ProtocolError, false),
        (2, ResetReason::Failed, false),
        (7, ResetReason::Refused, true),
        (8, ResetReason::Cancelled, false),
        (11, ResetReason::Overloaded, false),
        (99, ResetReason::Failed, false),
    ] {
        let (mut bench, _) = asking("POST", false);
        let seen = bench.receive(&frame(RST_STREAM, 0, 1, &code.to_be_bytes()));
        assert_eq!(seen, [Seen::Reset(1, reason, unprocessed)]);
        let late = bench.send(Command::SendData { stream: StreamId(1), bytes: b"x", end: true });
        assert_eq!((late, bench.codec.open_streams()), (Err(Refused), 0));
    }
    let mut bench = server();
    bench.receive(&post(1));
    bench.send(Command::ResetStream { stream: StreamId(1), reason: ResetReason::Overloaded }).unwrap();
    assert_eq!(reset(&bench.sent()), Some((1, 11)));
    // What the client had under way is dropped.
    assert_eq!(bench.receive(&frame(DATA, 1, 1, b"late")), []);
    assert_eq!(bench.receive(&frame(HEADERS, END, 1, &block(&[("x", "y")]))), []);
    assert_eq!(bench.receive(&get(3)).len(), 2);
}

#[test]
fn stream_opened_but_never_used_leaves_no_trace() {
    let mut bench = client();
    let first = bench.codec.open_stream().unwrap();
    bench.send(Command::ResetStream { stream: first, reason: ResetReason::Cancelled }).unwrap();
    assert!(bench.sent().is_empty());
    assert_eq!(ask(&mut bench, "GET", true), StreamId(3));
}

#[test]
fn heads_go_out_in_the_order_of_their_streams() {
    let mut bench = client();
    let (first, second) = (bench.codec.open_stream().unwrap(), bench.codec.open_stream().unwrap());
    let head = request("GET", "shop", "/", &[]);
    bench.send(Command::SendRequest { stream: second, head: &head, body: &[], end: true }).unwrap();
    assert_eq!(
        bench.send(Command::SendRequest { stream: first, head: &head, body: &[], end: true }),
        Err(Refused)
    );
    assert_eq!(bench.codec.open_streams(), 1);
}

#[test]
fn client_opens_as_many_streams_as_the_server_takes() {
    let mut bench = client();
    assert_eq!(bench.receive(&sent_settings(2)), [Seen::Capacity(2)]);
    ask(&mut bench, "GET", true);
    ask(&mut bench, "GET", true);
    assert_eq!(bench.codec.open_stream(), None);
    bench.receive(&frame(HEADERS, END, 1, &block(&[(":status", "200")])));
    assert_eq!(bench.codec.open_stream(), Some(StreamId(5)));
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let mut bench = server_with(Settings { max_concurrent_streams: 1, ..Settings::default() });
    assert_eq!(bench.receive(&[post(1), get(3)].concat()).len(), 1);
    assert_eq!(reset(&bench.sent()), Some((3, 7)));
}

#[test]
fn go_away_leaves_what_was_taken_and_gives_back_the_rest() {
    let mut bench = client();
    for _ in 0..3 {
        ask(&mut bench, "GET", true);
    }
    let last = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(
        bench.receive(&last),
        [
            Seen::GoAway(1),
            Seen::Reset(5, ResetReason::Refused, true),
            Seen::Reset(3, ResetReason::Refused, true),
        ]
    );
    assert_eq!((bench.codec.open_stream(), bench.codec.ending()), (None, Ending::Open));
    bench.receive(&frame(HEADERS, END, 1, &block(&[(":status", "200")])));
    assert_eq!(bench.codec.ending(), Ending::Closed);
}

#[test]
fn gentle_go_away_takes_what_was_under_way() {
    let mut bench = server();
    bench.receive(&get(1));
    bench.send(Command::GoAway { gentle: true }).unwrap();
    let sent = frames(&bench.sent());
    assert_eq!(sent[0], (GOAWAY, 0, 0, vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
    assert_eq!((sent[1].0, sent.len()), (PING, 2));
    assert_eq!(bench.receive(&get(3)).len(), 2);
    assert_eq!(bench.receive(&frame(PING, 1, 0, &sent[1].3)), []);
    assert_eq!(frames(&bench.sent()), [(GOAWAY, 0, 0, vec![0, 0, 0, 3, 0, 0, 0, 0])]);
    assert_eq!(bench.receive(&[get(5), post(7), frame(DATA, 1, 7, b"x")].concat()), []);
    for stream in [1, 3] {
        assert_eq!(bench.codec.ending(), Ending::Open);
        let head = response(204, &[]);
        bench
            .send(Command::SendResponse { stream: StreamId(stream), head: &head, body: &[], end: true })
            .unwrap();
    }
    assert_eq!(bench.codec.ending(), Ending::Lingering);
}

#[test]
fn gentle_go_away_does_not_wait_for_a_mute_client() {
    let mut bench = server();
    bench.send(Command::GoAway { gentle: true }).unwrap();
    bench.sent();
    bench.pass_deadline().unwrap();
    assert_eq!(frames(&bench.sent()), [(GOAWAY, 0, 0, vec![0; 8])]);
    assert_eq!(bench.codec.ending(), Ending::Lingering);
}

#[test]
fn end_of_input_cancels_what_is_open() {
    let mut bench = server();
    bench.receive(&[get(1), post(3)].concat());
    assert_eq!(
        bench.receive_end(b""),
        [
            Seen::Reset(3, ResetReason::ConnectionClosed, false),
            Seen::Reset(1, ResetReason::ConnectionClosed, false),
            Seen::InputEnded,
        ]
    );
    assert_eq!(bench.codec.ending(), Ending::Closed);
    let (mut client, _) = asking("GET", true);
    assert_eq!(
        client.receive_end(b""),
        [Seen::Reset(1, ResetReason::ConnectionClosed, false), Seen::InputEnded]
    );
}

#[test]
fn lost_socket_names_every_stream_once() {
    let mut bench = server();
    bench.receive(&[get(1), post(3)].concat());
    let lost: Vec<_> = std::iter::from_fn(|| bench.codec.next_reset()).collect();
    assert_eq!(lost, [StreamId(3), StreamId(1)]);
    assert!(bench.codec.is_finished());
}

#[test]
fn quiet_peer_is_asked_whether_it_lives() {
    let settings =
        Settings { keepalive_interval: Some(1_000), keepalive_timeout: 300, ..Settings::default() };
    let mut bench = client_with(settings);
    bench.pass_deadline().unwrap();
    let ping = frames(&bench.sent());
    assert_eq!((ping[0].0, ping[0].1), (PING, 0));
    bench.receive(&frame(PING, 1, 0, &ping[0].3));
    // Traffic moves the next question.
    bench.now = bench.now.after_milliseconds(900);
    bench.receive(&frame(PING, 0, 0, &[0; 8]));
    bench.sent();
    bench.pass_deadline().unwrap();
    assert!(bench.sent().is_empty());
    bench.pass_deadline().unwrap();
    assert_eq!(frames(&bench.sent()).len(), 1);
    let fault = bench.pass_deadline().unwrap_err();
    assert_eq!(fault.reason, ResetReason::Timeout);
}

#[test]
fn slow_openings_and_heads_are_cut() {
    let mut mute = Bench::new(Server::new(Settings::default()));
    mute.receive(&HTTP2_PREFACE[..5]);
    assert_eq!(mute.pass_deadline().unwrap_err().what, "head timeout");
    let mut bench = server();
    assert_eq!(bench.codec.deadline(), None);
    bench.receive(&get(1)[..12]);
    assert_eq!(bench.pass_deadline().unwrap_err().reason, ResetReason::Timeout);
    let mut fine = server();
    fine.receive(&get(1)[..12]);
    fine.receive(&get(1)[12..]);
    assert_eq!(fine.codec.deadline(), None);
}

#[test]
fn settings_must_be_acknowledged() {
    let mut bench = Bench::new(Client::new(Settings::default()));
    bench.receive(&frame(SETTINGS, 0, 0, &[]));
    bench.pass_deadline().unwrap_err();
    assert_eq!(go_away_code(&bench.sent()), Some(4));
}

#[test]
fn connect_becomes_a_tunnel_on_its_stream() {
    let mut client = client();
    let stream = client.codec.open_stream().unwrap();
    let head = request("CONNECT", "shop:443", "", &[]);
    client.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
    let mut server = server();
    let seen = server.receive(&client.sent());
    assert_eq!(seen, [Seen::Request(1, "CONNECT  shop:443 ".to_owned())]);
    server.send(Command::SendResponse { stream, head: &response(200, &[]), body: &[], end: true }).unwrap();
    server.send(Command::BecomeTunnel { stream }).unwrap();
    server.send(Command::SendData { stream, bytes: b"down", end: false }).unwrap();
    assert_eq!(client.receive(&server.sent()), [Seen::Response(1, "200".to_owned()), Seen::data(1, b"down")]);
    client.send(Command::BecomeTunnel { stream }).unwrap();
    client.send(Command::SendData { stream, bytes: b"up", end: true }).unwrap();
    assert_eq!(server.receive(&client.sent()), [Seen::data(1, b"up"), Seen::End(1)]);
    server.send(Command::SendData { stream, bytes: b"", end: true }).unwrap();
    assert_eq!(client.receive(&server.sent()), [Seen::End(1)]);
    assert_eq!((client.codec.open_streams(), server.codec.open_streams()), (0, 0));
}

#[test]
fn only_a_client_that_sends_elsewhere_is_declined() {
    for resends in [false, true] {
        let mut asking = Bench::new(Client::new(Settings { resends, ..Settings::default() }));
        let (stream, head) = (asking.codec.open_stream().unwrap(), request("GET", "shop", "/", &[]));
        asking.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
        let mut bench = Bench::new(Server::new(Settings::default()));
        bench.receive(&asking.sent());
        let declined = bench.send(Command::DeclineStream { stream });
        assert_eq!(declined.is_ok(), resends);
        let seen = asking.receive(&bench.sent());
        assert_eq!(seen.contains(&Seen::Reset(1, ResetReason::Refused, true)), resends, "{seen:?}");
    }
}
