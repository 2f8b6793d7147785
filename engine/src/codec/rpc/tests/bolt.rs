//! SOFABolt: frames as Java, Node and Python peers wrote them.

use super::{Proxy, bytes, client, server};
use crate::codec::contract::{Codec, Command, Ending, StreamId};
use crate::codec::rpc::WHOLE;
use crate::codec::rpc::checksum::Running;
use crate::codec::testing::{Seen, response};
use crate::message::{Name, ResetReason};
use crate::plan::RpcAlgorithm;

const HEARTBEAT: &str = "0101 0000 01 00000007 01 00000bb8 0000 0000 00000000";
const HEARTBEAT_WITH_CRC: &str = "02 02 01 0000 01 00000007 01 01 00000bb8 0000 0000 00000000 87629fc5";
const CLASS: &str = "com.alipay.sofa.rpc.core.request.SofaRequest";

/// `plus(1, 2)` as sofa-rpc-node 2.10.0 calls it.
pub fn plus(id: u32) -> Vec<u8> {
    let content = bytes(
        r#"4f bc "com.alipay.sofa.rpc.core.request.SofaRequest" 95 0a "methodName" 0d "methodArgSigs"
        17 "targetServiceUniqueName" 0d "targetAppName" 0c "requestProps" 6f 90 04 "plus" 56 74 0011 "[java.lang.String" 6e 02
        03 "int" 03 "int" 7a 1f "com.nodejs.test.TestService:1.0" 00 4d 07 "service" 1f "com.nodejs.test.TestService:1.0" 7a 91 92"#,
    );
    let map = bytes(r#"00000007 "service" 0000001f "com.nodejs.test.TestService:1.0""#);
    let mut frame = bytes("01 01 0001 01");
    frame.extend(id.to_be_bytes());
    frame.extend(bytes("01 00000bb8 002c"));
    frame.extend((map.len() as u16).to_be_bytes());
    frame.extend((content.len() as u32).to_be_bytes());
    frame.extend(CLASS.as_bytes());
    frame.extend(map);
    frame.extend(content);
    frame
}

/// Its response: 3.
pub fn three(id: u32) -> Vec<u8> {
    let mut frame = bytes("01 00 0002 01");
    frame.extend(id.to_be_bytes());
    frame.extend(bytes(
        r#"01 0000 002e 0000 00000062 "com.alipay.sofa.rpc.core.response.SofaResponse"
        4f be "com.alipay.sofa.rpc.core.response.SofaResponse" 94 07 "isError" 08 "errorMsg" 0b "appResponse" 0d "responseProps"
        6f 90 46 4e 93 4e"#,
    ));
    frame
}

/// A request of version 2.
pub fn v2(id: u32, ver1: u8, switch: u8, map: &[u8], content: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, ver1, 1, 0, 1, 1];
    frame.extend(id.to_be_bytes());
    frame.extend([11, switch, 0, 0, 3, 0xe8, 0, 0]);
    frame.extend((map.len() as u16).to_be_bytes());
    frame.extend((content.len() as u32).to_be_bytes());
    frame.extend(map);
    frame.extend(content);
    if ver1 == 2 && switch & 1 == 1 {
        frame.extend(crc(&frame));
    }
    frame
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut running = Running::new(RpcAlgorithm::Crc32);
    running.update(bytes);
    (running.value(4) as u32).to_be_bytes()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut map = Vec::new();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        map.extend((text.len() as u32).to_be_bytes());
        map.extend(text.as_bytes());
    }
    map
}

#[test]
fn a_request_is_read_as_the_node_client_wrote_it() {
    let mut bench = server("bolt");
    let frame = plus(1);
    let seen = bench.receive(&frame);
    let service = "com.nodejs.test.TestService:1.0";
    let head = format!(
        "POST bolt {service} /{service}/plus\nbolt-class: {CLASS}\nbolt-codec: 1\nbolt-version: 1\nservice: {service}"
    );
    let content = &frame[22 + 44 + 46..];
    assert_eq!(seen, [Seen::Request(1, head), Seen::data(1, content), Seen::End(1)]);
}

#[test]
fn frames_pass_unchanged_but_for_the_id() {
    let mut proxy = Proxy::new("bolt");
    assert_eq!(proxy.caller_sends(&plus(77)), (plus(1), vec![]));
    assert_eq!(proxy.caller_sends(&plus(78)), (plus(2), vec![]));
    assert_eq!(proxy.server_sends(&[three(2), three(1)].concat()), [three(78), three(77)].concat());
    assert_eq!((proxy.down.open_streams(), proxy.up.open_streams()), (0, 0));
}

