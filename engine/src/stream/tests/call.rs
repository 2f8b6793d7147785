//! gRPC calls lent to Python, against a server codec.

use crate::bytes::{Out, Outbox, Pool};
use crate::codec::contract::{Codec, Command, Event, Input, StreamId};
use crate::codec::h2;
use crate::message::{HeaderBlock, Key, ResetReason, ResponseHead, Tick};
use crate::plan;
use crate::stream::GrpcCall;
use crate::stream::testing::{Worker, cluster};

const CALL: u64 = 5;
const STREAM: StreamId = StreamId(1);

/// The server's end of the connection.
struct Server {
    connection: Key,
    codec: h2::Server,
    outbox: Outbox,
    pool: Pool,
    carry: Vec<u8>,
    /// `path name: value …`, then bodies and ends.
    seen: Vec<String>,
    body: Vec<u8>,
}

impl Server {
    fn send(&mut self, worker: &mut Worker, command: Command<'_>) -> usize {
        let mut out = Out::new(&mut self.outbox, &mut self.pool);
        let accepted = self.codec.perform(command, &mut out, Tick(1)).unwrap().bytes;
        self.exchange(worker);
        accepted
    }

    fn head(&mut self, worker: &mut Worker, status: u16, fields: &[(&str, &str)], end: bool) {
        let mut head = ResponseHead::with_status(status);
        fields.iter().for_each(|(name, value)| head.headers.push(name.as_bytes(), value.as_bytes()));
        self.send(worker, Command::SendResponse { stream: STREAM, head: &head, body: &[], end });
    }

    fn open(&mut self, worker: &mut Worker) {
        self.head(worker, 200, &[("content-type", "application/grpc")], false);
    }

    fn data(&mut self, worker: &mut Worker, bytes: &[u8], end: bool) -> usize {
        self.send(worker, Command::SendData { stream: STREAM, bytes, end })
    }

    fn message(&mut self, worker: &mut Worker, message: &[u8]) {
        let bytes = [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
        assert_eq!(self.data(worker, &bytes, false), bytes.len());
    }

    fn trailers(&mut self, worker: &mut Worker, fields: &[(&str, &str)]) {
        let mut trailers = HeaderBlock::default();
        fields.iter().for_each(|(name, value)| trailers.push(name.as_bytes(), value.as_bytes()));
        self.send(worker, Command::SendTrailers { stream: STREAM, trailers: &trailers });
    }

    /// Bytes both ways until nothing moves.
    fn exchange(&mut self, worker: &mut Worker) {
        loop {
            let out: Vec<u8> = self.outbox.pieces().flatten().copied().collect();
            self.outbox.clear(&mut self.pool);
            if !out.is_empty() {
                worker.receive(self.connection, &out);
            }
            let arrived = worker.sent_bytes(self.connection);
            if arrived.is_empty() && out.is_empty() {
                return;
            }
            self.carry.extend(arrived);
            self.read();
        }
    }

    fn read(&mut self) {
        let mut buffer = std::mem::take(&mut self.carry);
        let mut input = Input::new(&mut buffer, false);
        loop {
            let mut out = Out::new(&mut self.outbox, &mut self.pool);
            match self.codec.next_event(&mut input, &mut out, Tick(1)).unwrap() {
                None => break,
                Some(Event::RequestReceived { head, body, end, .. }) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let fields: String = head
                        .headers
                        .iter()
                        .map(|(_, name, value)| format!(" {}: {}", text(name), text(value)))
                        .collect();
                    self.seen.push(format!("{} {}{fields}", text(head.authority()), text(head.path())));
                    self.body.extend_from_slice(body);
                    if end && !body.is_empty() {
                        self.seen.push("end".into());
                    }
                }
                Some(Event::DataReceived { stream, bytes, end }) => {
                    self.body.extend_from_slice(bytes);
                    let bytes = bytes.len();
                    self.codec.perform(Command::GrantCredit { stream, bytes }, &mut out, Tick(1)).unwrap();
                    if end {
                        self.seen.push("end".into());
                    }
                }
                Some(Event::StreamReset { reason, .. }) => self.seen.push(format!("{reason:?}")),
                Some(_) => {}
            }
        }
        let consumed = input.consumed();
        self.carry = buffer.split_off(consumed);
    }
}

fn worker() -> Worker {
    let mut plan = cluster("xds", &["10.1.0.1:15010"]);
    plan.http.protocol = plan::UpstreamProtocol::Http2;
    Worker::http(Vec::new(), &[plan])
}

