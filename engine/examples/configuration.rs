//! What configuration costs: builds clusters with endpoints, each with a TLS context of its own, as a mesh sends them.
//!
//! `cargo run --release --example configuration [clusters] [endpoints]` prints time and memory of the first delta, of an
//! update that changes every endpoint resource, and of one cluster's endpoints: the figures of the engine's budget.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use mainstay_engine::message::Tick;
use mainstay_engine::plan::{
    self, Address, AlternativeNames, CertificateChain, CircuitBreakers, Delta, Discovery, Health,
    Http2Options, Kind, LoadBalancer, Locality, LocalityBalancing, LocalityEndpoints, Secret, SecretMaterial,
    SocketMatch, StringMatch, StringTest, Thresholds, TlsVersion, Upsert, UpstreamHttp, UpstreamProtocol,
    UpstreamTls, ValidationContext,
};
use mainstay_engine::snapshot::Builder;

/// Clusters in one delta while memory is measured, so that the deltas themselves do not count.
const PIECE: u32 = 50;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let clusters = arguments.next().unwrap_or(5_000).max(8);
    let endpoints = arguments.next().and_then(|count| u8::try_from(count).ok()).unwrap_or(10);

    let mut kept = started();
    let before = resident();
    for first in (0..clusters).step_by(PIECE as usize) {
        let piece = first..clusters.min(first + PIECE);
        let upserts = piece.flat_map(|number| [cluster(number), members(number, endpoints, 0)]).collect();
        assert_eq!(kept.apply(delta(upserts), Tick::default()).1.refused, []);
    }
    let used = resident().saturating_sub(before);
    let each = used * 1_024 / u64::from(clusters);
    println!(
        "memory: {used} KiB for {clusters} clusters, {each} bytes for each with its {endpoints} endpoints"
    );

    let mut builder = started();
    let all = (0..clusters).flat_map(|number| [cluster(number), members(number, endpoints, 0)]).collect();
    measure(&mut builder, delta(all), "first delta");
    let all = (0..clusters).map(|number| members(number, endpoints, 1)).collect();
    measure(&mut builder, delta(all), "new addresses everywhere");
    measure(&mut builder, delta(vec![members(7, endpoints, 2)]), "one endpoints resource");
    measure(&mut builder, delta(vec![cluster(7)]), "one cluster, unchanged");
    measure(
        &mut builder,
        delta(vec![Upsert { digest: "other".into(), ..cluster(7) }]),
        "one cluster, changed",
    );
}

fn started() -> Builder {
    let mut builder = Builder::new(std::sync::Arc::default(), 1);
    assert_eq!(builder.apply(delta(secrets()), Tick::default()).1.refused, []);
    builder
}

fn measure(builder: &mut Builder, delta: Delta, what: &str) {
    let resources = delta.upserts.len();
    let start = Instant::now();
    let (_, report) = builder.apply(delta, Tick::default());
    println!("{what}: {resources} resources in {:.2} ms", start.elapsed().as_secs_f64() * 1_000.0);
    assert_eq!(report.refused, []);
}

/// KiB of memory in use by this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

fn delta(upserts: Vec<Upsert>) -> Delta {
    Delta { upserts, removals: vec![] }
}

fn upsert<T: serde::Serialize>(resource: Kind, name: String, plan: &T, version: u32) -> Upsert {
    let body = plan::encode(plan).expect("plans can be encoded");
    // As long as a SHA-256 in hex.
    Upsert { resource, digest: format!("{version:064}"), name, body }
}

fn secrets() -> Vec<Upsert> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let chain = CertificateChain {
        certificates: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        key_id: None,
    };
    let context = ValidationContext { roots: certificate.pem().into_bytes(), domains: vec![] };
    let materials = [
        ("default", SecretMaterial::Certificate { chain }),
        ("ROOTCA", SecretMaterial::Validation { context }),
    ];
    let secret = |(name, material): (&str, SecretMaterial)| {
        let secret = Secret { name: name.to_owned(), material };
        upsert(Kind::Secret, name.to_owned(), &secret, 0)
    };
    materials.into_iter().map(secret).collect()
}

fn name_of(number: u32) -> String {
    format!("outbound|8080||service-{number}.namespace-{}.svc.cluster.local", number % 50)
}

