//! Pages over a snapshot made from plans, without an engine.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use super::*;
use crate::plan::{
    self, Address, CertificateChain, Delta, EngineSettings, Held, Kind, LocalWorkload, SecretMaterial, Upsert,
};
use crate::snapshot::{Builder, KeyRing, Snapshot};
use crate::telemetry::{HttpCounter, Telemetry};
use crate::tls::Material;

/// An engine as far as pages see it. `answers`: what the application says, if it is not stuck.
struct Fake {
    settings: EngineSettings,
    builder: Mutex<Builder>,
    telemetry: Arc<Telemetry>,
    answers: Option<Answer>,
    asked: Mutex<Vec<String>>,
    drained: Mutex<Vec<bool>>,
    quits: AtomicUsize,
    levels: Mutex<Vec<(String, String)>>,
}

impl View for Fake {
    fn settings(&self) -> &EngineSettings {
        &self.settings
    }
    fn state(&self) -> State {
        State::Draining
    }
    fn uptime(&self) -> Duration {
        Duration::from_secs(61)
    }
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.builder.lock().unwrap().snapshot())
    }
    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
    fn foreign_metrics(&self) -> Arc<str> {
        "# TYPE mainstay_brain_deaths_total counter\nmainstay_brain_deaths_total 2\n".into()
    }
    fn connections(&self) -> usize {
        5
    }
    fn listeners(&self) -> Vec<(String, String)> {
        vec![("ingress".into(), "127.0.0.1:8080".into())]
    }
    fn held(&self) -> Vec<Held> {
        self.builder.lock().unwrap().held()
    }
    fn secrets(&self) -> Vec<(String, Arc<Material>)> {
        self.builder.lock().unwrap().materials()
    }
    fn log_levels(&self) -> Vec<(String, String)> {
        self.levels.lock().unwrap().clone()
    }
    fn set_log_level(&self, room: &str, level: &str) -> Result<(), String> {
        if !matches!(level, "debug" | "info") {
            return Err(format!("\"{level}\" is no level"));
        }
        for (known, value) in self.levels.lock().unwrap().iter_mut() {
            if room.is_empty() || known == room {
                *value = level.to_owned();
            }
        }
        Ok(())
    }
    fn ask(&self, request: &Request) -> Option<Answer> {
        self.asked.lock().unwrap().push(request.target.clone());
        self.answers.clone()
    }
    fn lend(&self, request: &Request) -> Option<Answer> {
        self.ask(request)
    }
    fn drain(&self, inbound_only: bool) {
        self.drained.lock().unwrap().push(inbound_only);
    }
    fn quit(&self) {
        self.quits.fetch_add(1, Relaxed);
    }
}

fn upsert(resource: Kind, name: &str, body: &impl serde::Serialize) -> Upsert {
    let body = plan::encode(body).unwrap();
    Upsert { resource, name: name.into(), digest: "d".into(), body }
}

fn listener() -> plan::Listener {
    let mut manager = crate::stream::testing::manager();
    manager.filters = vec![plan::HttpFilter {
        name: "mutate".into(),
        config: plan::HttpFilterConfig::HeaderMutation { headers: plan::RouteHeaders::default() },
        disabled: false,
    }];
    plan::Listener {
        name: "ingress".into(),
        address: Address::Socket { ip: "127.0.0.1".parse().unwrap(), port: 0 },
        bind: true,
        use_original_destination: false,
        transparent: false,
        direction: plan::TrafficDirection::Inbound,
        listener_filters: vec![],
        detection_timeout: None,
        continue_on_detection_timeout: false,
        chains: vec![plan::FilterChain {
            name: "main".into(),
            matches: plan::ChainMatch {
                destination_ranges: vec![plan::AddressRange { ip: "10.0.0.0".parse().unwrap(), prefix: 8 }],
                ..plan::ChainMatch::default()
            },
            tls: Some(plan::DownstreamTls {
                certificates: vec!["default".into()],
                validation: None,
                alternative_names: plan::AlternativeNames::default(),
                require_client_certificate: false,
                application_protocols: vec![],
                min_version: plan::TlsVersion::V1_2,
                max_version: plan::TlsVersion::V1_3,
            }),
            handshake_timeout: None,
            network_filters: vec![],
            terminal: plan::Terminal::Http { manager },
        }],
        default_chain: None,
        stat_prefix: String::new(),
        connection_limit: None,
        tcp_keepalive: None,
        buffer_limit: None,
        access_logs: vec![],
        accepts_http1_in_http2: false,
    }
}