fn wanted(metadata: &[(&str, &str)]) -> GrpcCall {
    GrpcCall {
        number: CALL,
        cluster: "xds".into(),
        path: "/test.Service/Watch".into(),
        metadata: metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
    }
}

/// A call whose request has reached the server.
fn opened() -> (Worker, Server) {
    let mut worker = worker();
    worker.streams.open_grpc(&mut worker.port, &wanted(&[("x-token", "secret")]));
    worker.settle();
    let connection = worker.accept();
    let mut server = Server {
        connection,
        codec: h2::Server::new(h2::Settings::default()),
        outbox: Outbox::default(),
        pool: Pool::default(),
        carry: Vec::new(),
        seen: Vec::new(),
        body: Vec::new(),
    };
    server.exchange(&mut worker);
    (worker, server)
}

fn grant(worker: &mut Worker, server: &mut Server, messages: u32) {
    worker.streams.grant_grpc(&mut worker.port, CALL, messages);
    worker.settle();
    server.exchange(worker);
}

fn send(worker: &mut Worker, server: &mut Server, message: &[u8], end: bool) {
    worker.streams.send_grpc(&mut worker.port, CALL, message, end);
    worker.settle();
    server.exchange(worker);
}

fn events(worker: &mut Worker) -> Vec<plan::Event> {
    std::mem::take(&mut worker.port.emitted)
}

fn message(text: &[u8]) -> plan::Event {
    plan::Event::GrpcMessage { call: CALL, message: text.to_vec() }
}

