//! The compact protocol on a bench: frames as Thrift's own libraries write them, and what no peer should send.

use proptest::prelude::*;
use serde_json::json;

use super::super::{Options, Protocol};
use super::frame::MAX_FRAME;
use crate::codec::AnyCodec;
use crate::codec::contract::{Codec, Command, Ending, Refused, StreamId};
use crate::codec::rpc::Match;
use crate::codec::testing::{Bench, Seen};
use crate::message::{BodyLength, RequestHead, ResetReason, ResponseHead};

const CALL: u8 = 1;
const REPLY: u8 = 2;
const EXCEPTION: u8 = 3;
const ONE_WAY: u8 = 4;
/// A result of a method that returns nothing, and one that holds the exception 1.
const VOID: &[u8] = &[0];
const THROWN: &[u8] = &[0x1c, 0x18, 1, b'x', 0, 0];
/// Of a sidecar whose application got nothing of the call: its type 503 in front of the text.
const UNREACHED: &[u8] = b"\x25\xee\x07\x08\x02\x01x\0";

/// `sequence`: as a varint.
fn frame(kind: u8, sequence: &[u8], name: &str, body: &[u8]) -> Vec<u8> {
    let inside = [&[0x82, kind << 5 | 1], sequence, &[name.len() as u8], name.as_bytes(), body].concat();
    [&(inside.len() as u32).to_be_bytes(), &inside[..]].concat()
}

fn protocol(options: &[(&str, serde_json::Value)]) -> Protocol {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Protocol::compile("thrift-compact", &options).unwrap()
}

fn server() -> Bench<AnyCodec> {
    Bench::new(AnyCodec::from(protocol(&[]).server()))
}

/// Head and body of a frame as a codec of the other role read them.
fn request_of(bytes: &[u8]) -> (Box<RequestHead>, Vec<u8>) {
    let mut buffer = bytes.to_vec();
    let mut input = crate::codec::contract::Input::new(&mut buffer, false);
    let mut bench = server();
    let mut out = crate::bytes::Out::new(&mut bench.outbox, &mut bench.pool);
    match bench.codec.next_event(&mut input, &mut out, bench.now) {
        Ok(Some(crate::codec::contract::Event::RequestReceived { head, body, end: true, .. })) => {
            (head, body.to_vec())
        }
        other => panic!("{other:?}"),
    }
}

/// A client on which the call was sent.
fn asked(options: &[(&str, serde_json::Value)], call: &[u8]) -> Bench<AnyCodec> {
    let (mut head, body) = request_of(call);
    let mut bench = Bench::new(AnyCodec::from(protocol(options).client()));
    if let Some(frame) = &mut head.frame {
        // That of other options is another protocol's.
        frame.protocol = protocol(options).digest();
    }
    let head = &head;
    let stream = bench.codec.open_stream().unwrap();
    assert_eq!(bench.codec.open_stream(), None, "one call at a time");
    bench.send(Command::SendRequest { stream, head, body: &body, end: true }).unwrap();
    assert_eq!(bench.sent(), call, "a call leaves as it came");
    bench
}

#[test]
fn calls_are_named_and_leave_as_they_came() {
    let call = frame(CALL, &[0xac, 2], "Cart:add", b"\x18\x03tea\0");
    let mut bench = server();
    assert_eq!(
        bench.receive(&call),
        [
            Seen::Request(1, "POST thrift-compact Cart /Cart/add".into()),
            Seen::data(1, b"\x18\x03tea\0"),
            Seen::End(1)
        ]
    );
    let (head, _) = request_of(&frame(ONE_WAY, &[1], "note", VOID));
    assert_eq!((head.one_way, head.authority(), head.path()), (true, &b"thrift"[..], &b"/thrift/note"[..]));
    assert_eq!((head.frame.unwrap().number, head.body), (1, BodyLength::Known(1)));
    asked(&[], &call);
}

