//! A whole engine with several workers: limits hold for the process, policies answer, logs and pages tell of it.
#![recursion_limit = "256"]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mainstay_engine::engine::Engine;
use mainstay_engine::plan::{self, Delta, EngineSettings, Event, Kind, LocalWorkload, Upsert};
use serde_json::{Value, json};

/// Longest wait for something that happens on another thread.
const PATIENCE: Duration = Duration::from_secs(10);

/// An engine that ends with its test, and its directory with it.
struct Running {
    engine: Engine,
    admin: SocketAddr,
    place: PathBuf,
}

impl Running {
    fn start(name: &str, workers: u32) -> Self {
        let place = std::env::temp_dir().join(format!("mainstay-policy-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let any_port = plan::Address::Socket { ip: [127, 0, 0, 1].into(), port: 0 };
        let engine = Engine::start(EngineSettings {
            workers,
            admin: Some(any_port),
            metrics: None,
            health: None,
            registry: None,
            admin_beyond_loopback: false,
            max_connections: None,
            resend_unprocessed: true,
            log_json: false,
            node_id: "test".into(),
            node_cluster: String::new(),
            version: "test".into(),
            workload: LocalWorkload::default(),
        })
        .unwrap();
        let admin = loop {
            let events = engine.wait(PATIENCE);
            assert!(!events.is_empty(), "the admin listener was not bound");
            if let Some(address) = events.iter().find_map(bound_admin) {
                break address;
            }
        };
        Self { engine, admin, place }
    }

    /// Puts a listener with these filters and routes in force; where it is bound.
    fn serve(&self, filters: &Value, routes: &Value) -> SocketAddr {
        let listener: plan::Listener =
            serde_json::from_value(listener(filters, routes, &self.log())).unwrap();
        let body = plan::encode(&listener).unwrap();
        let digest = format!("{filters}{routes}");
        let upserts = vec![Upsert { resource: Kind::Listener, name: "ingress".into(), digest, body }];
        let report = self.engine.apply(Delta { upserts, removals: vec![] });
        assert_eq!(report.refused, []);
        let listeners = self.engine.listeners();
        listeners.iter().find(|(name, _)| name == "ingress").unwrap().1.parse().unwrap()
    }

    fn log(&self) -> String {
        self.place.join("access.log").to_str().unwrap().to_owned()
    }

    fn admin(&self, target: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.shutdown(Duration::from_secs(5));
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

fn bound_admin(event: &Event) -> Option<SocketAddr> {
    match event {
        Event::ListenerBound { name, address } if name == "admin" => address.parse().ok(),
        _ => None,
    }
}

fn no_headers() -> Value {
    json!({ "request": [], "response": [], "request_remove": [], "response_remove": [] })
}

/// A route that answers by itself.
fn answering(prefix: &str, body: &str, filters: Value) -> Value {
    json!({
        "name": body,
        "matches": {
            "path": { "kind": "prefix", "text": prefix },
            "ignore_case": false, "headers": [], "query": [], "grpc_only": false, "fraction": null,
        },
        "action": { "kind": "respond", "response": { "status": 200, "body": body.as_bytes() } },
        "headers": no_headers(),
        "filters": filters,
        "operation": "",
    })
}

fn limit(max_tokens: u32) -> Value {
    let all = json!({ "numerator": 100, "denominator": 100 });
    json!({
        "kind": "local_rate_limit", "stat_prefix": "limit",
        "bucket": { "max_tokens": max_tokens, "tokens_per_fill": 1, "fill_interval": 3_600_000 },
        "enabled": all, "enforced": all, "status": 429, "response_headers": [], "draft_headers": false,
    })
}

fn adding(name: &str, value: &str) -> Value {
    let change = json!({
        "name": name, "value": value, "action": "overwrite_if_exists_or_add", "keep_empty": false,
    });
    let mut headers = no_headers();
    headers["response"] = json!([change]);
    json!({ "kind": "header_mutation", "headers": headers })
}

fn filter(name: &str, config: Value) -> Value {
    json!({ "name": name, "config": config, "disabled": false })
}

fn manager(filters: &Value, routes: &Value, log: &str) -> Value {
    json!({
        "stat_prefix": "ingress", "protocol": "auto",
        "routes": { "kind": "inline", "table": {
            "name": "local",
            "virtual_hosts": [{
                "name": "all", "domains": ["*"], "routes": routes, "headers": no_headers(), "retry": null,
                "mirrors": [], "send_attempt_count": false, "return_attempt_count": false,
                "require_tls": false, "filters": [],
            }],
            "headers": no_headers(), "ignore_port": false, "case_sensitive": false, "most_specific_headers_win": false,
            "internal_only_headers": [],
        }},
        "filters": filters,
        "access_logs": [{
            "sink": { "kind": "file", "path": log },
            "format": {
                "kind": "text",
                "format": "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%\n",
            },
        }],
        "use_remote_address": true, "xff_trusted_hops": 0, "skip_xff_append": false,
        "internal_ranges": [], "internal_unix_sockets": false, "via": "",
        "server_name": null, "server_name_if_absent": false, "normalize_path": true, "merge_slashes": false,
        "escaped_slashes": "keep", "strip_any_host_port": false, "strip_matching_host_port": false,
        "strip_trailing_host_dot": false, "underscores": "keep",
        "forward_client_certificate": "sanitize",
        "client_certificate_details":
            { "subject": false, "cert": false, "chain": false, "dns": false, "uri": false },
        "request_timeout": null, "request_headers_timeout": null, "stream_idle_timeout": null,
        "idle_timeout": null, "max_connection_duration": null, "max_stream_duration": null,
        "drain_timeout": 1_000, "max_requests_per_connection": null, "max_request_headers_bytes": 61_440,
        "max_request_headers": 100,
        "http1": { "accept_http_10": false, "absolute_url": true, "enable_trailers": false, "max_headers": 100 },
        "http2": {
            "max_concurrent_streams": 256, "stream_window": 262_144, "connection_window": 1_048_576,
            "keepalive_interval": null, "keepalive_timeout": null,
        },
        "upgrades": [], "generate_request_id": true, "preserve_external_request_id": false,
        "always_set_request_id_in_response": false, "add_user_agent": false, "proxy_100_continue": false,
        "tracing": null, "stream_error_on_invalid_http": false, "rpc": [],
    })
}

fn listener(filters: &Value, routes: &Value, log: &str) -> Value {
    json!({
        "name": "ingress", "address": { "kind": "socket", "ip": "127.0.0.1", "port": 0 }, "bind": true,
        "use_original_destination": false, "transparent": false, "direction": "inbound",
        "listener_filters": [], "detection_timeout": null, "continue_on_detection_timeout": false,
        "chains": [{
            "name": "main",
            "matches": {
                "destination_port": null, "destination_ranges": [], "server_names": [],
                "transport_protocol": "", "application_protocols": [], "direct_source_ranges": [],
                "source_type": "", "source_ranges": [], "source_ports": [],
            },
            "tls": null, "handshake_timeout": null, "network_filters": [],
            "terminal": { "kind": "http", "manager": manager(filters, routes, log) },
        }],
        "default_chain": null, "stat_prefix": "", "connection_limit": null, "tcp_keepalive": null,
        "buffer_limit": null, "access_logs": [], "accepts_http1_in_http2": false,
    })
}

/// Requests on one connection, one after another: the heads of their answers.
fn ask(address: SocketAddr, path: &str, times: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut once = || {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: cart\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed within a head");
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap_or("0").parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        head
    };
    (0..times).map(|_| once()).collect()
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

/// Looks until it holds; what happens on other threads has no moment of its own.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_limit_holds_for_the_process_at_four_workers_and_through_an_update() {
    let running = Running::start("limit", 4);
    let off = json!([["limit", { "kind": "disabled" }]]);
    let routes = json!([answering("/free", "free", off), answering("/", "hello", json!([]))]);
    let address = running.serve(&json!([filter("limit", limit(10))]), &routes);
    let clients: Vec<_> = (0..8).map(|_| std::thread::spawn(move || ask(address, "/", 5))).collect();
    let heads: Vec<String> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let count = |wanted: &str| heads.iter().filter(|head| status(head) == wanted).count();
    assert_eq!((count("200"), count("429")), (10, 30));

    // Another filter comes: the bucket stays empty. A route that switches the limit off is free of it.
    let mark = adding("x-mark", "%REQ(:path)%");
    let address = running.serve(&json!([filter("limit", limit(10)), filter("mark", mark)]), &routes);
    eventually("the update did not arrive", || {
        ask(address, "/free/of", 1)[0].contains("x-mark: /free/of\r\n")
    });
    assert_eq!(status(&ask(address, "/", 1)[0]), "429");
    assert_eq!(status(&ask(address, "/free", 1)[0]), "200");
    let stats = running.admin("/stats?filter=local_rate_limit");
    for line in ["http.ingress.local_rate_limit.ok: 10", "http.ingress.local_rate_limit.enforced: 31"] {
        assert!(stats.lines().any(|found| found == line), "{line} is not in\n{stats}");
    }
}

#[test]
fn refusals_are_answered_logged_and_counted() {
    let running = Running::start("rbac", 1);
    let rules = json!({
        "allow": false,
        "policies": [{
            "name": "no secrets",
            "permissions": [{ "kind": "path", "matches": {
                "test": { "kind": "prefix", "text": "/secret" }, "ignore_case": false,
            }}],
            "principals": [{ "kind": "any" }],
        }],
    });
    let rbac = json!({ "kind": "rbac", "rules": rules, "shadow_rules": null });
    let address = running.serve(&json!([filter("rbac", rbac)]), &json!([answering("/", "hello", json!([]))]));
    assert_eq!(status(&ask(address, "/open", 1)[0]), "200");
    assert_eq!(status(&ask(address, "/secret/x", 1)[0]), "403");
    let wanted = "200 - direct_response hello\n403 - rbac_access_denied_matched_policy[no_secrets] hello\n";
    let logged = || std::fs::read_to_string(running.log()).unwrap_or_default();
    eventually("the log lacks lines", || logged().lines().count() >= 2);
    assert_eq!(logged(), wanted);
    let stats = running.admin("/stats?filter=rbac&usedonly");
    assert_eq!(stats, "http.ingress.rbac.allowed: 1\nhttp.ingress.rbac.denied: 1\n");
    let dump: Value = serde_json::from_str(&running.admin("/config_dump?source=engine")).unwrap();
    assert_eq!(dump["listeners"][0]["chains"][0]["terminal"]["filters"][0], "rbac");
}
