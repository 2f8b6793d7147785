//! The whole worker over the simulated driver: whatever the timing, bytes arrive, exchanges end, nothing is left behind.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::json;

use super::board::Board;
use super::doors::{Admitted, Live};
use super::driver::Incoming;
use super::events::Events;
use super::letter::{Inbox, Letter};
use super::mailbox::Mailbox;
use super::shared::Shared;
use super::simulated::{Net, Simulated, Socket};
use super::worker::Worker;
use crate::bytes::Outbox;
use crate::message::{MILLISECOND, Tick};
use crate::plan::{self, Delta, Kind, LocalWorkload, Upsert};
use crate::snapshot::{Builder, Snapshot};
use crate::stream::Streams;
use crate::telemetry::Telemetry;

/// A worker with its network.
struct Bench {
    worker: Worker<Simulated>,
    inbox: Arc<Inbox<Simulated>>,
    net: Rc<RefCell<Net>>,
    shared: Arc<Shared>,
    load: Arc<AtomicUsize>,
}

impl Bench {
    fn new(seed: u64, snapshot: Arc<Snapshot>) -> Self {
        let net = Net::new(seed);
        let shared = Shared::new(Events::new().unwrap(), 10_000);
        let telemetry = Telemetry::new(LocalWorkload::default());
        let inbox = Mailbox::new(Box::new(|| {}));
        let load = Arc::new(AtomicUsize::new(0));
        let board = Board::new(
            Simulated(Rc::clone(&net)),
            Arc::default(),
            telemetry.recorder(),
            Arc::clone(&shared),
            Arc::clone(&load),
            seed,
        );
        let streams = Streams::new(1, seed, &LocalWorkload::default());
        let worker = Worker::new(board, Arc::clone(&inbox), streams);
        inbox.post_snapshot(snapshot);
        Self { worker, inbox, net, shared, load }
    }

    /// A client's connection to a listener; what the client holds of it.
    fn connect(&mut self, listener: &str) -> usize {
        let (client, ours) = self.net.borrow_mut().pair();
        let name: Arc<str> = listener.into();
        let live = self.shared.listener(&name);
        let live = Live::enter(&live);
        self.load.fetch_add(1, Ordering::Relaxed);
        let socket: Socket = Simulated(Rc::clone(&self.net)).socket(ours);
        let remote = Some(([127, 0, 0, 1], 40_000).into());
        let admitted = Admitted { listener: name, incoming: Incoming { socket, remote }, live };
        assert!(self.inbox.post(Letter::Admitted(admitted)).is_ok());
        client
    }

    fn turn(&mut self) {
        assert!(self.worker.turn().is_continue());
        self.net.borrow_mut().pass(MILLISECOND / 10);
        for (_, connection) in self.worker.board.connections.iter() {
            assert!(connection.outbox.len() <= Outbox::HIGH_MARK + 512 * 1024, "an outbox outgrew its cap");
        }
        assert_eq!(self.shared.panics.load(Ordering::Relaxed), 0, "a step panicked");
    }
}

fn snapshot(terminal: &serde_json::Value) -> Arc<Snapshot> {
    snapshot_with(terminal, None)
}

/// `endpoint_limit`: bytes that may wait for an endpoint.
fn snapshot_with(terminal: &serde_json::Value, endpoint_limit: Option<u32>) -> Arc<Snapshot> {
    let cluster = json!({
        "name": "app", "stat_name": "", "discovery": {"kind": "static", "localities": [{
            "locality": {"region": "", "zone": "", "sub_zone": ""}, "priority": 0, "weight": 1, "endpoints": [{
                "address": {"kind": "socket", "ip": "127.0.0.1", "port": 9}, "hostname": "", "weight": 1,
                "health": "healthy", "socket_labels": [], "labels": [], "takes_http1_in_http2": false}]}]},
        "load_balancer": {"kind": "round_robin"}, "locality": "ignore", "panic_threshold": 50,
        "connect_timeout": 5000, "http": {"protocol": "http1", "http2": http2(), "idle_timeout": null,
            "max_connection_duration": null, "max_stream_duration": null, "max_requests_per_connection": null,
            "max_response_headers_bytes": 61440, "max_response_headers": 100},
        "breakers": {"default": unlimited(), "high": unlimited()}, "outlier": null, "tcp_keepalive": null,
        "source_address": null, "socket_matches": [], "tls": null, "health_checks": [], "labels": [],
        "close_on_health_failure": false, "buffer_limit": endpoint_limit});
    let listener = json!({
        "name": "front", "address": {"kind": "socket", "ip": "127.0.0.1", "port": 0}, "bind": true,
        "use_original_destination": false, "transparent": false, "direction": "unspecified",
        "listener_filters": [], "detection_timeout": null, "continue_on_detection_timeout": false,
        "chains": [{"name": "only", "matches": {"destination_port": null, "destination_ranges": [],
            "server_names": [], "transport_protocol": "", "application_protocols": [],
            "direct_source_ranges": [], "source_type": "any", "source_ranges": [], "source_ports": []},
            "tls": null, "handshake_timeout": null, "network_filters": [], "terminal": terminal}],
        "default_chain": null, "stat_prefix": "", "connection_limit": null, "tcp_keepalive": null,
        "buffer_limit": null, "access_logs": [], "accepts_http1_in_http2": false});
    let mut builder = Builder::new(Arc::default(), 1);
    let upserts = vec![
        upsert::<plan::Cluster>(Kind::Cluster, "app", cluster),
        upsert::<plan::Listener>(Kind::Listener, "front", listener),
    ];
    let (snapshot, report) = builder.apply(Delta { upserts, removals: Vec::new() }, Tick(1));
    assert_eq!(report.refused, []);
    snapshot.unwrap()
}