/// The fake engine and the key that must be on no page.
fn engine(answers: Option<Answer>) -> (Arc<Fake>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["cart.shop".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2500, 1, 1);
    let certificates = params.self_signed(&key).unwrap().pem().into_bytes();
    let chain = CertificateChain { certificates, key: key.serialize_pem().into_bytes(), key_id: None };
    let secret = plan::Secret { name: "default".into(), material: SecretMaterial::Certificate { chain } };
    let cluster = crate::upstream::testing::cluster_plan("outbound|80||cart");
    let mut slow = crate::upstream::testing::endpoint_plan(2);
    slow.health = plan::Health::Draining;
    let endpoints = crate::upstream::testing::endpoints_plan(
        "outbound|80||cart",
        vec![crate::upstream::testing::locality_plan(
            0,
            vec![crate::upstream::testing::endpoint_plan(1), slow],
        )],
    );
    let mut builder = Builder::new(Arc::new(KeyRing::default()), 1);
    let (_, report) = builder.apply(
        Delta {
            upserts: vec![
                upsert(Kind::Secret, "default", &secret),
                upsert(Kind::Endpoints, "outbound|80||cart", &endpoints),
                upsert(Kind::Cluster, "outbound|80||cart", &cluster),
                upsert(Kind::Listener, "ingress", &listener()),
            ],
            removals: vec![],
        },
        crate::message::Tick(0),
    );
    assert_eq!(report.refused, []);
    let settings = EngineSettings {
        workers: 2,
        admin: None,
        metrics: None,
        health: None,
        registry: None,
        admin_beyond_loopback: false,
        max_connections: None,
        resend_unprocessed: true,
        log_json: false,
        node_id: "sidecar~10.0.0.1~cart".into(),
        node_cluster: "cart".into(),
        version: "1.2.3".into(),
        workload: LocalWorkload::default(),
    };
    let fake = Fake {
        settings,
        builder: Mutex::new(builder),
        telemetry: Telemetry::new(LocalWorkload::default()),
        answers,
        asked: Mutex::default(),
        drained: Mutex::default(),
        quits: AtomicUsize::new(0),
        levels: Mutex::new(vec![("route".into(), "info".into()), ("stream".into(), "info".into())]),
    };
    let secret: String = key.serialize_pem().lines().filter(|line| !line.starts_with('-')).collect();
    (Arc::new(fake), secret)
}

