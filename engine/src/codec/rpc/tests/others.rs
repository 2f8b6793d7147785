//! Dubbo, Thrift, and a protocol that nobody speaks.

use super::{Proxy, bytes, client, description, plan, server};
use crate::codec::contract::{Codec, Command, Ending, StreamId};
use crate::codec::rpc::{Match, compile, explain};
use crate::codec::testing::{Seen, response};
use crate::message::{Name, NameId, ResetReason};

fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

pub fn dubbo(id: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for value in ["2.0.2", "shop.Cart", "1.0", "add", "Ljava/lang/String;I"] {
        body.extend(text(value));
    }
    body.extend([text("tea"), vec![0x92, b'H']].concat());
    for (name, value) in
        [("path", "shop.Cart"), ("interface", "shop.Told"), ("Group", "blue"), ("timeout", "800")]
    {
        body.extend([text(name), text(value)].concat());
    }
    body.push(b'Z');
    let mut frame = vec![0xda, 0xbb, 0xc2, 0];
    frame.extend(id.to_be_bytes());
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

#[test]
fn a_dubbo_request_tells_service_method_and_attachments() {
    let mut bench = server("dubbo");
    let head = super::life::head_of(&mut bench, &dubbo(1 << 40));
    assert_eq!((head.authority(), head.path()), (&b"shop.Cart"[..], &b"/shop.Cart/add"[..]));
    assert_eq!(head.deadline_milliseconds, Some(800));
    for (name, value) in [
        ("group", "blue"),
        ("dubbo-version", "2.0.2"),
        ("service-version", "1.0"),
        ("dubbo-serialization", "2"),
    ] {
        assert_eq!(head.headers.get(&Name::new(name)), Some(value.as_bytes()), "{name}");
    }
}

#[test]
fn dubbo_ids_of_eight_bytes_come_back() {
    let mut proxy = Proxy::new("dubbo");
    assert_eq!(proxy.caller_sends(&dubbo(u64::MAX - 1)).0, dubbo(1));
    let answer = bytes("dabb 02 14 0000000000000001 00000003 94 91 90");
    assert_eq!(proxy.server_sends(&answer), bytes("dabb 02 14 fffffffffffffffe 00000003 94 91 90"));
}

/// A Dubbo request with these attachments.
fn attached(id: u64, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for value in ["2.0.2", "shop.Cart", "1.0", "add", "Ljava/lang/String;I"] {
        body.extend(text(value));
    }
    // The arguments: a text and a list of two, to which nothing behind refers.
    body.extend([text("tea"), vec![0x7a, 0x91, 0x92, b'H']].concat());
    for (name, value) in pairs {
        body.extend([text(name), text(value)].concat());
        if *name == "path" {
            // One that is no text stays where it is.
            body.extend([text("retries"), vec![0x93]].concat());
        }
    }
    body.push(b'Z');
    let mut frame = vec![0xda, 0xbb, 0xc2, 0];
    frame.extend(id.to_be_bytes());
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

#[test]
fn attachments_are_added_changed_and_taken_out() {
    let mut proxy = Proxy::new("dubbo");
    let sent =
        attached(9, &[("path", "shop.Cart"), ("Group", "blue"), ("token", "secret"), ("timeout", "800")]);
    assert_eq!(proxy.caller_sends(&sent).0[12..], sent[12..], "as it came");
    proxy.edit_request = |head| {
        head.headers.set(&Name::new("group"), b"green");
        head.headers.remove(&Name::new("token"));
        head.headers.push(b"x-canary", b"yes");
        // HTTP's own.
        head.headers.push(b"x-request-id", b"7");
        head.headers.set_id(NameId::TRACEPARENT, b"00-1-2-3");
    };
    let wanted = [
        ("path", "shop.Cart"),
        ("timeout", "800"),
        ("Group", "green"),
        ("x-canary", "yes"),
        ("traceparent", "00-1-2-3"),
    ];
    assert_eq!(proxy.caller_sends(&sent).0, attached(2, &wanted));
    // The body in two pieces, behind the head.
    let (head, body) = sent.split_at(30);
    assert!(proxy.caller_sends(head).0.is_empty());
    assert_eq!(proxy.caller_sends(body).0, attached(3, &wanted));
    // What is not understood to its end is left alone, but for its id.
    let mut cut = sent.clone();
    cut.pop();
    let length = (cut.len() - 16) as u32;
    cut[12..16].copy_from_slice(&length.to_be_bytes());
    let left = proxy.caller_sends(&cut).0;
    assert_eq!((&left[..4], &left[12..]), (&cut[..4], &cut[12..]));
}

#[test]
fn dubbo_heartbeats_and_errors() {
    let mut bench = server("dubbo");
    bench.receive(&bytes("dabb e2 00 0000000000000005 00000001 4e"));
    assert_eq!(bench.sent(), bytes("dabb 22 14 0000000000000005 00000001 4e"));
    bench.receive(&dubbo(6));
    bench
        .send(Command::SendResponse { stream: StreamId(1), head: &response(404, &[]), body: &[], end: false })
        .unwrap();
    bench.send(Command::SendData { stream: StreamId(1), bytes: b"no route", end: true }).unwrap();
    assert_eq!(bench.sent(), bytes(r#"dabb 02 3c 0000000000000006 0000000b 53 0008 "no route""#));
    // Another serialisation passes, with neither service nor method.
    let head = super::life::head_of(&mut bench, &bytes("dabb c6 00 0000000000000007 00000002 7b7d"));
    assert_eq!((head.authority(), head.path()), (&b""[..], &b"//"[..]));
    // A server that becomes read-only.
    let mut bench = client("dubbo");
    assert_eq!(bench.receive(&bytes("dabb a2 00 0000000000000009 00000002 01 52")), [Seen::GoAway(u32::MAX)]);
}

fn thrift(kind: u8, name: &str, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0x80, 1, 0, kind];
    message.extend((name.len() as u32).to_be_bytes());
    message.extend(name.as_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(payload);
    [&(message.len() as u32).to_be_bytes(), &message[..]].concat()
}

#[test]
fn thrift_ids_lie_behind_the_name() {
    let mut proxy = Proxy::new("thrift");
    assert_eq!(proxy.caller_sends(&thrift(1, "Cart:add", 77, b"\0")).0, thrift(1, "Cart:add", 1, b"\0"));
    assert_eq!(proxy.caller_sends(&thrift(1, "list", 0, b"\0")).0, thrift(1, "list", 2, b"\0"));
    assert_eq!(proxy.server_sends(&thrift(2, "list", 2, b"\0")), thrift(2, "list", 0, b"\0"));
    let mut bench = server("thrift");
    let paths = [("Cart:add", "/Cart/add"), ("list", "/thrift/list")];
    for (name, path) in paths {
        let head = super::life::head_of(&mut bench, &thrift(4, name, 5, b"\0"));
        assert_eq!((head.path(), head.one_way), (path.as_bytes(), true));
    }
}

#[test]
fn thrift_errors_are_application_exceptions_of_the_same_name() {
    let mut bench = server("thrift");
    bench.receive(&thrift(1, "add", 77, b"\0"));
    bench
        .send(Command::SendResponse { stream: StreamId(1), head: &response(404, &[]), body: &[], end: false })
        .unwrap();
    bench.send(Command::SendData { stream: StreamId(1), bytes: b"no route", end: true }).unwrap();
    let exception = bytes(r#"0b 0001 00000008 "no route" 08 0002 00000001 00"#);
    assert_eq!(bench.sent(), thrift(3, "add", 77, &exception));
    let mut proxy = Proxy::new("thrift");
    proxy.caller_sends(&thrift(1, "add", 5, b"\0"));
    assert_eq!(proxy.server_sends(&thrift(3, "add", 1, &exception)), thrift(3, "add", 5, &exception));
}

#[test]
fn a_call_given_up_ends_the_connection_to_a_server_that_answers_one_after_the_other() {
    for (name, over) in [("thrift", true), ("bolt", false)] {
        let mut bench = client(name);
        let stream = bench.codec.open_stream().unwrap();
        assert_eq!(bench.codec.open_stream().is_none(), over, "{name}");
        bench.send(Command::ResetStream { stream, reason: ResetReason::Timeout }).unwrap();
        assert_eq!(bench.codec.ending() == Ending::Closed, over, "{name}");
        assert_eq!(bench.codec.open_stream().is_none(), over, "{name}");
    }
}

#[test]
fn lengths_that_do_not_fit_a_frame_are_refused() {
    for (frame, what) in [
        (bytes("00000004 8001 00 01 00000000 00000000 00"), "a frame is shorter than its head"),
        (bytes("0000000d 8001 00 01 00000009 61 62 00000001"), "a part ends beyond its frame"),
        (bytes("7fffffff 8001 00 01 00000000 00000000 00"), "a frame is larger than the protocol allows"),
    ] {
        assert_eq!(server("thrift").receive(&frame), [Seen::Fault(None, what)]);
    }
}

fn adler(bytes: &[u8]) -> [u8; 4] {
    let mut running = crate::codec::rpc::checksum::Running::new(crate::plan::RpcAlgorithm::Adler32);
    running.update(bytes);
    (running.value(4) as u32).to_le_bytes()
}

/// A frame of the protocol that nobody speaks; `special`: the code of a response, the hint of a request.
pub fn volt(opcode: u8, call: u16, special: &[u8], target: &str, meta: &str, data: &[u8]) -> Vec<u8> {
    let covered = [
        &[target.len() as u8][..],
        target.as_bytes(),
        &(meta.len() as u16).to_le_bytes(),
        meta.as_bytes(),
        data,
    ]
    .concat();
    let check = if opcode <= 3 { adler(&covered[1..]).to_vec() } else { vec![] };
    let length = 7 + special.len() + covered.len() + check.len();
    let front = [&[0xb0, 0xa7, opcode][..], &(length as u16).to_le_bytes(), &call.to_le_bytes(), special];
    [front.concat(), covered, check].concat()
}

#[test]
fn a_made_up_protocol_is_served_like_any_other() {
    let mut proxy = Proxy::new("volt");
    let request = |call| volt(1, call, &[0, 0, 200], "cart#add", "user=kim;flag=;", b"tea");
    assert_eq!(proxy.caller_sends(&request(500)), (request(1), vec![]));
    let response = |call| volt(2, call, &[0], "", "a=b;", b"ok");
    assert_eq!(proxy.server_sends(&response(1)), response(500));
    assert_eq!(proxy.caller_sends(&volt(4, 9, &[], "", "", b"")).1, volt(5, 9, &[], "", "", b""));
    proxy.edit_request = |head| head.headers.set(&Name::new("User"), b"lee");
    let edited = volt(1, 2, &[0, 0, 200], "cart#add", "flag=;user=lee;", b"tea");
    assert_eq!(proxy.caller_sends(&request(501)).0, edited);
    assert!(proxy.faults.is_empty());

    let mut bench = server("volt");
    let head = super::life::head_of(&mut bench, &request(7));
    assert_eq!((head.path(), head.deadline_milliseconds), (&b"/cart/add"[..], Some(200)));
    bench
        .send(Command::SendResponse {
            stream: StreamId(1),
            head: &crate::codec::testing::response(429, &[]),
            body: &[],
            end: true,
        })
        .unwrap();
    assert_eq!(bench.sent(), volt(2, 7, &[0xff], "cart#add", "", b"\x0aoverloaded"));
}

#[test]
fn first_bytes_tell_certain_protocols_apart() {
    let frames = [
        ("bolt", super::bolt::plus(1)),
        ("dubbo", dubbo(1)),
        ("thrift", thrift(1, "add", 1, b"\0")),
        ("volt", volt(1, 1, &[0, 0, 1], "a#b", "", b"")),
    ];
    for (name, frame) in &frames {
        for (other, _) in &frames {
            let description = description(other);
            let answers: Vec<_> = (0..=frame.len()).map(|end| description.recognise(&frame[..end])).collect();
            assert_eq!(answers[0], Match::Wait);
            assert_eq!(answers.last() == Some(&Match::Yes), name == other, "{name} {other}");
            let changes = answers.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert_eq!(changes, 1);
        }
    }
    for bytes in
        [&b"GET / HTTP/1.1"[..], b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
    {
        for (name, _) in &frames {
            assert_eq!(description(name).recognise(bytes), Match::No);
        }
    }
}

#[test]
fn frames_are_explained_field_by_field() {
    let explained =
        explain(&plan("bolt"), &[super::bolt::plus(9), super::bolt::three(9), vec![1, 1]].concat()).unwrap();
    assert_eq!((explained.left, explained.problem.as_str()), (2, "the frame is not whole"));
    let [request, response] = &explained.frames[..] else { panic!("{explained:?}") };
    assert_eq!(
        (request.method.as_str(), request.deadline, response.status),
        ("plus", Some(3_000), Some(200))
    );
    assert_eq!(response.offset, request.size);
    let rows: Vec<_> = request.rows.iter().map(|row| (row.name.as_str(), row.offset, row.number)).collect();
    assert_eq!(
        rows[..4],
        [("proto", 0, Some(1)), ("type", 1, Some(1)), ("command", 2, Some(1)), ("ver2", 4, Some(1))]
    );
    assert_eq!(rows.last(), Some(&("content", 112, None)));
    let dubbo = explain(&plan("dubbo"), &dubbo(3)).unwrap();
    let bits: Vec<_> =
        dubbo.frames[0].rows.iter().filter(|row| row.length == 0).map(|row| row.number).collect();
    assert_eq!(bits, [Some(1), Some(1), Some(0), Some(2)]);
}

#[test]
fn careless_plans_are_refused_by_path() {
    type Spoil = fn(&mut crate::plan::RpcProtocol);
    let cases: &[(&str, Spoil)] = &[
        ("limits", |plan| plan.limits.frame = 0),
        ("openings[0]", |plan| plan.openings[0].shape = 99),
        ("openings[0]", |plan| plan.openings[0].pattern.mask = vec![0; 17]),
        ("shapes[0].id", |plan| plan.shapes[0].id = "nothing".into()),
        ("shapes[0].body", |plan| plan.shapes[0].body = "class".into()),
        ("shapes[2].checksum", |plan| plan.shapes[2].checksum.as_mut().unwrap().last = "crc".into()),
        ("shapes[0].items[1].name", |plan| plan.shapes[0].items[1].name = "proto".into()),
        ("headers", |plan| {
            plan.headers = Some(crate::plan::RpcHeaders::Text {
                between: String::new(),
                behind: ";".into(),
                last_wins: true,
            });
        }),
        ("service", |plan| plan.service[0].from = crate::plan::RpcOrigin::Body { number: 9 }),
        ("error_replies[0]", |plan| plan.error_replies[0].like = 77),
        ("other_status", |plan| plan.other_status = 7),
    ];
    for (path, spoil) in cases {
        let mut spoilt = plan("bolt");
        spoil(&mut spoilt);
        assert_eq!(compile(&spoilt).map(|_| ()).unwrap_err().path, *path);
    }
}