#[test]
fn answers_go_back_as_they_came_and_the_next_call_waits_for_them() {
    let (one, two) = (frame(CALL, &[1], "add", b"\0"), frame(CALL, &[2], "list", b"\0"));
    let mut bench = server();
    let head = ResponseHead::with_status(404);
    assert_eq!(bench.receive(&[&one[..], &two].concat()).len(), 3);
    assert!(!bench.codec.wants_input(), "what follows is a pipelined call");
    bench.send(Command::SendResponse { stream: StreamId(1), head: &head, body: b"", end: true }).unwrap();
    let said = frame(EXCEPTION, &[1], "add", b"\x18\x16no route for this call\x15\x02\0");
    assert_eq!(bench.sent(), said, "1 is an unknown method");
    assert!(bench.codec.wants_input());
    assert_eq!(bench.receive(b"")[0], Seen::Request(2, "POST thrift-compact thrift /thrift/list".into()));
}

#[test]
fn declared_exceptions_are_what_the_option_says() {
    let call = frame(CALL, &[7], "add", b"\0");
    let fails = [("declaredExceptions", json!("serverError"))];
    let long_form = [0x0c, 2, 0x18, 1, b'x', 0, 0];
    for (options, kind, body, status) in [
        (&fails[..0], REPLY, VOID, 200),
        (&[], REPLY, THROWN, 200),
        (&[], EXCEPTION, b"\x18\x01x\x15\x0c\0", 500),
        (&[], EXCEPTION, b"\0", 500),
        (&[], EXCEPTION, UNREACHED, 503),
        (&fails, REPLY, VOID, 200),
        (&fails, REPLY, b"\x05\0\x02\0", 200),
        (&fails, REPLY, THROWN, 500),
        (&fails, REPLY, &long_form, 500),
    ] {
        let mut bench = asked(options, &call);
        let seen = bench.receive(&frame(kind, &[7], "add", body));
        assert_eq!(seen[0], Seen::Response(1, status.to_string()), "{kind} {body:?}");
        assert_eq!((bench.codec.open_streams(), bench.codec.ending()), (0, Ending::Open));
        assert!(bench.codec.open_stream().is_some());
    }
}

#[test]
fn an_answer_is_known_when_enough_of_it_has_come() {
    let call = frame(CALL, &[7], "add", b"\0");
    for (kind, body, status) in
        [(EXCEPTION, UNREACHED, "503"), (EXCEPTION, b"\x18\x01x\x15\x0c\0", "500"), (REPLY, VOID, "200")]
    {
        for size in 1..20 {
            let mut bench = asked(&[], &call);
            let seen = bench.receive_split(&frame(kind, &[7], "add", body), &[size]);
            assert_eq!(seen[0], Seen::Response(1, status.into()), "{size} {seen:?}");
        }
    }
}

#[test]
fn what_is_not_the_answer_ends_the_connection() {
    let call = frame(CALL, &[7], "add", b"\0");
    for (bytes, what) in [
        (frame(REPLY, &[8], "add", VOID), "this is no answer to the call"),
        (frame(CALL, &[7], "add", VOID), "this is no answer to the call"),
        (b"\0\0\0\x10HTTP/1.1 200 OK".to_vec(), "no such frame"),
    ] {
        let mut bench = asked(&[], &call);
        assert_eq!(bench.receive(&bytes), [Seen::Fault(None, what)]);
        assert_eq!((bench.codec.ending(), bench.codec.next_reset()), (Ending::Closed, Some(StreamId(1))));
    }
    let mut idle = Bench::new(AnyCodec::from(protocol(&[]).client()));
    let unasked = [Seen::Fault(None, "an answer nobody asked for")];
    assert_eq!(idle.receive(&frame(REPLY, &[1], "add", VOID)), unasked);
}

