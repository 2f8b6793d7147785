//! Wherever the input is cut, the events are the same; and no bytes make a codec do what it must not.

use std::sync::Arc;

use proptest::prelude::*;

use super::bolt::{plus, three, v2};
use super::others::{dubbo, volt};
use super::{Proxy, client, plan, server};
use crate::bytes::Out;
use crate::codec::contract::{Codec, Command, ConnectionFault, Event, Input};
use crate::codec::rpc::{Connection, WHOLE, compile, explain};
use crate::codec::testing::{Bench, Seen};
use crate::message::Tick;

type NextEvent = for<'b> fn(
    &mut Connection,
    &mut Input<'b>,
    &mut Out<'_>,
    Tick,
) -> Result<Option<Event<'b>>, ConnectionFault>;

const NAMES: [&str; 4] = ["bolt", "dubbo", "thrift", "volt"];

fn frame_of(protocol: usize) -> BoxedStrategy<Vec<u8>> {
    let content = prop_oneof![
        9 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => (WHOLE..3 * WHOLE).prop_map(|size| vec![b'x'; size]),
    ];
    match protocol {
        0 => (any::<u32>(), 0u8..6, content)
            .prop_map(|(id, kind, content)| match kind {
                0 => plus(id),
                1 => three(id),
                2 => v2(id, 2, 1, b"", &content),
                3 => v2(id, 1, 1, b"", &content),
                4 => {
                    let mut frame = plus(id);
                    frame[1] = 2;
                    frame
                }
                _ => v2(id, 2, 0, b"\xff\xff\xff\xff\0\0\0\x01a", &content),
            })
            .boxed(),
        1 => any::<u64>().prop_map(dubbo).boxed(),
        2 => (1u8..5, any::<u32>(), content)
            .prop_map(|(kind, sequence, content)| {
                let mut message = vec![0x80, 1, 0, kind, 0, 0, 0, 3, b'a', b':', b'b'];
                message.extend(sequence.to_be_bytes());
                message.extend(content);
                [&(message.len() as u32).to_be_bytes(), &message[..]].concat()
            })
            .boxed(),
        _ => (1u8..6, any::<u16>(), proptest::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(opcode, call, data)| {
                let special: &[u8] = match opcode {
                    1 | 3 => &[0, 1, 2],
                    2 => &[0],
                    _ => &[],
                };
                volt(opcode, call, special, "a#b", "k=v;", &data)
            })
            .boxed(),
    }
}

fn stream_of_frames() -> impl Strategy<Value = (usize, Vec<u8>)> {
    (0usize..4).prop_flat_map(|protocol| {
        let frames = proptest::collection::vec(frame_of(protocol), 0..5);
        let spoil = proptest::option::weighted(0.3, (any::<proptest::sample::Index>(), any::<u8>()));
        (Just(protocol), frames, spoil).prop_map(|(protocol, frames, spoil)| {
            let mut bytes = frames.concat();
            if let Some((index, byte)) = spoil
                && !bytes.is_empty()
            {
                let at = index.index(bytes.len().min(300));
                bytes[at] = byte;
            }
            (protocol, bytes)
        })
    })
}