fn ask(engine: &Arc<Fake>, method: Method, target: &str) -> (u16, String) {
    let view: Arc<dyn View> = Arc::clone(engine) as Arc<dyn View>;
    let mut request = Request::get(target).unwrap();
    request.method = method;
    let answer = Console::new(view).answer(&request);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn get(engine: &Arc<Fake>, target: &str) -> String {
    let (status, body) = ask(engine, Method::Get, target);
    assert_eq!(status, 200, "{target}: {body}");
    body
}

fn get_json(engine: &Arc<Fake>, target: &str) -> Value {
    serde_json::from_str(&get(engine, target)).unwrap()
}

#[test]
fn clusters_and_listeners_are_shown_as_envoy_shows_them() {
    let (engine, _) = engine(None);
    let clusters = get(&engine, "/clusters");
    for line in [
        "outbound|80||cart::default_priority::max_connections::4294967295",
        "outbound|80||cart::eds_service_name::outbound|80||cart",
        "outbound|80||cart::10.0.0.1:80::health_flags::healthy",
        "outbound|80||cart::10.0.0.2:80::health_flags::/eds_status_draining",
        "outbound|80||cart::10.0.0.1:80::rq_active::0",
        "outbound|80||cart::10.0.0.1:80::priority::0",
    ] {
        assert!(clusters.lines().any(|found| found == line), "{line} is not in\n{clusters}");
    }
    let clusters = get_json(&engine, "/clusters?format=json");
    assert_eq!(clusters["cluster_statuses"][0]["host_statuses"][1]["address"], "10.0.0.2:80");
    assert_eq!(get(&engine, "/listeners"), "ingress::127.0.0.1:8080\n");
    let listeners = get_json(&engine, "/listeners?format=json");
    assert_eq!(listeners["listener_statuses"][0]["local_address"], "127.0.0.1:8080");
}

#[test]
fn who_is_in_a_cluster_is_counted_once_for_all_workers() {
    let (engine, _) = engine(None);
    let page = "/stats?filter=membership";
    assert_eq!(get(&engine, page), "", "no counters before use");
    for _ in 0..2 {
        engine.telemetry.recorder().cluster("outbound|80||cart");
    }
    let prefix = "cluster.outbound|80||cart.membership";
    assert_eq!(get(&engine, page), format!("{prefix}_healthy: 1\n{prefix}_total: 2\n"));
}

#[test]
fn the_server_and_its_certificates_tell_of_themselves() {
    let (engine, _) = engine(None);
    let info = get_json(&engine, "/server_info");
    assert_eq!((&info["state"], &info["version"]), (&"DRAINING".into(), &"1.2.3".into()));
    assert_eq!(info["uptime_current_epoch"], "61s");
    assert_eq!(info["node"]["id"], "sidecar~10.0.0.1~cart");
    let certs = get_json(&engine, "/certs");
    let leaf = &certs["certificates"][0]["cert_chain"][0];
    assert_eq!(leaf["subject_alt_names"][0]["dns"], "cart.shop");
    assert_eq!(leaf["expiration_time"], "2500-01-01T00:00:00Z");
    assert!(leaf["days_until_expiration"].as_u64().unwrap() > 100_000);
}

#[test]
fn stats_are_filtered_by_a_regex() {
    let (engine, _) = engine(None);
    engine.telemetry.recorder().http("ingress").increment(HttpCounter::RqTotal);
    assert_eq!(
        get(&engine, "/stats?filter=^http\\..*rq_(total|active)$"),
        "http.ingress.downstream_rq_active: 0\nhttp.ingress.downstream_rq_total: 1\n"
    );
    assert_eq!(get(&engine, "/stats?usedonly&filter=rq_"), "http.ingress.downstream_rq_total: 1\n");
    let json = get_json(&engine, "/stats?format=json&filter=server.uptime");
    assert_eq!(
        (&json["stats"][0]["name"], &json["stats"][0]["value"]),
        (&"server.uptime".into(), &61.into())
    );
    assert_eq!(ask(&engine, Method::Get, "/stats?filter=(").0, 400);
    for target in ["/stats/prometheus", "/stats?format=prometheus"] {
        let text = get(&engine, target);
        assert!(text.contains("envoy_server_uptime 61\n"), "{text}");
        assert!(text.contains("envoy_cluster_manager_active_clusters 1\n"), "{text}");
    }
}

#[test]
fn configuration_is_dumped_by_the_application_or_without_it() {
    let (stuck, _) = engine(None);
    let dump = get_json(&stuck, "/config_dump");
    assert_eq!(dump["source"], "engine");
    let chain = &dump["listeners"][0]["chains"][0];
    assert_eq!(chain["terminal"]["filters"][0], "mutate");
    assert_eq!(chain["terminal"]["routes"]["present"], false);
    assert_eq!(chain["tls"]["certificates"][0], "default");
    assert_eq!(dump["clusters"][0]["connect_timeout"], 5_000);
    assert_eq!(dump["held"].as_array().unwrap().len(), 4);
    let (well, _) = engine(Some(Answer::json("{\"configs\": []}")));
    assert_eq!(get(&well, "/config_dump"), "{\"configs\": []}");
    assert_eq!(get_json(&well, "/config_dump?source=engine")["source"], "engine");
}

#[test]
fn no_page_shows_a_key() {
    let (engine, key) = engine(None);
    let part = &key[20..60];
    for target in
        ["/certs", "/clusters", "/config_dump", "/help", "/listeners", "/logging", "/server_info", "/stats"]
    {
        let page = get(&engine, target);
        assert!(!page.contains(part) && !page.contains("PRIVATE KEY"), "{target}");
    }
}

#[test]
fn what_changes_something_is_a_post() {
    let (stuck, _) = engine(None);
    for target in ["/quitquitquit", "/drain_listeners?inboundonly"] {
        for method in [Method::Get, Method::Head] {
            assert_eq!(ask(&stuck, method, target).0, 405, "{target}");
        }
    }
    assert_eq!(stuck.quits.load(Relaxed), 0);
    // The application is stuck: the engine drains and ends by itself.
    assert_eq!(ask(&stuck, Method::Post, "/drain_listeners?inboundonly"), (200, "OK\n".into()));
    assert_eq!(ask(&stuck, Method::Post, "/drain_listeners").0, 200);
    assert_eq!(*stuck.drained.lock().unwrap(), [true, false]);
    assert_eq!(ask(&stuck, Method::Post, "/quitquitquit").0, 200);
    assert_eq!(stuck.quits.load(Relaxed), 1);
    assert_eq!(ask(&stuck, Method::Get, "/mainstay/status").0, 504);
    // It is well: the page is its own.
    let (well, _) = engine(Some(Answer::text(200, "mine\n")));
    assert_eq!(ask(&well, Method::Post, "/quitquitquit"), (200, "mine\n".into()));
    assert_eq!(get(&well, "/mainstay/status?x"), "mine\n");
    assert_eq!(well.quits.load(Relaxed), 0);
    assert_eq!(*well.asked.lock().unwrap(), ["/quitquitquit", "/mainstay/status?x"]);
}

#[test]
fn log_levels_are_shown_and_changed() {
    let (engine, _) = engine(None);
    assert_eq!(get(&engine, "/logging"), "active loggers:\n  route: info\n  stream: info\n");
    assert_eq!(ask(&engine, Method::Get, "/logging?level=debug").0, 405);
    assert_eq!(ask(&engine, Method::Post, "/logging?paths=route:debug").0, 200);
    assert_eq!(get(&engine, "/logging"), "active loggers:\n  route: debug\n  stream: info\n");
    assert_eq!(ask(&engine, Method::Post, "/logging?stream=loud"), (400, "\"loud\" is no level\n".into()));
    assert_eq!(
        ask(&engine, Method::Post, "/logging?level=info").1,
        "active loggers:\n  route: info\n  stream: info\n"
    );
}

#[test]
fn every_page_is_listed_and_unknown_ones_are_not_there() {
    let (engine, _) = engine(None);
    let help = get(&engine, "/help");
    assert_eq!(get(&engine, "/"), help);
    for page in ["/ready", "/stats/prometheus", "/quitquitquit (POST)", "/drain_listeners (POST)", "/certs"] {
        assert!(help.contains(&format!("  {page}: ")), "{page}");
    }
    assert_eq!(ask(&engine, Method::Get, "/nothing").0, 404);
    assert_eq!(Console::new(engine).render("/listeners").unwrap().status, 200);
}