fn closed(worker: &mut Worker) -> (u32, String) {
    assert_eq!(worker.streams.active(), 0);
    match events(worker).pop() {
        Some(plan::Event::GrpcClosed { call: CALL, status, message }) => (status, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_go_both_ways_and_the_status_ends_the_call() {
    let (mut worker, mut server) = opened();
    let agent = concat!("mainstay/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        server.seen,
        [format!(
            "xds /test.Service/Watch content-type: application/grpc te: trailers user-agent: {agent} x-token: secret"
        )]
    );
    send(&mut worker, &mut server, b"one", false);
    send(&mut worker, &mut server, b"", true);
    assert_eq!((&server.body[..], server.seen[1].as_str()), (&b"\0\0\0\0\x03one\0\0\0\0\0"[..], "end"));
    server.open(&mut worker);
    grant(&mut worker, &mut server, 2);
    server.message(&mut worker, b"first");
    server.message(&mut worker, b"");
    let opened = plan::Event::GrpcOpened { call: CALL };
    assert_eq!(events(&mut worker), [opened, message(b"first"), message(b"")]);
    server.trailers(&mut worker, &[("grpc-status", "5"), ("grpc-message", "no%20such%C3%A4")]);
    assert_eq!(closed(&mut worker), (5, "no suchä".to_owned()));
}

#[test]
fn nothing_is_read_that_was_not_granted() {
    let (mut worker, mut server) = opened();
    server.open(&mut worker);
    let large = vec![7; 300_000];
    let bytes = [&[0][..], &(large.len() as u32).to_be_bytes(), &large].concat();
    let mut sent = 0;
    for _ in 0..40 {
        sent += server.data(&mut worker, &bytes[sent..], false);
    }
    // A stream's window, and not a byte more.
    assert!(sent <= 256 * 1024, "{sent}");
    assert_eq!(events(&mut worker).len(), 1);
    grant(&mut worker, &mut server, 1);
    while sent < bytes.len() {
        let accepted = server.data(&mut worker, &bytes[sent..], false);
        assert!(accepted > 0);
        sent += accepted;
    }
    server.message(&mut worker, b"second");
    assert_eq!(events(&mut worker), [message(&large)]);
    server.trailers(&mut worker, &[("grpc-status", "0")]);
    assert_eq!(events(&mut worker), []);
    grant(&mut worker, &mut server, 1);
    let all = events(&mut worker);
    assert_eq!(all[0], message(b"second"));
    assert!(matches!(all[1], plan::Event::GrpcClosed { status: 0, .. }));
}

#[test]
fn a_message_arrives_whole_however_it_is_cut() {
    let (mut worker, mut server) = opened();
    server.open(&mut worker);
    grant(&mut worker, &mut server, 9);
    let bytes = b"\0\0\0\0\x05hello\0\0\0\0\x05world";
    for byte in bytes {
        server.data(&mut worker, &[*byte], false);
    }
    assert_eq!(events(&mut worker)[1..], [message(b"hello"), message(b"world")]);
}

#[test]
fn ends_have_their_status() {
    type End = fn(&mut Worker, &mut Server);
    let cases: &[(&str, u32, End)] = &[
        ("trailers only", 12, |worker, server| {
            let fields = [("content-type", "application/grpc"), ("grpc-status", "12")];
            server.head(worker, 200, &fields, true);
        }),
        ("HTTP 503", 14, |worker, server| server.head(worker, 503, &[], true)),
        ("HTTP 404 with a body", 12, |worker, server| server.head(worker, 404, &[], false)),
        ("not gRPC", 2, |worker, server| server.head(worker, 200, &[("content-type", "text/html")], false)),
        ("no status", 2, |worker, server| {
            server.open(worker);
            server.trailers(worker, &[("x", "y")]);
        }),
        ("no trailers", 13, |worker, server| {
            server.open(worker);
            server.data(worker, b"", true);
        }),
        ("compressed", 13, |worker, server| {
            server.open(worker);
            server.data(worker, b"\x01\0\0\0\x01x", false);
        }),
        ("too large", 8, |worker, server| {
            server.open(worker);
            server.data(worker, b"\0\xff\xff\xff\xff", false);
        }),
        ("within a message", 13, |worker, server| {
            server.open(worker);
            server.data(worker, b"\0\0\0\0\x05he", false);
            server.trailers(worker, &[("grpc-status", "0")]);
        }),
        ("reset", 14, |worker, server| {
            server.open(worker);
            server.send(worker, Command::ResetStream { stream: STREAM, reason: ResetReason::Failed });
        }),
        ("connection lost", 14, |worker, server| {
            worker.pass(1);
            worker.lose(server.connection);
        }),
    ];
    for (what, expected, end) in cases {
        let (mut worker, mut server) = opened();
        grant(&mut worker, &mut server, 1);
        end(&mut worker, &mut server);
        let (status, message) = closed(&mut worker);
        assert_eq!(status, *expected, "{what}: {message}");
        // What comes too late is swallowed.
        send(&mut worker, &mut server, b"late", true);
        grant(&mut worker, &mut server, 1);
        assert_eq!(events(&mut worker), [], "{what}");
    }
}

#[test]
fn calls_that_never_reach_a_server_say_why() {
    let mut lost = worker();
    let missing = GrpcCall { cluster: "gone".into(), ..wanted(&[]) };
    lost.streams.open_grpc(&mut lost.port, &missing);
    assert_eq!(closed(&mut lost).0, 14);
    let mut refused = worker();
    refused.streams.open_grpc(&mut refused.port, &wanted(&[]));
    refused.settle();
    refused.refuse();
    let (status, message) = closed(&mut refused);
    assert!(status == 14 && message.contains("connection refused"), "{message}");
    for call in [
        wanted(&[("X-Upper", "a")]),
        wanted(&[("x", "a\nb")]),
        GrpcCall { path: "Watch".into(), ..wanted(&[]) },
    ] {
        let mut worker = worker();
        worker.streams.open_grpc(&mut worker.port, &call);
        assert_eq!(closed(&mut worker).0, 3, "{call:?}");
    }
}

#[test]
fn cancelled_call_resets_its_stream_and_says_nothing() {
    let (mut worker, mut server) = opened();
    server.open(&mut worker);
    events(&mut worker);
    worker.streams.cancel_grpc(&mut worker.port, CALL);
    worker.settle();
    server.exchange(&mut worker);
    assert_eq!((server.seen.last().unwrap().as_str(), events(&mut worker)), ("Cancelled", vec![]));
    assert_eq!(worker.streams.active(), 0);
}

#[test]
fn a_server_that_reads_nothing_is_given_up() {
    let (mut worker, server) = opened();
    let message = vec![0; 1 << 20];
    worker.stall(server.connection, true);
    for _ in 0..70 {
        worker.streams.send_grpc(&mut worker.port, CALL, &message, false);
        worker.settle();
    }
    assert_eq!(closed(&mut worker).0, 8);
}

#[test]
fn a_quiet_stream_stays_open_for_days() {
    let (mut worker, mut server) = opened();
    server.open(&mut worker);
    for _ in 0..72 {
        worker.pass(3_600_000);
    }
    grant(&mut worker, &mut server, 1);
    server.message(&mut worker, b"still here");
    assert_eq!(events(&mut worker).last(), Some(&message(b"still here")));
}