#[test]
fn broken_calls_are_told_so() {
    let too_long = [&[0, 0, 0, 9, 0x82, 0x21, 5, 0x81, 9][..], &[b'a'; 20]].concat();
    let larger = [&(MAX_FRAME as u32 + 1).to_be_bytes()[..], &[0x82, 0x21, 5, 3], b"add\0"].concat();
    for (bytes, answered, what) in [
        (too_long, Some(400), "a name is too long"),
        (larger, Some(400), "a frame is larger than the protocol allows"),
        (frame(CALL, &[5], "a/b", b"\0"), Some(400), "a service or method has a character that none has"),
        (frame(ONE_WAY, &[5], "a b", b"\0"), None, "a service or method has a character that none has"),
        (frame(REPLY, &[5], "add", b"\0"), None, "an answer nobody asked for"),
        (frame(5, &[5], "add", b"\0"), None, "no such message"),
        (frame(CALL, &[0x80; 5], "add", b"\0"), None, "a number is too long"),
        (vec![0, 0, 0, 3, 0x82, 0x21, 5, 3], None, "a frame ends within its head"),
        (vec![0; 4], None, "a frame ends within its head"),
    ] {
        let mut bench = server();
        assert_eq!(bench.receive(&bytes), [Seen::Fault(answered, what)], "{bytes:?}");
        assert_eq!(bench.codec.ending(), Ending::Lingering);
        let sent = bench.sent();
        assert_eq!(sent.is_empty(), answered.is_none());
        assert!(sent.is_empty() || sent[4..7] == [0x82, EXCEPTION << 5 | 1, 5], "{sent:?}");
    }
}

#[test]
fn calls_that_are_given_up_are_told_so_or_end_the_connection_to_their_provider() {
    let call = frame(CALL, &[7], "add", b"\0");
    let mut bench = server();
    bench.receive(&call);
    bench.send(Command::ResetStream { stream: StreamId(1), reason: ResetReason::Timeout }).unwrap();
    assert_eq!(bench.sent(), frame(EXCEPTION, &[7], "add", b"\x18\x07timeout\x15\x0c\0"));
    assert_eq!(bench.codec.ending(), Ending::Open);

    let mut bench = asked(&[], &call);
    bench.send(Command::ResetStream { stream: StreamId(1), reason: ResetReason::Cancelled }).unwrap();
    assert_eq!((bench.codec.ending(), bench.codec.open_stream()), (Ending::Closed, None));

    let mut unsent = Bench::new(AnyCodec::from(protocol(&[]).client()));
    let stream = unsent.codec.open_stream().unwrap();
    unsent.send(Command::ResetStream { stream, reason: ResetReason::Cancelled }).unwrap();
    assert!(unsent.codec.open_stream().is_some(), "nothing of it was written");
}

#[test]
fn one_way_calls_are_over_when_they_are_written() {
    let mut bench = asked(&[], &frame(ONE_WAY, &[3], "note", VOID));
    assert!(bench.codec.open_stream().is_some());
    let mut bench = server();
    bench.receive(&frame(ONE_WAY, &[3], "note", VOID));
    let head = ResponseHead::with_status(502);
    let answer = Command::SendResponse { stream: StreamId(1), head: &head, body: b"", end: true };
    assert_eq!(bench.send(answer), Err(Refused));
    bench.send(Command::ResetStream { stream: StreamId(1), reason: ResetReason::NoError }).unwrap();
    assert_eq!((bench.sent(), bench.codec.open_streams()), (vec![], 0));
}

#[test]
fn large_bodies_pass_in_pieces_and_what_is_left_of_an_answered_call_is_passed_over() {
    let body = vec![b'x'; 300_000];
    let call = frame(CALL, &[1], "put", &body);
    let mut bench = server();
    let seen = bench.receive(&call[..100_000]);
    assert!(matches!(&seen[..], [Seen::Request(..), Seen::Data(1, piece)] if piece.len() < 100_000));
    assert!(!bench.codec.wants_input(), "no credit has come back");
    let head = ResponseHead::with_status(503);
    bench.send(Command::SendResponse { stream: StreamId(1), head: &head, body: b"", end: true }).unwrap();
    assert!(bench.codec.wants_input());
    let next = frame(CALL, &[2], "get", b"\0");
    assert_eq!(
        bench.receive(&[&call[100_000..], &next].concat())[0],
        Seen::Request(2, "POST thrift-compact thrift /thrift/get".into())
    );
}