#[test]
fn heartbeats_are_answered_and_go_no_further() {
    let mut proxy = Proxy::new("bolt");
    let answer = bytes("0100 0000 01 00000007 01 0000 0000 0000 00000000");
    assert_eq!(proxy.caller_sends(&bytes(HEARTBEAT)), (vec![], answer));
    // Version 2 with a checksum; the answer has neither switch nor checksum, as Java's.
    let answer = bytes("02 02 00 0000 01 00000007 01 00 0000 0000 0000 00000000");
    assert_eq!(proxy.caller_sends(&bytes(HEARTBEAT_WITH_CRC)), (vec![], answer));
    assert!(proxy.faults.is_empty());
}

#[test]
fn checksums_are_verified_and_made_anew_where_the_frame_has_one() {
    for (ver1, switch) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        let mut proxy = Proxy::new("bolt");
        let frame = v2(900, ver1, switch, &pairs(&[("service", "s:1.0")]), b"body");
        let (up, down) = proxy.caller_sends(&frame);
        assert_eq!((up, down), (v2(1, ver1, switch, &pairs(&[("service", "s:1.0")]), b"body"), vec![]));
        assert!(proxy.faults.is_empty(), "{ver1} {switch} {:?}", proxy.faults);
    }
    let mut frame = v2(9, 2, 1, &[], b"body");
    *frame.last_mut().unwrap() ^= 1;
    let mut bench = server("bolt");
    assert_eq!(bench.receive(&frame), [Seen::Fault(Some(400), "a checksum is wrong")]);
    // The caller learns why: status 9, with a checksum again.
    let mut reply = bytes("02 02 00 0002 01 00000009 0b 01 0009 0000 0000 00000000");
    reply.extend(crc(&reply));
    assert_eq!(bench.sent(), reply);
    assert_eq!(bench.codec.ending(), Ending::Lingering);
}

#[test]
fn both_versions_may_share_a_port_but_not_an_upstream_connection() {
    let mut bench = server("bolt");
    let frames = [plus(1), v2(1, 2, 1, &[], b"x"), bytes(HEARTBEAT), v2(3, 1, 0, &[], b"")].concat();
    let requests = bench.receive(&frames).into_iter().filter(|seen| matches!(seen, Seen::Request(..)));
    assert_eq!(requests.count(), 3);

    let mut caller = server("bolt");
    let mut heads = Vec::new();
    for frame in [plus(1), v2(1, 2, 1, &[], b""), v2(1, 1, 0, &[], b""), v2(5, 2, 0, &[], b"")] {
        heads.push(super::life::head_of(&mut caller, &frame));
    }
    let mut upstream = client("bolt");
    let mut try_send = |head: &crate::message::RequestHead| {
        let stream = upstream.codec.open_stream().unwrap();
        upstream.send(Command::SendRequest { stream, head, body: &[], end: true }).is_ok()
    };
    assert!(try_send(&heads[1]));
    assert_eq!([&heads[0], &heads[2], &heads[3]].map(|head| try_send(head)), [false, false, true]);
    assert_eq!(upstream.codec.pin(), heads[3].frame.map(|frame| frame.pin));
}

#[test]
fn one_way_calls_and_deadlines_are_understood() {
    let mut frame = plus(4);
    (frame[1], frame[10]) = (2, 0xff);
    frame[11..14].copy_from_slice(&[0xff, 0xff, 0xff]);
    let mut bench = server("bolt");
    let head = super::life::head_of(&mut bench, &frame);
    assert!(head.one_way);
    assert_eq!(head.deadline_milliseconds, None);
    assert_eq!(super::life::head_of(&mut bench, &plus(5)).deadline_milliseconds, Some(3_000));
    let map = pairs(&[("sofa_head_deadline_remain_time", "250"), ("sofa_head_method_name", "m")]);
    assert_eq!(super::life::head_of(&mut bench, &v2(1, 1, 0, &map, b"")).deadline_milliseconds, Some(250));
}

/// `plus` with a header that names a method too.
fn plus_also_named(method: &str) -> Vec<u8> {
    let mut frame = plus(9);
    let (class, map) = (CLASS.len(), usize::from(u16::from_be_bytes([frame[16], frame[17]])));
    let named = pairs(&[("sofa_head_method_name", method)]);
    let end = 22 + class + map;
    frame.splice(end..end, named.iter().copied());
    frame[16..18].copy_from_slice(&((map + named.len()) as u16).to_be_bytes());
    frame
}

