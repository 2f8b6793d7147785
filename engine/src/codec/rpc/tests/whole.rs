//! A message that goes out at once is the one that would have gone out in parts.

use proptest::prelude::*;

use super::bolt::{plus, v2};
use super::life::large_answer;
use super::others::dubbo;
use super::{client, server};
use crate::bytes::Out;
use crate::codec::contract::{Codec, Command, Event, Input, StreamId};
use crate::codec::rpc::Connection;
use crate::codec::testing::{Bench, response};
use crate::message::{BodyLength, Name, RequestHead, ResponseHead};

/// Head and body of a request that is whole.
fn request_of(name: &str, frame: &[u8]) -> (Box<RequestHead>, Vec<u8>) {
    let mut bench = server(name);
    let mut copy = frame.to_vec();
    let mut input = Input::new(&mut copy, false);
    let mut out = Out::new(&mut bench.outbox, &mut bench.pool);
    match bench.codec.next_event(&mut input, &mut out, bench.now) {
        Ok(Some(Event::RequestReceived { head, body, end: true, .. })) => (head, body.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// Head and body of an answer to the first call.
fn answer_of(frame: &[u8]) -> (Box<ResponseHead>, Vec<u8>) {
    let mut bench = client("bolt");
    bench.codec.open_stream().unwrap();
    let mut copy = frame.to_vec();
    let mut input = Input::new(&mut copy, false);
    let mut out = Out::new(&mut bench.outbox, &mut bench.pool);
    match bench.codec.next_event(&mut input, &mut out, bench.now) {
        Ok(Some(Event::ResponseReceived { head, body, end: true, .. })) => (head, body.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn send(bench: &mut Bench<Connection>, head: &RequestHead, body: &[u8], at_once: bool) -> Vec<u8> {
    let stream = bench.codec.open_stream().unwrap();
    if at_once {
        let taken = bench.send(Command::SendRequest { stream, head, body, end: true }).unwrap().bytes;
        assert_eq!(taken, body.len());
    } else {
        bench.send(Command::SendRequest { stream, head, body: &[], end: false }).unwrap();
        bench.send(Command::SendData { stream, bytes: body, end: true }).unwrap();
    }
    bench.sent()
}

proptest! {
    #[test]
    fn a_request_is_the_same_at_once_and_in_parts(
        kind in 0usize..4,
        sizes in (0usize..9_000, 0usize..9_000),
        edit in 0u8..4,
    ) {
        let (name, frame) = match kind {
            0 => ("bolt", plus(9)),
            1 => ("dubbo", dubbo(9)),
            // With a checksum behind the body, and without.
            version => {
                let map = b"\0\0\0\x01a\0\0\0\x01b";
                ("bolt", v2(9, version as u8 - 1, 1, map, &vec![b'x'; sizes.0]))
            }
        };
        let (mut head, mut body) = request_of(name, &frame);
        match edit {
            0 => {}
            1 => head.headers.push(b"added", b"here"),
            2 => { head.headers.remove(&Name::new("a")); }
            _ if kind > 1 => body.resize(sizes.1, b'y'),
            _ => {}
        }
        let (mut one, mut other) = (client(name), client(name));
        for _ in 0..2 {
            prop_assert_eq!(send(&mut one, &head, &body, true), send(&mut other, &head, &body, false));
        }
        prop_assert_eq!(one.codec.open_streams(), other.codec.open_streams());
        prop_assert_eq!(one.codec.deadline(), other.codec.deadline());
    }

    #[test]
    fn an_answer_is_the_same_at_once_and_in_parts(size in 0usize..9_000, status in 0u16..3) {
        let (theirs, body) = answer_of(&large_answer(1, size as u32));
        let ours = ResponseHead { body: BodyLength::Known(5), ..response(status + 402, &[]) };
        let (head, body) = if status == 0 { (&*theirs, &body[..]) } else { (&ours, &b"words"[..]) };
        let mut sent = Vec::new();
        for at_once in [true, false] {
            let mut bench = server("bolt");
            bench.receive(&plus(7));
            let stream = StreamId(1);
            if at_once {
                bench.send(Command::SendResponse { stream, head, body, end: true }).unwrap();
            } else {
                bench.send(Command::SendResponse { stream, head, body: &[], end: false }).unwrap();
                bench.send(Command::SendData { stream, bytes: body, end: true }).unwrap();
            }
            sent.push((bench.sent(), bench.codec.open_streams()));
        }
        prop_assert!(!sent[0].0.is_empty() && sent[0].1 == 0);
        prop_assert_eq!(&sent[0], &sent[1]);
    }
}