#[test]
fn a_frame_must_go_on_coming() {
    let call = frame(CALL, &[1], "put", b"\0");
    let mut bench = server();
    assert_eq!(bench.codec.deadline(), None);
    bench.receive(&call[..3]);
    assert_eq!(bench.pass_deadline().unwrap_err().what, "a frame takes too long");
    let mut bench = server();
    let within = [Seen::Fault(None, "the connection ended within a frame")];
    assert_eq!(bench.receive_end(&call[..3]), within);
    assert_eq!(server().receive_end(b""), [Seen::InputEnded]);
}

#[test]
fn first_bytes_tell_it_from_the_binary_protocol() {
    let protocol = protocol(&[]);
    assert!(protocol.is_certain());
    for (bytes, found) in [
        (frame(CALL, &[1], "add", b"\0"), Match::Yes),
        (frame(ONE_WAY, &[1], "add", b"\0"), Match::Yes),
        (frame(REPLY, &[1], "add", b"\0"), Match::No),
        (vec![0, 0, 0, 9], Match::Wait),
        (b"\0\0\0\x12\x80\x01\0\x01".to_vec(), Match::No),
    ] {
        assert_eq!(protocol.recognise(&bytes), found, "{bytes:?}");
    }
}

#[test]
fn options_that_are_none_are_refused() {
    let of = |name: &str, value| {
        let options: Options = [(name.to_owned(), value)].into();
        Protocol::compile("thrift-compact", &options).unwrap_err().to_string()
    };
    assert_eq!(
        of("declaredExceptions", json!("maybe")),
        "options: unknown variant `maybe`, expected `success` or `serverError`"
    );
    assert_eq!(of("window", json!(3)), "options: unknown field `window`, expected `declaredExceptions`");
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let one =
        (prop_oneof![Just(CALL), Just(ONE_WAY), any::<u8>()], any::<u32>(), "[a-z:/]{0,9}", 0..70_000_usize);
    let frame_of = |(kind, number, name, size): (u8, u32, String, usize)| {
        let mut sequence = Vec::new();
        super::frame::put_varint(number, &mut sequence);
        frame(kind & 7, &sequence, &name, &vec![0; size])
    };
    let spoil = proptest::option::weighted(0.3, (any::<proptest::sample::Index>(), any::<u8>()));
    (proptest::collection::vec(one.prop_map(frame_of), 0..4), spoil).prop_map(|(frames, spoil)| {
        let mut bytes = frames.concat();
        if let (Some((at, byte)), false) = (spoil, bytes.is_empty()) {
            let at = at.index(bytes.len().min(20));
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_split_gives_the_same_events(
        bytes in frames(), sizes in proptest::collection::vec(1usize..5_000, 1..6), is_client in any::<bool>(),
    ) {
        let codec = || AnyCodec::from(if is_client { protocol(&[]).client() } else { protocol(&[]).server() });
        let answered = |split: &[usize]| {
            let mut bench = Bench::new(codec());
            let mut seen = Vec::new();
            for event in bench.receive_split(&bytes, split) {
                seen.push(event);
            }
            let mut turns = 0;
            // Each call is given up when it has come, so that the next is read.
            while bench.codec.open_streams() > 0 && turns < 9 {
                turns += 1;
                let stream = StreamId(turns);
                let _ = bench.send(Command::ResetStream { stream, reason: ResetReason::NoError });
                seen.extend(bench.receive(b""));
            }
            (seen, bench.sent())
        };
        prop_assert_eq!(answered(&sizes), answered(&[usize::MAX]));
    }
}