fn upsert<T: serde::de::DeserializeOwned + serde::Serialize>(
    resource: Kind,
    name: &str,
    plan: serde_json::Value,
) -> Upsert {
    let plan: T = serde_json::from_value(plan).unwrap();
    let body = plan::encode(&plan).unwrap();
    Upsert { resource, name: name.to_owned(), digest: "1".to_owned(), body }
}

fn http2() -> serde_json::Value {
    json!({"max_concurrent_streams": 100, "stream_window": 65535, "connection_window": 65535,
           "keepalive_interval": null, "keepalive_timeout": null})
}

fn unlimited() -> serde_json::Value {
    json!({"max_connections": null, "max_pending": null, "max_requests": null, "max_retries": null,
           "retry_budget_percent": null, "retry_budget_minimum": 0})
}

fn tcp() -> serde_json::Value {
    json!({"kind": "tcp", "proxy": {"stat_prefix": "t", "targets": [{"cluster": "app", "weight": 1}],
        "idle_timeout": null, "max_connection_duration": null, "max_connect_attempts": 1, "access_logs": []}})
}

fn http() -> serde_json::Value {
    let forward = json!({"kind": "forward", "upstreams": {"kind": "cluster", "name": "app"}, "path_rewrite": null,
        "host_rewrite": null, "append_forwarded_host": false, "timeout": null, "idle_timeout": null,
        "unlimited_idle": true, "max_duration": null, "grpc_timeout_max": null, "retry": null, "mirrors": [],
        "upgrades": [], "cluster_not_found_status": 503, "high_priority": false, "internal_redirect": null});
    let headers = json!({"request": [], "response": [], "request_remove": [], "response_remove": []});
    let table = json!({"name": "r", "headers": headers, "ignore_port": false, "case_sensitive": false, "most_specific_headers_win": false,
        "internal_only_headers": [], "virtual_hosts": [{"name": "all", "domains": ["*"], "headers": headers,
            "retry": null, "mirrors": [], "send_attempt_count": false, "return_attempt_count": false,
            "require_tls": false, "filters": [], "routes": [{"name": "all", "headers": headers, "filters": [],
                "operation": "", "action": forward, "matches": {"path": {"kind": "prefix", "text": "/"},
                    "ignore_case": false, "headers": [], "query": [], "grpc_only": false, "fraction": null}}]}]});
    json!({"kind": "http", "manager": {
        "stat_prefix": "h", "protocol": "auto", "routes": {"kind": "inline", "table": table}, "filters": [],
        "access_logs": [], "use_remote_address": false, "xff_trusted_hops": 0, "skip_xff_append": false,
        "internal_ranges": [], "internal_unix_sockets": false,
        "via": "", "server_name": null, "server_name_if_absent": false, "normalize_path": false,
        "merge_slashes": false, "escaped_slashes": "keep", "strip_any_host_port": false,
        "strip_matching_host_port": false, "strip_trailing_host_dot": false, "underscores": "keep",
        "forward_client_certificate": "sanitize",
        "client_certificate_details": {"subject": false, "cert": false, "chain": false, "dns": false, "uri": false},
        "request_timeout": null, "request_headers_timeout": null, "stream_idle_timeout": null,
        "idle_timeout": null, "max_connection_duration": null, "max_stream_duration": null,
        "drain_timeout": 5000, "max_requests_per_connection": null, "max_request_headers_bytes": 61440,
        "max_request_headers": 100, "http1": {"accept_http_10": false, "absolute_url": true,
            "enable_trailers": false, "max_headers": 100}, "http2": http2(), "upgrades": [],
        "generate_request_id": false, "preserve_external_request_id": false,
        "always_set_request_id_in_response": false, "add_user_agent": false, "proxy_100_continue": false,
        "tracing": null, "stream_error_on_invalid_http": false, "rpc": []}})
}