#[test]
fn nobody_can_name_one_method_to_policies_and_another_to_the_server() {
    let head = super::life::head_of(&mut server("bolt"), &plus_also_named("plus"));
    assert_eq!(head.path(), b"/com.nodejs.test.TestService:1.0/plus");
    let seen = server("bolt").receive(&plus_also_named("minus"));
    assert_eq!(seen, [Seen::Fault(Some(400), "its header and its body name different methods")]);
}

#[test]
fn a_changed_header_map_keeps_the_others_as_they_were_written() {
    let mut proxy = Proxy::new("bolt");
    proxy.edit_request = |head| {
        head.headers.set(&Name::new("service"), b"other:1.0");
        head.headers.set(&Name::new("rpc_trace_context.sofarpcid"), b"0.1");
        head.headers.push(b"x-new", b"");
        head.headers.remove(&Name::new("app"));
    };
    let sent =
        pairs(&[("app", "a"), ("service", "s:1.0"), ("rpc_trace_context.sofaRpcId", "0"), ("Kept", "K")]);
    let expected = pairs(&[
        ("Kept", "K"),
        ("service", "other:1.0"),
        ("rpc_trace_context.sofaRpcId", "0.1"),
        ("x-new", ""),
    ]);
    let (up, _) = proxy.caller_sends(&v2(5, 2, 1, &sent, b"body"));
    assert_eq!(up, v2(1, 2, 1, &expected, b"body"));
}

#[test]
fn what_is_in_front_of_a_body_is_bounded() {
    let many = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|index| pairs(&[(format!("n{index}").as_str(), "v")])).collect()
    };
    let long = |length: usize| pairs(&[("long", "v".repeat(length).as_str())]);
    for (map, refused) in [
        (many(128), None),
        (many(129), Some("too many headers, or too long a name")),
        (long(32_801), None),
        (long(32_802), Some("a frame has too much in front of its body")),
    ] {
        let mut bench = server("bolt");
        let seen = bench.receive(&v2(1, 1, 0, &map, b""));
        let fault = refused.map(|what| Seen::Fault(Some(400), what));
        assert_eq!(seen.last().cloned().filter(|seen| matches!(seen, Seen::Fault(..))), fault);
        assert_eq!(bench.sent().get(12..14), refused.map(|_| &[0, 9][..]));
    }
    // Nor is anything written that goes beyond: its reader, with the same limits, would end a connection that others share.
    for (map, added, fits) in
        [(many(127), 10, true), (many(128), 10, false), (long(32_000), 786, true), (long(32_000), 787, false)]
    {
        let mut head = super::life::head_of(&mut server("bolt"), &v2(1, 1, 0, &map, b""));
        head.headers.push(b"x-added", &b"a".repeat(added));
        let mut bench = client("bolt");
        let stream = bench.codec.open_stream().unwrap();
        assert_eq!(
            bench.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).is_ok(),
            fits
        );
        assert_eq!((bench.sent().is_empty(), bench.codec.ending()), (!fits, Ending::Open));
        assert_eq!(bench.codec.open_streams(), usize::from(fits));
    }
}

#[test]
fn of_equal_headers_the_last_one_counts() {
    let map = pairs(&[("service", "first"), ("app", "a"), ("service", "last")]);
    let mut bench = server("bolt");
    let head = super::life::head_of(&mut bench, &v2(1, 1, 0, &map, b""));
    assert_eq!(head.authority(), b"last");
    assert_eq!(head.headers.all(&Name::new("service")).collect::<Vec<_>>(), [b"last"]);
    // It leaves as it came: the server believes the last one too.
    let mut proxy = Proxy::new("bolt");
    assert_eq!(proxy.caller_sends(&v2(1, 1, 0, &map, b"")).0, v2(1, 1, 0, &map, b""));
}

