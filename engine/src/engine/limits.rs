//! Circuit breakers hold for the process: four workers over real sockets, judged by what the endpoint sees.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::Engine;
use crate::plan::{self, CircuitBreakers, Delta, EngineSettings, Kind, LocalWorkload, Thresholds, Upsert};
use crate::stream::testing;
use crate::upstream::testing::UNLIMITED;

/// Longer than anything here takes: a test that hangs shall fail.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many there are at once, and how many there have been at most.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(&self) {
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, SeqCst);
    }
}

/// Holds back answers until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let open = self.opened.wait_while(self.open.lock().unwrap(), |open| !*open);
        drop(open.unwrap());
    }
}

/// A server that counts. It takes a request out of its count before it answers: what it saw at once was truly at once.
#[derive(Default)]
struct Endpoint {
    connections: Gauge,
    requests: Gauge,
    gate: Gate,
}

impl Endpoint {
    fn start(serve: fn(&Self, TcpStream)) -> (Arc<Self>, SocketAddr) {
        let endpoint = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::clone(&endpoint);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let endpoint = Arc::clone(&served);
                endpoint.connections.enter();
                std::thread::spawn(move || {
                    serve(&endpoint, stream);
                    endpoint.connections.leave();
                });
            }
        });
        (endpoint, address)
    }

    /// Answers 503 to first attempts of `/again`, else 200 once the gate is open.
    fn http(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while let Some(head) = read_head(&mut reader) {
            let first = head.contains("/again") && head.contains("x-envoy-attempt-count: 1");
            if first {
                let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
                continue;
            }
            self.requests.enter();
            self.gate.wait();
            self.requests.leave();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    }

    /// Says one byte and holds the connection until its peer goes.
    fn hold(&self, mut stream: TcpStream) {
        let _ = stream.write_all(b"!");
        let _ = stream.read(&mut [0; 16]);
    }
}

/// A head up to its blank line, lower-cased; `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head.to_ascii_lowercase())
}

fn upsert<T: serde::Serialize>(resource: Kind, name: &str, plan: &T) -> Upsert {
    Upsert { resource, name: name.into(), digest: "1".into(), body: plan::encode(plan).unwrap() }
}

/// Four workers in front of one endpoint under these limits.
fn start(terminal: plan::Terminal, endpoint: SocketAddr, default: Thresholds) -> (Engine, SocketAddr) {
    let engine = Engine::start(EngineSettings {
        workers: 4,
        admin: None,
        metrics: None,
        health: None,
        registry: None,
        admin_beyond_loopback: false,
        resend_unprocessed: true,
        log_json: false,
        max_connections: None,
        node_id: "limits".into(),
        node_cluster: String::new(),
        version: String::new(),
        workload: LocalWorkload::default(),
    })
    .unwrap();
    let cluster = plan::Cluster {
        breakers: CircuitBreakers { default, high: UNLIMITED },
        ..testing::cluster("endpoint", &[&endpoint.to_string()])
    };
    let again = testing::to_with_retries("endpoint", testing::retries(1, &["5xx"]));
    let mut table =
        testing::table(vec![testing::route("/again", again), testing::route("/", testing::to("endpoint"))]);
    table.virtual_hosts[0].send_attempt_count = true;
    let upserts = vec![
        upsert(Kind::Cluster, "endpoint", &cluster),
        upsert(Kind::Route, "routes", &table),
        upsert(Kind::Listener, "listener", &testing::listener(terminal)),
    ];
    let report = engine.apply(Delta { upserts, removals: vec![] });
    assert_eq!(report.refused, []);
    let address = engine.listeners()[0].1.parse().unwrap();
    (engine, address)
}

fn http() -> plan::Terminal {
    plan::Terminal::Http { manager: testing::manager() }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Status of one request on a connection.
fn ask(stream: &mut TcpStream, path: &str) -> u16 {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let head = read_head(&mut reader).expect("an answer");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// One request from each of `count` clients at once; statuses as they come.
fn ask_from_many(address: SocketAddr, count: usize, path: &'static str) -> Receiver<u16> {
    let (sender, statuses) = channel();
    for _ in 0..count {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let _ = sender.send(ask(&mut connect(address), path));
        });
    }
    statuses
}

fn next(statuses: &Receiver<u16>, count: usize) -> Vec<u16> {
    (0..count).map(|_| statuses.recv_timeout(PATIENCE).unwrap()).collect()
}

#[test]
fn requests_are_limited_exactly() {
    let (endpoint, address) = Endpoint::start(Endpoint::http);
    let (engine, listener) = start(http(), address, Thresholds { max_requests: Some(5), ..UNLIMITED });
    let statuses = ask_from_many(listener, 40, "/");
    // The endpoint holds its answers back, so five are under way (one may still be connecting) and all others are refused.
    assert_eq!(next(&statuses, 35), [503; 35]);
    endpoint.gate.open();
    assert_eq!(next(&statuses, 5), [200; 5]);
    assert!(endpoint.requests.most.load(SeqCst) <= 5);
    engine.shutdown(PATIENCE);
}

#[test]
fn retries_are_limited_exactly() {
    let (endpoint, address) = Endpoint::start(Endpoint::http);
    let (engine, listener) = start(http(), address, Thresholds { max_retries: Some(2), ..UNLIMITED });
    let statuses = ask_from_many(listener, 20, "/again");
    // Two retries are in their back-off or at the endpoint.
    assert_eq!(next(&statuses, 18), [503; 18]);
    endpoint.gate.open();
    assert_eq!(next(&statuses, 2), [200; 2]);
    assert!(endpoint.requests.most.load(SeqCst) <= 2);
    engine.shutdown(PATIENCE);
}

#[test]
fn no_load_exceeds_the_limits() {
    let limits = Thresholds { max_connections: Some(3), max_requests: Some(6), ..UNLIMITED };
    let (endpoint, address) = Endpoint::start(Endpoint::http);
    endpoint.gate.open();
    let (engine, listener) = start(http(), address, limits);
    let clients: Vec<_> = (0..12)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = connect(listener);
                (0..40).map(|_| ask(&mut stream, "/")).filter(|status| *status == 200).count()
            })
        })
        .collect();
    let served: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(served > 0);
    assert!(endpoint.connections.most.load(SeqCst) <= 3, "{}", endpoint.connections.most.load(SeqCst));
    assert!(endpoint.requests.most.load(SeqCst) <= 3);
    engine.shutdown(PATIENCE);
}

#[test]
fn layer_four_connections_are_limited_exactly() {
    let (endpoint, address) = Endpoint::start(Endpoint::hold);
    let proxy = plan::TcpProxy {
        stat_prefix: "tcp".into(),
        targets: vec![plan::TcpTarget { cluster: "endpoint".into(), weight: 1 }],
        idle_timeout: None,
        max_connection_duration: None,
        max_connect_attempts: 1,
        access_logs: vec![],
    };
    let limits = Thresholds { max_connections: Some(3), ..UNLIMITED };
    let (engine, listener) = start(plan::Terminal::Tcp { proxy }, address, limits);
    let clients: Vec<_> = (0..12).map(|_| connect(listener)).collect();
    let reads = |mut client: &TcpStream| client.read(&mut [0; 1]).is_ok_and(|count| count == 1);
    let through: Vec<_> = clients.iter().filter(|client| reads(client)).collect();
    assert_eq!(through.len(), 3);
    assert_eq!(endpoint.connections.most.load(SeqCst), 3);
    engine.shutdown(PATIENCE);
}