/// What somebody at a far end still has to write, and has read.
#[derive(Default)]
struct Party {
    end: usize,
    unsent: Vec<u8>,
    sent: usize,
    ends_behind: bool,
    said_end: bool,
    seen: Vec<u8>,
    saw_end: bool,
}

impl Party {
    fn new(end: usize, unsent: Vec<u8>, ends_behind: bool) -> Self {
        Self { end, unsent, ends_behind, ..Self::default() }
    }

    /// Writes and reads as much as `appetite` allows.
    fn act(&mut self, net: &RefCell<Net>, appetite: usize) {
        let mut net = net.borrow_mut();
        let rest = &self.unsent[self.sent..];
        if !rest.is_empty() {
            match net.write(self.end, &rest[..rest.len().min(appetite)]) {
                Ok(count) => self.sent += count,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "a far end was cut"),
            }
        } else if self.ends_behind && !self.said_end {
            self.said_end = true;
            net.end_output(self.end);
        }
        let mut room = vec![0; appetite];
        match net.read(self.end, &mut room) {
            Ok(0) => self.saw_end = true,
            Ok(count) => self.seen.extend_from_slice(&room[..count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "a far end was cut"),
        }
    }
}

fn body(size: usize, salt: usize) -> Vec<u8> {
    (0..size).map(|index| (index * 31 + salt) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn tcp_bytes_arrive_whole_both_ways(
        seed in any::<u64>(),
        up in 0usize..400_000,
        down in 0usize..400_000,
        appetite in 1_000usize..300_000,
        limit in proptest::option::of(1_024u32..40_000),
    ) {
        let mut bench = Bench::new(seed, snapshot_with(&tcp(), limit));
        let end = bench.connect("front");
        let mut client = Party::new(end, body(up, 1), true);
        let mut server: Option<Party> = None;
        for _ in 0..20_000 {
            bench.turn();
            if server.is_none() && let Some(far) = bench.net.borrow_mut().dialed.pop() {
                server = Some(Party::new(far, body(down, 2), true));
            }
            client.act(&bench.net, appetite);
            if let Some(server) = &mut server {
                server.act(&bench.net, appetite);
                if server.saw_end && client.saw_end && bench.worker.board.connections.is_empty() {
                    break;
                }
            }
        }
        let server = server.unwrap();
        prop_assert_eq!(client.seen.len(), down);
        prop_assert_eq!(server.seen.len(), up);
        prop_assert!(client.seen == body(down, 2) && server.seen == body(up, 1), "bytes were mixed up");
        prop_assert!(bench.worker.board.connections.is_empty(), "a connection was left behind");
        prop_assert_eq!(bench.worker.streams.active(), 0);
        prop_assert_eq!(bench.load.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn http_requests_are_answered_in_order(seed in any::<u64>(), sizes in proptest::collection::vec(0usize..120_000, 1..8), appetite in 1_000usize..300_000) {
        let mut bench = Bench::new(seed, snapshot(&http()));
        let end = bench.connect("front");
        let mut requests = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            requests.extend(format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n").into_bytes());
            requests.extend(body(*size, number));
        }
        // All at once: pipelined, while the answers are read slowly.
        let mut client = Party::new(end, requests, false);
        let mut servers: Vec<Echo> = Vec::new();
        let mut answers = Bodies::default();
        for _ in 0..40_000 {
            bench.turn();
            servers.extend(bench.net.borrow_mut().dialed.drain(..).map(Echo::new));
            client.act(&bench.net, appetite);
            for server in &mut servers {
                server.act(&bench.net, appetite);
            }
            answers.read(&client.seen);
            if answers.found.len() == sizes.len() {
                break;
            }
        }
        let expected: Vec<_> = sizes.iter().enumerate().map(|(number, size)| body(*size, number)).collect();
        prop_assert!(answers.found == expected, "{} of {} answers", answers.found.len(), expected.len());
        prop_assert_eq!(servers.len(), 1, "one connection serves them all");
        // The client goes; what remains is the idle connection to the endpoint.
        bench.net.borrow_mut().end_output(end);
        for _ in 0..50 {
            bench.turn();
        }
        prop_assert_eq!(bench.worker.board.connections.len(), 1);
        prop_assert_eq!(bench.worker.streams.active(), 0);
    }

    #[test]
    fn resets_at_any_moment_leave_nothing_behind(seed in any::<u64>(), when in 0usize..60, whom in any::<bool>()) {
        let mut bench = Bench::new(seed, snapshot(&http()));
        let end = bench.connect("front");
        let mut request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n".to_vec();
        request.extend(body(200_000, 0));
        let mut sent = 0;
        let mut far = None;
        for step in 0..200 {
            bench.turn();
            far = far.or(bench.net.borrow_mut().dialed.pop());
            let mut net = bench.net.borrow_mut();
            if step < when {
                sent += net.write(end, &request[sent..]).unwrap_or(0);
                if let Some(far) = far {
                    let _ = net.read(far, &mut [0; 5_000]);
                }
            } else if step == when {
                match (whom, far) {
                    (true, Some(far)) => net.reset(far),
                    _ => net.reset(end),
                }
            } else if step == when + 40 {
                net.reset(end);
                if let Some(far) = far {
                    net.reset(far);
                }
            }
        }
        prop_assert_eq!(bench.worker.streams.active(), 0);
        prop_assert_eq!(bench.worker.board.connections.len(), 0);
        prop_assert_eq!(bench.load.load(Ordering::Relaxed), 0);
    }
}

/// Most bytes that waited for an endpoint which reads nothing, whatever its client sends.
fn most_that_waits(limit: Option<u32>) -> usize {
    let mut bench = Bench::new(7, snapshot_with(&tcp(), limit));
    let end = bench.connect("front");
    let mut client = Party::new(end, body(400_000, 1), false);
    let mut most = 0;
    for _ in 0..2_000 {
        bench.turn();
        client.act(&bench.net, 100_000);
        let endpoints = bench.worker.board.connections.iter().filter(|(_, one)| one.origin.is_none());
        most = endpoints.map(|(_, one)| one.outbox.len()).fold(most, usize::max);
    }
    assert!(client.sent < client.unsent.len(), "the client is held back");
    most
}

#[test]
fn what_waits_for_an_endpoint_is_limited_by_its_cluster() {
    let usual = most_that_waits(None);
    assert!((Outbox::HIGH_MARK / 2..=Outbox::HIGH_MARK).contains(&usual), "{usual}");
    assert_eq!(most_that_waits(Some(4_096)), 4_096);
}

#[test]
fn a_panic_is_told_and_the_others_go_on() {
    let mut bench = Bench::new(7, snapshot(&tcp()));
    bench.net.borrow_mut().calm = true;
    let end = bench.connect("front");
    let mut client = Party::new(end, b"hello".to_vec(), false);
    bench.turn();
    let former = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    bench.inbox.post_always(Letter::Task(Box::new(|_, _| std::panic::resume_unwind(Box::new("a step")))));
    assert!(bench.worker.turn().is_continue());
    std::panic::set_hook(former);
    assert_eq!(bench.shared.panics.swap(0, Ordering::Relaxed), 1);
    let told = bench.shared.events.wait(std::time::Duration::ZERO);
    assert!(matches!(told.as_slice(), [plan::Event::Trouble { .. }]), "{told:?}");
    for _ in 0..5 {
        bench.turn();
        client.act(&bench.net, 100);
    }
    let far = bench.net.borrow_mut().dialed.pop().unwrap();
    let mut room = [0; 16];
    assert_eq!(bench.net.borrow_mut().read(far, &mut room).unwrap(), 5);
}

#[test]
fn what_runs_when_the_worker_stops_is_finished() {
    let mut bench = Bench::new(7, snapshot(&http()));
    bench.net.borrow_mut().calm = true;
    let end = bench.connect("front");
    let mut client = Party::new(end, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), false);
    for _ in 0..5 {
        bench.turn();
        client.act(&bench.net, 100);
    }
    assert_eq!(bench.worker.streams.active(), 1);
    bench.inbox.post_always(Letter::Stop);
    assert!(bench.worker.turn().is_break());
    bench.worker.end_all();
    assert_eq!((bench.worker.streams.active(), bench.worker.board.connections.len()), (0, 0));
}

/// A server that answers each request with its body.
struct Echo {
    party: Party,
    bodies: Bodies,
}

impl Echo {
    fn new(end: usize) -> Self {
        Self { party: Party::new(end, Vec::new(), false), bodies: Bodies::default() }
    }

    fn act(&mut self, net: &RefCell<Net>, appetite: usize) {
        if net.borrow().is_gone(self.party.end) {
            return;
        }
        self.party.act(net, appetite);
        self.bodies.read(&self.party.seen);
        for body in self.bodies.found.drain(..) {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            self.party.unsent.extend(head.into_bytes());
            self.party.unsent.extend(body);
        }
    }
}

/// The bodies of whole messages, which all have a content-length; goes on where it stopped.
#[derive(Default)]
struct Bodies {
    found: Vec<Vec<u8>>,
    start: usize,
}

impl Bodies {
    fn read(&mut self, bytes: &[u8]) {
        loop {
            let rest = &bytes[self.start..];
            let Some(end) = memchr::memmem::find(rest, b"\r\n\r\n") else { return };
            let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
            let Some(body) = rest.get(end + 4..end + 4 + length) else { return };
            self.found.push(body.to_vec());
            self.start += end + 4 + length;
        }
    }
}