fn cluster(number: u32) -> Upsert {
    let name = name_of(number);
    let exact = |text: String| StringMatch { test: StringTest::Exact { text }, ignore_case: false };
    let tls = UpstreamTls {
        certificates: vec!["default".into()],
        validation: Some("ROOTCA".into()),
        alternative_names: AlternativeNames {
            any_of: vec![exact(format!(
                "spiffe://cluster.local/ns/namespace-{}/sa/service-{number}",
                number % 50
            ))],
        },
        server_name: format!(
            "outbound_.8080_._.service-{number}.namespace-{}.svc.cluster.local",
            number % 50
        ),
        auto_server_name: false,
        auto_san_validation: false,
        application_protocols: vec!["istio-peer-exchange".into(), "istio".into()],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    };
    let thresholds = Thresholds {
        max_connections: Some(u32::MAX),
        max_pending: Some(u32::MAX),
        max_requests: Some(u32::MAX),
        max_retries: Some(u32::MAX),
        retry_budget_percent: None,
        retry_budget_minimum: 0,
    };
    let labels = vec![("tlsMode".to_owned(), "istio".to_owned())];
    let plan = plan::Cluster {
        discovery: Discovery::Eds { service: name.clone() },
        stat_name: String::new(),
        load_balancer: LoadBalancer::LeastRequest { choices: 2 },
        locality: LocalityBalancing::Ignore,
        panic_threshold: 0,
        connect_timeout: 10_000,
        http: UpstreamHttp {
            protocol: UpstreamProtocol::Downstream,
            http2: Http2Options {
                max_concurrent_streams: 100,
                stream_window: 262_144,
                connection_window: 1_048_576,
                keepalive_interval: None,
                keepalive_timeout: None,
            },
            idle_timeout: Some(3_600_000),
            max_connection_duration: None,
            max_stream_duration: None,
            max_requests_per_connection: None,
            max_response_headers_bytes: 61_440,
            max_response_headers: 100,
        },
        breakers: CircuitBreakers { default: thresholds, high: thresholds },
        outlier: None,
        tcp_keepalive: None,
        source_address: None,
        socket_matches: vec![
            SocketMatch { name: "tlsMode-istio".into(), labels, tls: Some(tls) },
            SocketMatch { name: "tlsMode-disabled".into(), labels: vec![], tls: None },
        ],
        tls: None,
        health_checks: vec![],
        labels: vec![
            ("host".into(), format!("service-{number}.namespace-{}.svc.cluster.local", number % 50)),
            ("name".into(), format!("service-{number}")),
            ("namespace".into(), format!("namespace-{}", number % 50)),
        ],
        close_on_health_failure: false,
        buffer_limit: None,
        name,
    };
    upsert(Kind::Cluster, plan.name.clone(), &plan, 0)
}

fn members(number: u32, count: u8, version: u8) -> Upsert {
    let label = |name: &str, value: String| (name.to_owned(), value);
    let endpoint = |index: u8| plan::Endpoint {
        address: Address::Socket {
            ip: IpAddr::V4(Ipv4Addr::new(10 + version, (number >> 8) as u8, number as u8, index)),
            port: 8_080,
        },
        hostname: String::new(),
        weight: 1,
        health: Health::Healthy,
        socket_labels: vec![label("tlsMode", "istio".into())],
        labels: vec![
            label("workload", format!("service-{number}-v1")),
            label("namespace", format!("namespace-{}", number % 50)),
            label("canonical_name", format!("service-{number}")),
            label("canonical_revision", "v1".into()),
            label("cluster", "Kubernetes".into()),
        ],
        takes_http1_in_http2: true,
    };
    let locality = LocalityEndpoints {
        locality: Locality { region: "eu".into(), zone: "eu-1".into(), sub_zone: String::new() },
        priority: 0,
        weight: 1,
        endpoints: (0..count).map(endpoint).collect(),
    };
    let service = name_of(number);
    let plan = plan::Endpoints {
        service: service.clone(),
        localities: vec![locality],
        overprovisioning: 140,
        drop_percent: 0.0,
    };
    upsert(Kind::Endpoints, service, &plan, u32::from(version))
}
