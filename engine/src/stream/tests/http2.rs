use crate::codec::contract::{Codec, Command, StreamId};
use crate::codec::h2;
use crate::codec::testing::{Bench, Seen, request, response};
use crate::message::{HeaderBlock, Key, Protocol, ResetReason};
use crate::plan;
use crate::stream::testing::{
    Worker, cluster, listener, manager, mutual_tls, retries, route, table, to, to_with_retries,
};

const UPSTREAM: &str = "10.1.0.1:80";

/// Lets the bytes of a connection and of its peer in memory flow until none are left.
pub(super) fn talk<C: Codec>(worker: &mut Worker, link: Key, peer: &mut Bench<C>) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        let (up, down) = (peer.sent(), worker.sent_bytes(link));
        if up.is_empty() && down.is_empty() {
            return seen;
        }
        if !up.is_empty() {
            worker.receive(link, up);
        }
        seen.extend(peer.receive(&down).into_iter().filter(|event| !matches!(event, Seen::Capacity(_))));
    }
}

pub(super) fn client() -> Bench<h2::Client> {
    Bench::new(h2::Client::new(h2::Settings::default()))
}

pub(super) fn server() -> Bench<h2::Server> {
    Bench::new(h2::Server::new(h2::Settings::default()))
}

pub(super) fn ask(peer: &mut Bench<h2::Client>, head: &crate::message::RequestHead, end: bool) -> StreamId {
    let stream = peer.codec.open_stream().expect("a stream");
    peer.send(Command::SendRequest { stream, head, body: &[], end }).unwrap();
    stream
}

pub(super) fn over_http2(retry: Option<plan::RetryPolicy>) -> Worker {
    let mut plan = cluster("shop", &[UPSTREAM]);
    plan.http.protocol = plan::UpstreamProtocol::Http2;
    let action = retry.map_or_else(|| to("shop"), |policy| to_with_retries("shop", policy));
    Worker::http(vec![route("/", action)], &[plan])
}

pub(super) fn status_of(seen: &[Seen]) -> Vec<(u32, u16)> {
    let status = |event: &Seen| match event {
        Seen::Response(stream, text) => Some((*stream, text.split('\n').next()?.parse().ok()?)),
        _ => None,
    };
    seen.iter().filter_map(status).collect()
}