#[test]
fn null_headers_move_nothing() {
    let mut map = bytes(r#"ffffffff 00000001 "x" 00000001 "y" ffffffff"#);
    map.extend(pairs(&[("service", "s:1.0")]));
    let mut bench = server("bolt");
    let head = super::life::head_of(&mut bench, &v2(1, 1, 0, &map, b""));
    assert_eq!((head.authority(), head.headers.len()), (&b"s:1.0"[..], 3));
}

#[test]
fn broken_frames_get_an_answer_and_end_the_connection() {
    let mut cut_map = v2(6, 1, 0, &bytes("00000009 41"), b"");
    cut_map[0] = 2;
    let mut huge = plus(6);
    huge[18..22].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    let mut unknown = plus(6);
    unknown[3] = 9;
    let slash = v2(6, 1, 0, &pairs(&[("service", "s"), ("sofa_head_method_name", "a/b")]), b"");
    for (frame, what, answers) in [
        (cut_map, "a header map is cut", true),
        (huge, "a frame is larger than the protocol allows", true),
        (unknown, "no such frame", false),
        (slash, "a service or method has a character that none has", true),
        (b"GET / HTTP/1.1\r\n".to_vec(), "no such frame", false),
    ] {
        let mut bench = server("bolt");
        assert_eq!(bench.receive(&frame), [Seen::Fault(answers.then_some(400), what)]);
        let sent = bench.sent();
        assert_eq!(!sent.is_empty(), answers, "{what}");
        if answers {
            let status = if frame[0] == 1 { &sent[10..12] } else { &sent[12..14] };
            assert_eq!(status, [0, 9]);
        }
        assert!(bench.codec.is_finished());
    }
}

#[test]
fn replies_of_ours_have_the_status_that_fits_and_the_callers_id() {
    for (http, status) in [(404, 6), (503, 16), (504, 7), (403, 2), (401, 2), (429, 4), (500, 3), (200, 3)] {
        let mut bench = server("bolt");
        bench.receive(&plus(0x0102_0304));
        let head = response(http, &[]);
        bench
            .send(Command::SendResponse { stream: StreamId(1), head: &head, body: &[], end: false })
            .unwrap();
        bench.send(Command::SendData { stream: StreamId(1), bytes: b"no route", end: true }).unwrap();
        let expected = format!("01 00 0002 01 01020304 01 {status:04x} 0000 0000 00000000");
        assert_eq!(bench.sent(), bytes(&expected), "{http}");
        assert_eq!(bench.codec.open_streams(), 0);
    }
    let mut one_way = plus(4);
    one_way[1] = 2;
    let mut bench = server("bolt");
    bench.receive(&one_way);
    assert!(
        bench
            .send(Command::SendResponse {
                stream: StreamId(1),
                head: &response(404, &[]),
                body: &[],
                end: true
            })
            .is_err()
    );
    assert_eq!(bench.sent(), b"");
}

#[test]
fn statuses_of_responses_are_outcomes() {
    for (status, http) in [(0, 200), (4, 503), (6, 404), (7, 504), (16, 502), (2, 500), (99, 500)] {
        let mut caller = server("bolt");
        let mut bench = client("bolt");
        let head = super::life::head_of(&mut caller, &plus(1));
        let stream = bench.codec.open_stream().unwrap();
        bench.send(Command::SendRequest { stream, head: &head, body: &[], end: true }).unwrap();
        let mut frame = bytes("01 00 0002 01 00000001 01 0000 0000 0000 00000000");
        frame[11] = status;
        assert_eq!(bench.receive(&frame), [Seen::Response(1, http.to_string()), Seen::End(1)]);
    }
}

#[test]
fn late_answers_and_answers_to_nobody_are_dropped() {
    let mut bench = client("bolt");
    let stream = bench.codec.open_stream().unwrap();
    bench.send(Command::ResetStream { stream, reason: ResetReason::Timeout }).unwrap();
    let frames = [three(1), three(9), bytes(HEARTBEAT)].concat();
    assert_eq!(bench.receive(&frames), []);
    // A server may ask whether we live, too.
    assert_eq!(bench.sent(), bytes("0100 0000 01 00000007 01 0000 0000 0000 00000000"));
}

#[test]
fn a_server_that_says_go_away_gets_no_new_calls() {
    let mut bench = client("bolt");
    let stream = bench.codec.open_stream().unwrap();
    let go_away = bytes("01 01 0064 01 00000000 01 00000000 0000 0000 00000000");
    assert_eq!(bench.receive(&go_away), [Seen::GoAway(u32::MAX)]);
    assert_eq!(bench.codec.open_stream(), None);
    assert_eq!(bench.codec.ending(), Ending::Open);
    bench.send(Command::ResetStream { stream, reason: ResetReason::Cancelled }).unwrap();
    assert_eq!(bench.codec.ending(), Ending::Closed);
}

#[test]
fn large_frames_pass_in_pieces_with_their_checksum() {
    let content: Vec<u8> = (0..3 * WHOLE).map(|index| (index * 7) as u8).collect();
    let frame = v2(900, 2, 1, &pairs(&[("service", "s:1.0")]), &content);
    let expected = v2(1, 2, 1, &pairs(&[("service", "s:1.0")]), &content);
    let mut proxy = Proxy::new("bolt");
    let mut up = Vec::new();
    for piece in frame.chunks(10_000) {
        up.extend(proxy.caller_sends(piece).0);
        // It went out before it was whole.
        assert!(up.is_empty() || up.len() <= frame.len());
    }
    assert_eq!(up.len(), expected.len());
    assert!(up == expected && proxy.faults.is_empty(), "{:?}", proxy.faults);

    let mut wrong = frame;
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    let mut bench = server("bolt");
    let seen = bench.receive_split(&wrong, &[30_000]);
    assert_eq!(seen.last(), Some(&Seen::Fault(None, "a checksum is wrong")));
    assert!(!seen.contains(&Seen::End(1)), "nobody was told that the message is whole");
}

#[test]
fn a_body_whose_checksum_has_not_come_is_not_kept_back() {
    let content = vec![b'x'; 3 * WHOLE];
    let frame = v2(900, 2, 1, &pairs(&[("service", "s:1.0")]), &content);
    let mut bench = server("bolt");
    let (front, behind) = frame.split_at(frame.len() - 2);
    let given = |seen: &[Seen]| -> usize {
        seen.iter().map(|seen| if let Seen::Data(_, bytes) = seen { bytes.len() } else { 0 }).sum()
    };
    let seen = bench.receive(front);
    assert_eq!(given(&seen), content.len() - 1, "but for the byte with which the end is told");
    let seen = bench.receive(behind);
    assert_eq!((given(&seen), seen.last()), (1, Some(&Seen::End(1))));
}

#[test]
fn other_answers_wait_until_a_large_one_has_gone_out() {
    let mut upstream = client("bolt");
    upstream.codec.open_stream().unwrap();
    upstream.codec.open_stream().unwrap();
    let [large, small] = [(1, 2 * WHOLE as u32), (2, 5)].map(|(id, length)| {
        let frame = super::life::large_answer(id, length);
        (super::life::response_head(&mut upstream, &frame), frame)
    });
    let mut bench = server("bolt");
    bench.receive(&[plus(70), plus(80)].concat());
    let (one, two) = (StreamId(1), StreamId(2));
    bench.send(Command::SendResponse { stream: one, head: &large.0, body: &[], end: false }).unwrap();
    let (first, rest) = large.1[20..].split_at(1_000);
    bench.send(Command::SendData { stream: one, bytes: first, end: false }).unwrap();
    bench.send(Command::SendResponse { stream: two, head: &small.0, body: &[], end: false }).unwrap();
    bench.send(Command::SendData { stream: two, bytes: &small.1[20..], end: true }).unwrap();
    assert_eq!(bench.sent().len(), 20 + 1_000);
    bench.send(Command::SendData { stream: one, bytes: rest, end: true }).unwrap();
    let sent = bench.sent();
    let (end, behind) = sent.split_at(rest.len());
    assert!(end == rest);
    assert_eq!(behind, super::life::large_answer(80, 5));
}

#[test]
fn a_large_request_is_gathered_where_others_share_its_connection() {
    let frame = v2(7, 1, 0, &[], &vec![b'l'; 2 * WHOLE]);
    let head = super::life::head_of(&mut server("bolt"), &frame);
    let mut bench = client("bolt");
    let (one, two) = (bench.codec.open_stream().unwrap(), bench.codec.open_stream().unwrap());
    bench.send(Command::SendRequest { stream: two, head: &head, body: &[], end: false }).unwrap();
    bench.send(Command::SendData { stream: two, bytes: &[b'l'; WHOLE], end: false }).unwrap();
    assert_eq!(bench.sent(), b"");
    bench.send(Command::SendData { stream: two, bytes: &[b'l'; WHOLE], end: true }).unwrap();
    bench.send(Command::ResetStream { stream: one, reason: ResetReason::Cancelled }).unwrap();
    assert!(bench.sent() == v2(2, 1, 0, &[], &vec![b'l'; 2 * WHOLE]));
}

#[test]
fn half_a_large_frame_cannot_be_taken_back() {
    let head = super::life::head_of(&mut server("bolt"), &v2(7, 1, 0, &[], &vec![0; 2 * WHOLE]));
    let mut bench = client("bolt");
    let stream = bench.codec.open_stream().unwrap();
    bench.send(Command::SendRequest { stream, head: &head, body: &[], end: false }).unwrap();
    bench.send(Command::SendData { stream, bytes: b"some", end: false }).unwrap();
    bench.send(Command::ResetStream { stream, reason: ResetReason::Cancelled }).unwrap();
    assert_eq!(bench.codec.ending(), Ending::Aborted);
}
