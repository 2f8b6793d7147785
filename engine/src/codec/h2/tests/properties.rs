//! What holds for any input: splits do not show, what is written is read, credit comes back, hostile bytes break nothing.

use super::*;
use crate::codec::testing::{fields, response};
use crate::message::NameId;
use proptest::prelude::*;

/// Whole and broken frames of a client, with enough sense to get somewhere.
fn client_bytes() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![Just(0u32), Just(1), Just(3), Just(5), Just(7), 0u32..12];
    let payload = prop_oneof![
        Just(block(GET)),
        Just(with(POST, &[("content-length", "4"), ("cookie", "a"), ("cookie", "b")])),
        Just(block(&[("x-sum", "1")])),
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(vec![0; 4]),
        Just(vec![0, 0, 0, 9]),
        Just(vec![0; 8]),
    ];
    let piece = prop_oneof![
        8 => (0u8..11, prop_oneof![Just(0u8), Just(1), Just(4), Just(5), Just(0xd), any::<u8>()], stream.clone(), payload)
            .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload)),
        4 => (0u32..6).prop_map(|number| get(1 + 2 * number)),
        4 => (0u32..6).prop_map(|number| post(1 + 2 * number)),
        3 => (stream, 0usize..3_000).prop_map(|(stream, length)| frame(DATA, 0, stream, &vec![7; length])),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
    ];
    proptest::collection::vec(piece, 1..12)
        .prop_map(|pieces| [HTTP2_PREFACE, &frame(SETTINGS, 0, 0, &[]), &pieces.concat()].concat())
}

/// Data joins what came last on its stream, wherever events of others lie.
fn join(event: Seen, all: &mut Vec<Seen>) {
    if let Seen::Data(stream, more) = &event {
        let last = all.iter_mut().rev().find(|seen| match seen {
            Seen::Data(id, _) | Seen::Request(id, _) | Seen::End(id) | Seen::Trailers(id, _) => id == stream,
            Seen::Reset(id, ..) => id == stream,
            _ => false,
        });
        if let Some(Seen::Data(_, known)) = last {
            return known.extend(more);
        }
    }
    all.push(event);
}

/// Everything a server sees and says, with each request answered as it ends.
fn serve(bytes: &[u8], sizes: &[usize]) -> (Vec<Seen>, Vec<u8>) {
    let mut bench = Bench::new(Server::new(Settings::default()));
    let (head, mut all, mut rest, mut turn) = (response(204, &[]), Vec::new(), bytes, 0);
    while !rest.is_empty() && !bench.codec.is_finished() {
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
            join(event, &mut all);
        }
    }
    all.extend(std::iter::from_fn(|| bench.codec.next_reset()).map(|stream| Seen::End(stream.0)));
    (all, bench.sent())
}