#[test]
fn http2_comes_in_and_http1_goes_out() {
    let mut worker = Worker::http(vec![route("/", to("shop"))], &[cluster("shop", &[UPSTREAM])]);
    let (link, mut peer) = (worker.connect_http2(), client());
    let first = ask(&mut peer, &request("POST", "shop", "/a", &[("cookie", "x=1")]), false);
    peer.send(Command::SendData { stream: first, bytes: b"body", end: true }).unwrap();
    let second = ask(&mut peer, &request("GET", "shop", "/b", &[]), true);
    talk(&mut worker, link, &mut peer);
    let upstreams = [worker.accept(), worker.accept()];
    let sent = worker.sent(upstreams[0]);
    assert!(sent.starts_with("POST /a HTTP/1.1\r\nhost: shop\r\ncookie: x=1\r\n"), "{sent}");
    assert!(sent.contains("4\r\nbody\r\n0\r\n\r\n"), "{sent}");
    worker.receive(upstreams[1], "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nbb");
    worker.receive(
        upstreams[0],
        "HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\n\r\n",
    );
    let seen = talk(&mut worker, link, &mut peer);
    assert_eq!(status_of(&seen), [(second.0, 200), (first.0, 201)]);
    assert!(
        seen.contains(&Seen::data(second.0, b"bb"))
            && seen.contains(&Seen::Trailers(first.0, "\nx-sum: 1".into()))
    );
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn http1_comes_in_and_http2_goes_out() {
    let mut worker = over_http2(None);
    let clients = [worker.connect(), worker.connect()];
    for client in clients {
        worker.receive(client, "POST /x HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc");
    }
    let (upstream, mut peer) = (worker.accept(), server());
    assert_eq!(worker.next_dial(), None, "one connection carries both");
    let seen = talk(&mut worker, upstream, &mut peer);
    let asked: Vec<_> = seen.iter().filter(|event| matches!(event, Seen::Request(..))).collect();
    assert_eq!(asked.len(), 2);
    assert!(seen.contains(&Seen::data(1, b"abc")) && seen.contains(&Seen::End(3)));
    for stream in [StreamId(3), StreamId(1)] {
        let head = response(200, &[("content-length", "2")]);
        peer.send(Command::SendResponse { stream, head: &head, body: &[], end: false }).unwrap();
        peer.send(Command::SendData { stream, bytes: b"ok", end: true }).unwrap();
    }
    talk(&mut worker, upstream, &mut peer);
    for client in clients {
        let sent = worker.sent(client);
        assert!(sent.starts_with("HTTP/1.1 200 OK") && sent.ends_with("ok"), "{sent}");
    }
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn grpc_streams_both_ways_and_ends_by_trailers() {
    let mut worker = over_http2(None);
    let (link, mut caller) = (worker.connect_http2(), client());
    let head = request(
        "POST",
        "shop",
        "/pb.Cart/Watch",
        &[("content-type", "application/grpc"), ("te", "trailers")],
    );
    let stream = ask(&mut caller, &head, false);
    talk(&mut worker, link, &mut caller);
    let (upstream, mut callee) = (worker.accept(), server());
    let seen = talk(&mut worker, upstream, &mut callee);
    assert!(matches!(&seen[0], Seen::Request(1, text) if text.contains("te: trailers")), "{seen:?}");
    let head = response(200, &[("content-type", "application/grpc")]);
    callee.send(Command::SendResponse { stream: StreamId(1), head: &head, body: &[], end: false }).unwrap();
    for message in [b"\0\0\0\0\x01a".as_slice(), b"\0\0\0\0\x01b"] {
        caller.send(Command::SendData { stream, bytes: message, end: false }).unwrap();
        talk(&mut worker, link, &mut caller);
        assert_eq!(talk(&mut worker, upstream, &mut callee), [Seen::data(1, message)]);
        callee.send(Command::SendData { stream: StreamId(1), bytes: message, end: false }).unwrap();
        talk(&mut worker, upstream, &mut callee);
        assert!(talk(&mut worker, link, &mut caller).contains(&Seen::data(stream.0, message)));
    }
    caller.send(Command::SendData { stream, bytes: b"", end: true }).unwrap();
    talk(&mut worker, link, &mut caller);
    assert_eq!(talk(&mut worker, upstream, &mut callee), [Seen::End(1)]);
    let mut trailers = HeaderBlock::default();
    trailers.push(b"grpc-status", b"0");
    callee.send(Command::SendTrailers { stream: StreamId(1), trailers: &trailers }).unwrap();
    talk(&mut worker, upstream, &mut callee);
    let seen = talk(&mut worker, link, &mut caller);
    assert!(seen.contains(&Seen::Trailers(stream.0, "\ngrpc-status: 0".into())), "{seen:?}");
    assert_eq!((worker.record().status, worker.record().received, worker.streams.active()), (200, 12, 0));
}

#[test]
fn a_grpc_call_that_fails_here_gets_trailers_only() {
    let mut worker = over_http2(None);
    let (link, mut caller) = (worker.connect_http2(), client());
    let head = request("POST", "shop", "/pb.Cart/Add", &[("content-type", "application/grpc")]);
    let stream = ask(&mut caller, &head, true);
    talk(&mut worker, link, &mut caller);
    worker.refuse();
    let seen = talk(&mut worker, link, &mut caller);
    let Some(Seen::Response(id, text)) = seen.first() else { panic!("{seen:?}") };
    assert_eq!(*id, stream.0);
    assert!(
        text.starts_with("200\n")
            && text.contains("grpc-status: 14")
            && text.contains("grpc-message: upstream"),
        "{text}"
    );
    assert_eq!(seen.last(), Some(&Seen::End(stream.0)));
    assert_eq!(worker.record().grpc_status, Some(14));
}

#[test]
fn a_refused_stream_is_tried_again() {
    let mut worker = over_http2(Some(retries(1, &["refused-stream"])));
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (upstream, mut peer) = (worker.accept(), server());
    talk(&mut worker, upstream, &mut peer);
    peer.send(Command::ResetStream { stream: StreamId(1), reason: ResetReason::Refused }).unwrap();
    talk(&mut worker, upstream, &mut peer);
    worker.pass(25);
    let seen = talk(&mut worker, upstream, &mut peer);
    assert!(matches!(seen.first(), Some(Seen::Request(3, _))), "{seen:?}");
    let head = response(204, &[]);
    peer.send(Command::SendResponse { stream: StreamId(3), head: &head, body: &[], end: true }).unwrap();
    talk(&mut worker, upstream, &mut peer);
    assert!(worker.sent(client).starts_with("HTTP/1.1 204"));
}

#[test]
fn a_client_that_cancels_resets_only_its_stream() {
    let mut worker = over_http2(None);
    let (link, mut caller) = (worker.connect_http2(), client());
    let first = ask(&mut caller, &request("GET", "shop", "/1", &[]), true);
    let second = ask(&mut caller, &request("GET", "shop", "/2", &[]), true);
    talk(&mut worker, link, &mut caller);
    let (upstream, mut callee) = (worker.accept(), server());
    talk(&mut worker, upstream, &mut callee);
    caller.send(Command::ResetStream { stream: first, reason: ResetReason::Cancelled }).unwrap();
    talk(&mut worker, link, &mut caller);
    let seen = talk(&mut worker, upstream, &mut callee);
    assert!(matches!(seen[..], [Seen::Reset(1, ResetReason::Cancelled, _)]), "{seen:?}");
    assert_eq!(worker.record().flags, "DR");
    let head = response(204, &[]);
    callee.send(Command::SendResponse { stream: StreamId(3), head: &head, body: &[], end: true }).unwrap();
    talk(&mut worker, upstream, &mut callee);
    assert_eq!(status_of(&talk(&mut worker, link, &mut caller)), [(second.0, 204)]);
}

#[test]
fn a_goodbye_of_the_endpoint_moves_new_requests_to_another_connection() {
    let mut worker = over_http2(None);
    let clients = [worker.connect(), worker.connect()];
    worker.receive(clients[0], "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let (upstream, mut peer) = (worker.accept(), server());
    talk(&mut worker, upstream, &mut peer);
    peer.send(Command::GoAway { gentle: false }).unwrap();
    talk(&mut worker, upstream, &mut peer);
    worker.receive(clients[1], "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(worker.next_dial().as_deref(), Some(UPSTREAM));
    let head = response(204, &[]);
    peer.send(Command::SendResponse { stream: StreamId(1), head: &head, body: &[], end: true }).unwrap();
    talk(&mut worker, upstream, &mut peer);
    assert!(worker.sent(clients[0]).starts_with("HTTP/1.1 204"));
    worker.settle();
    assert!(worker.gone(upstream).is_some());
}

/// A cluster of HTTP/1 whose endpoint is another sidecar of ours.
fn to_a_sidecar(takes: bool) -> Worker {
    let mut plan = cluster("shop", &[UPSTREAM]);
    plan.tls = Some(mutual_tls(&["istio-http/1.1", "istio-h2", "istio"]));
    if let plan::Discovery::Static { localities } = &mut plan.discovery {
        localities[0].endpoints[0].takes_http1_in_http2 = takes;
    }
    let mut manager = manager();
    manager.upgrades = vec!["websocket".into()];
    let listener = listener(plan::Terminal::Http { manager });
    Worker::new(&listener, &[table(vec![route("/", to("shop"))])], &[]).with_identity(&[plan])
}

#[test]
fn http1_rides_inside_http2_between_sidecars() {
    let mut worker = to_a_sidecar(true);
    let clients = [worker.connect(), worker.connect()];
    for client in clients {
        worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\nmainstay-orig-proto: HTTP/9\r\n\r\n");
    }
    assert_eq!(worker.next_offer(), Some(vec!["istio-h2".into(), "h2".into()]));
    let (upstream, mut peer) = (worker.accept_alpn(Some("istio-h2")), server());
    let seen = talk(&mut worker, upstream, &mut peer);
    let marked = |event: &&Seen| matches!(event, Seen::Request(_, text) if text.contains("\nmainstay-orig-proto: HTTP/1.1"));
    assert_eq!(seen.iter().filter(marked).count(), 2, "{seen:?}");
    let head = response(204, &[]);
    for stream in [StreamId(1), StreamId(3)] {
        peer.send(Command::SendResponse { stream, head: &head, body: &[], end: true }).unwrap();
    }
    talk(&mut worker, upstream, &mut peer);
    for client in clients {
        assert!(worker.sent(client).starts_with("HTTP/1.1 204"));
    }
    assert_eq!(worker.record().protocol, Protocol::Http11);
}

#[test]
fn http1_stays_itself_where_it_may_not_ride() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (takes, request) in [
        (false, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (true, "GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
        (true, upgrade),
    ] {
        let mut worker = to_a_sidecar(takes);
        let client = worker.connect();
        worker.receive(client, request);
        assert_eq!(worker.next_offer(), Some(vec!["istio-http/1.1".into(), "istio".into()]), "{request}");
        let upstream = worker.accept_alpn(Some("istio-http/1.1"));
        let sent = worker.sent(upstream);
        assert!(sent.starts_with("GET / HTTP/1.1\r\n") && !sent.contains("orig-proto"), "{sent}");
    }
    // A peer that will not speak HTTP/2 after all gets plain HTTP/1.
    let mut worker = to_a_sidecar(true);
    let client = worker.connect();
    worker.receive(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let upstream = worker.accept_alpn(None);
    let sent = worker.sent(upstream);
    assert!(sent.starts_with("GET / HTTP/1.1\r\n") && !sent.contains("orig-proto"), "{sent}");
}