/// Pieces of a message that turned out to be broken: how many came before is a matter of the cuts.
fn without_torn(mut seen: Vec<Seen>) -> Vec<Seen> {
    if matches!(seen.last(), Some(Seen::Fault(..))) {
        let ended: Vec<u32> =
            seen.iter().filter_map(|seen| if let Seen::End(id) = seen { Some(*id) } else { None }).collect();
        seen.retain(|seen| !matches!(seen, Seen::Data(id, _) if !ended.contains(id)));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_short_way_of_most_frames_gives_what_the_long_one_gives(
        (protocol, bytes) in stream_of_frames(),
        given in proptest::option::of(1u32..5),
        is_client in any::<bool>(),
        limits in proptest::option::weighted(0.7, (prop_oneof![30u64..300, Just(9_000)], 20u64..200, 1u32..3)),
    ) {
        let mut plan = plan(NAMES[protocol]);
        if let Some((frame, head, calls)) = limits {
            (plan.limits.frame, plan.limits.head, plan.limits.calls) = (frame, head, calls);
        }
        let description = Arc::new(compile(&plan).unwrap());
        let told = |next: NextEvent| {
            let description = Arc::clone(&description);
            let codec = if is_client { Connection::client(description) } else { Connection::server(description) };
            let mut bench = Bench::new(codec);
            let mut copy = bytes.clone();
            if is_client {
                // One of the answers, or the first, finds its call.
                let id = |bytes: &[u8]| bytes.first_chunk().map_or(1, |id| u32::from_be_bytes(*id));
                let first = if protocol == 0 { id(bytes.get(5..).unwrap_or(&[])) } else { 1 };
                bench.codec.count_from(given.unwrap_or(first).wrapping_sub(1));
                bench.codec.open_stream();
            }
            let mut input = Input::new(&mut copy, false);
            let mut told = Vec::new();
            loop {
                let mut out = Out::new(&mut bench.outbox, &mut bench.pool);
                let event = next(&mut bench.codec, &mut input, &mut out, Tick(1));
                let is_over = !matches!(event, Ok(Some(_)));
                told.push(format!("{event:?} {}", input.consumed()));
                if is_over {
                    break;
                }
            }
            told.push(format!("{:?} {:?} {}", bench.sent(), bench.codec.deadline(), bench.codec.open_streams()));
            told
        };
        prop_assert_eq!(told(Connection::next_event), told(Connection::next_event_closely));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_events(
        (protocol, bytes) in stream_of_frames(),
        sizes in proptest::collection::vec(prop_oneof![1usize..40, 1_000usize..90_000], 1..6),
        is_client in any::<bool>(),
    ) {
        // Thousands of single bytes teach nothing new.
        let sizes: Vec<_> = sizes.iter().map(|&size| size.max(bytes.len() / 200)).collect();
        let mut benches = [(); 2].map(|()| if is_client { client(NAMES[protocol]) } else { server(NAMES[protocol]) });
        for bench in &mut benches {
            // Callers for the responses: their numbers are what a client's ids are.
            for _ in 0..5 * u32::from(is_client) {
                bench.codec.open_stream();
            }
        }
        let [whole, split] = &mut benches;
        let (seen, seen_split) = (whole.receive(&bytes), split.receive_split(&bytes, &sizes));
        prop_assert_eq!(without_torn(seen), without_torn(seen_split));
        prop_assert_eq!(whole.sent(), split.sent());
        prop_assert_eq!(whole.codec.open_streams(), split.codec.open_streams());
    }

    #[test]
    fn limits_hold_whatever_comes((protocol, bytes) in stream_of_frames(), cut in 1usize..5_000) {
        let mut plan = plan(NAMES[protocol]);
        (plan.limits.frame, plan.limits.head, plan.limits.headers) = (9_000, 300, 3);
        (plan.limits.calls, plan.limits.provider_calls) = (2, 2);
        let description = std::sync::Arc::new(compile(&plan).unwrap());
        let mut bench = crate::codec::testing::Bench::new(crate::codec::rpc::Connection::server(description));
        let mut seen = Vec::new();
        for piece in bytes.chunks(cut) {
            seen.extend(bench.receive(piece));
            prop_assert!(bench.codec.open_streams() <= 2);
            // A frame beyond the limit is not waited for.
            prop_assert!(bench.carry.len() <= 9_000 + cut, "{}", bench.carry.len());
            if matches!(seen.last(), Some(Seen::Fault(..))) {
                break;
            }
        }
        for id in 1..=2 {
            let body: usize = seen.iter().map(|seen| match seen {
                Seen::Data(stream, data) if *stream == id => data.len(),
                _ => 0,
            }).sum();
            prop_assert!(body <= 9_000);
        }
    }

    #[test]
    fn what_is_read_is_written_again(frames in proptest::collection::vec(frame_of(0), 1..4)) {
        for frame in frames {
            let mut proxy = Proxy::new("bolt");
            let (up, _) = proxy.caller_sends(&frame);
            if frame[1] == 0 {
                continue;
            }
            prop_assert!(proxy.faults.is_empty());
            // Once more through a proxy with the same ids: nothing changes any more.
            let mut second = Proxy::new("bolt");
            prop_assert!(second.caller_sends(&up).0 == up);
            prop_assert_eq!(up.len(), frame.len());
        }
    }

    #[test]
    fn any_bytes_are_survived(protocol in 0usize..4, bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..60) {
        let mut mixed = match protocol {
            0 => v2(1, 2, 1, b"\0\0\0\x01a\0\0\0\x01b", b"body"),
            1 => dubbo(1),
            2 => b"\0\0\0\x14\x80\x01\0\x01\0\0\0\x03addxxxx\0".to_vec(),
            _ => volt(1, 1, &[0, 0, 1], "a#b", "k=v;", b"data"),
        };
        mixed.truncate(at);
        mixed.extend(&bytes);
        for mut bench in [server(NAMES[protocol]), client(NAMES[protocol])] {
            let _ = bench.codec.open_stream();
            bench.receive(&mixed);
            bench.receive_end(b"");
            while bench.codec.next_reset().is_some() {}
            assert_eq!(bench.codec.open_streams(), 0);
            let _ = bench.send(Command::GoAway { gentle: false });
        }
        let _ = explain(&plan(NAMES[protocol]), &mixed);
    }

    #[test]
    fn spoilt_plans_are_refused_or_harmless(protocol in 0usize..4, at in any::<proptest::sample::Index>(), byte in any::<u8>(), frame in frame_of(0)) {
        let mut plan = rmp_serde::to_vec_named(&plan(NAMES[protocol])).unwrap();
        let at = at.index(plan.len());
        plan[at] = byte;
        if let Ok(plan) = rmp_serde::from_slice::<crate::plan::RpcProtocol>(&plan)
            && let Ok(description) = compile(&plan)
        {
            let description = std::sync::Arc::new(description);
            let mut bench = crate::codec::testing::Bench::new(crate::codec::rpc::Connection::server(description));
            bench.receive(&frame);
            bench.receive(&dubbo(1));
        }
    }
}