proptest! {
    #[test]
    fn any_split_of_the_input_gives_the_same_events(
        bytes in client_bytes(),
        sizes in proptest::collection::vec(1usize..60, 1..8),
    ) {
        prop_assert_eq!(serve(&bytes, &sizes), serve(&bytes, &[usize::MAX]));
    }

    #[test]
    fn no_bytes_of_an_upstream_break_the_client(
        bytes in client_bytes(),
        garbage in proptest::collection::vec(any::<u8>(), 0..200),
        sizes in proptest::collection::vec(1usize..60, 1..4),
    ) {
        let mut bench = Bench::new(Client::new(Settings::default()));
        ask(&mut bench, "POST", false);
        ask(&mut bench, "GET", true);
        let rest = &bytes[HTTP2_PREFACE.len()..];
        bench.receive_split(&[rest, &garbage].concat(), &sizes);
        bench.receive_end(b"");
        let resets = std::iter::from_fn(|| bench.codec.next_reset()).count();
        prop_assert!(resets <= 2 && bench.codec.is_finished() && bench.codec.open_streams() == 0);
    }

    #[test]
    fn what_one_side_writes_the_other_reads(
        path in "/[a-z0-9/?=%]{0,40}",
        headers in proptest::collection::vec(("x-[a-z0-9-]{1,12}", "[!-~]([ -~]{0,40}[!-~])?"), 0..12),
        long in 0usize..40_000,
        body in proptest::collection::vec(any::<u8>(), 0..60_000),
        sizes in proptest::collection::vec(1usize..9_000, 1..4),
    ) {
        let mut client = client();
        let mut server = server();
        for round in 0..2 {
            let mut head = request("PUT", "shop:80", &path, &[]);
            for (name, value) in &headers {
                head.headers.push(name.as_bytes(), value.as_bytes());
            }
            head.headers.push(b"x-long", &vec![b'z'; long]);
            let stream = client.codec.open_stream().unwrap();
            let end = body.is_empty();
            client.send(Command::SendRequest { stream, head: &head, body: &[], end }).unwrap();
            let mut sent = client.sent();
            let mut rest = &body[..];
            while !rest.is_empty() {
                let accepted = client.send(Command::SendData { stream, bytes: rest, end: true }).unwrap().bytes;
                rest = &rest[accepted..];
                sent.extend(client.sent());
                client.receive(&[window_update(0, 30_000), window_update(stream.0, 30_000)].concat());
            }
            let seen = server.receive_split(&sent, &sizes);
            let Some(Seen::Request(id, text)) = seen.first() else { panic!("{seen:?}") };
            prop_assert_eq!((*id, text), (stream.0, &format!("PUT http shop:80 {path}{}", fields(&head.headers))));
            let received: Vec<u8> = seen
                .iter()
                .flat_map(|seen| if let Seen::Data(_, bytes) = seen { bytes.clone() } else { vec![] })
                .collect();
            prop_assert_eq!((&received, seen.last()), (&body, Some(&Seen::End(stream.0))), "round {}", round);

            let mut head = response(200, &[("server", "mainstay")]);
            head.headers.push_id(NameId::CONTENT_LENGTH, b"2");
            server.send(Command::SendResponse { stream, head: &head, body: &[], end: false }).unwrap();
            server.send(Command::SendData { stream, bytes: b"ok", end: true }).unwrap();
            let seen = client.receive_split(&server.sent(), &sizes);
            let text = format!("200{}", fields(&head.headers));
            prop_assert_eq!(
                seen.into_iter().filter(|seen| !matches!(seen, Seen::Writable(_))).collect::<Vec<_>>(),
                [Seen::Response(stream.0, text), Seen::data(stream.0, b"ok"), Seen::End(stream.0)]
            );
        }
        prop_assert_eq!((client.codec.open_streams(), server.codec.open_streams()), (0, 0));
    }

    #[test]
    fn credit_in_is_credit_out(
        steps in proptest::collection::vec((0u8..6, 0u32..4, 0usize..20_000), 1..60),
    ) {
        let mut bench = server();
        let (mut opened, mut held): (u32, std::collections::HashMap<u32, usize>) = (0, Default::default());
        for (kind, pick, amount) in steps {
            let stream = 1 + 2 * pick.min(opened.saturating_sub(1));
            match kind {
                0 => {
                    bench.receive(&post(1 + 2 * opened));
                    held.insert(1 + 2 * opened, 0);
                    opened += 1;
                }
                1 | 2 if held.contains_key(&stream) => {
                    let window_left = 256 * 1024 - held[&stream];
                    let bytes = vec![0; amount.min(16_000).min(window_left / 2)];
                    for event in bench.receive(&frame(DATA, 0, stream, &bytes)) {
                        match event {
                            Seen::Data(_, bytes) => *held.get_mut(&stream).unwrap() += bytes.len(),
                            Seen::Reset(..) => { held.remove(&stream); }
                            other => panic!("{other:?}"),
                        }
                    }
                }
                3 if held.contains_key(&stream) => {
                    let bytes = amount.min(held[&stream]);
                    *held.get_mut(&stream).unwrap() -= bytes;
                    bench.send(Command::GrantCredit { stream: StreamId(stream), bytes }).unwrap();
                }
                4 if held.remove(&stream).is_some() => {
                    let reason = crate::message::ResetReason::Cancelled;
                    bench.send(Command::ResetStream { stream: StreamId(stream), reason }).unwrap();
                }
                5 if held.remove(&stream).is_some() => {
                    bench.receive(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
                }
                _ => {}
            }
            bench.sent();
            let missing = bench.codec.connection().missing_credit() as usize;
            prop_assert_eq!(missing, held.values().sum::<usize>());
        }
    }
}
