//! What tests of this room share: plans with defaults.

use crate::plan;

/// A connection manager as a bare Envoy has it.
pub fn manager() -> plan::HttpConnectionManager {
    plan::HttpConnectionManager {
        stat_prefix: "test".into(),
        protocol: plan::Protocol::Auto,
        routes: plan::RouteSource::Named { name: "routes".into() },
        filters: Vec::new(),
        access_logs: Vec::new(),
        use_remote_address: false,
        xff_trusted_hops: 0,
        skip_xff_append: false,
        internal_ranges: vec![],
        internal_unix_sockets: false,
        via: String::new(),
        server_name: None,
        server_name_if_absent: false,
        normalize_path: true,
        merge_slashes: false,
        escaped_slashes: "keep".into(),
        strip_any_host_port: false,
        strip_matching_host_port: false,
        strip_trailing_host_dot: false,
        underscores: plan::Underscores::Keep,
        forward_client_certificate: plan::ForwardClientCertificate::Sanitize,
        client_certificate_details: plan::ClientCertificate::default(),
        request_timeout: None,
        request_headers_timeout: Some(10_000),
        stream_idle_timeout: Some(300_000),
        idle_timeout: Some(3_600_000),
        max_connection_duration: None,
        max_stream_duration: None,
        drain_timeout: 5_000,
        max_requests_per_connection: None,
        max_request_headers_bytes: 61_440,
        max_request_headers: 100,
        http1: plan::Http1Options {
            accept_http_10: true,
            absolute_url: true,
            enable_trailers: true,
            max_headers: 100,
        },
        http2: plan::Http2Options {
            max_concurrent_streams: 256,
            stream_window: 262_144,
            connection_window: 1_048_576,
            keepalive_interval: None,
            keepalive_timeout: None,
        },
        upgrades: Vec::new(),
        generate_request_id: true,
        preserve_external_request_id: false,
        always_set_request_id_in_response: false,
        add_user_agent: false,
        proxy_100_continue: false,
        tracing: None,
        stream_error_on_invalid_http: false,
        rpc: Vec::new(),
    }
}

/// A route table with one host for everything.
pub fn table(routes: Vec<plan::Route>) -> plan::RouteTable {
    plan::RouteTable {
        name: "routes".into(),
        virtual_hosts: vec![plan::VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes,
            headers: plan::RouteHeaders::default(),
            retry: None,
            mirrors: Vec::new(),
            send_attempt_count: false,
            return_attempt_count: false,
            require_tls: false,
            filters: Vec::new(),
        }],
        headers: plan::RouteHeaders::default(),
        ignore_port: false,
        case_sensitive: false,
        most_specific_headers_win: false,
        internal_only_headers: Vec::new(),
    }
}

pub fn route(prefix: &str, action: plan::RouteAction) -> plan::Route {
    plan::Route {
        name: String::new(),
        matches: plan::RouteMatch {
            path: plan::PathMatch::Prefix { text: prefix.into() },
            ignore_case: false,
            headers: Vec::new(),
            query: Vec::new(),
            grpc_only: false,
            fraction: None,
        },
        action,
        headers: plan::RouteHeaders::default(),
        filters: Vec::new(),
        operation: String::new(),
    }
}

/// To a cluster, with Envoy's 15 s.
pub fn to(cluster: &str) -> plan::RouteAction {
    plan::RouteAction::Forward {
        upstreams: plan::Upstreams::Cluster { name: cluster.into() },
        path_rewrite: None,
        host_rewrite: None,
        append_forwarded_host: false,
        timeout: Some(15_000),
        idle_timeout: None,
        unlimited_idle: false,
        max_duration: None,
        grpc_timeout_max: None,
        retry: None,
        mirrors: Vec::new(),
        upgrades: Vec::new(),
        cluster_not_found_status: 503,
        high_priority: false,
        internal_redirect: None,
    }
}

/// Retries without waiting, on these classes.
pub fn retries(attempts: u32, retry_on: &[&str]) -> plan::RetryPolicy {
    plan::RetryPolicy {
        retry_on: retry_on.iter().map(|class| (*class).to_owned()).collect(),
        attempts,
        per_try_timeout: None,
        per_try_idle_timeout: None,
        back_off: plan::BackOff { base: 25, max: 250 },
        retriable_statuses: Vec::new(),
        retriable_headers: Vec::new(),
        retriable_request_headers: Vec::new(),
        avoid_previous_hosts: true,
        host_selection_attempts: 5,
    }
}

pub fn to_with_retries(cluster: &str, policy: plan::RetryPolicy) -> plan::RouteAction {
    let mut action = to(cluster);
    if let plan::RouteAction::Forward { retry, .. } = &mut action {
        *retry = Some(policy);
    }
    action
}

/// Static endpoints, round robin, Envoy's limits.
pub fn cluster(name: &str, endpoints: &[&str]) -> plan::Cluster {
    let unlimited = plan::Thresholds {
        max_connections: Some(1_024),
        max_pending: Some(1_024),
        max_requests: Some(1_024),
        max_retries: Some(3),
        retry_budget_percent: None,
        retry_budget_minimum: 3,
    };
    plan::Cluster {
        name: name.into(),
        stat_name: String::new(),
        discovery: plan::Discovery::Static {
            localities: vec![plan::LocalityEndpoints {
                locality: plan::Locality::default(),
                priority: 0,
                weight: 1,
                endpoints: endpoints.iter().map(|address| endpoint(address)).collect(),
            }],
        },
        load_balancer: plan::LoadBalancer::RoundRobin {},
        locality: plan::LocalityBalancing::Ignore,
        panic_threshold: 50,
        connect_timeout: 5_000,
        http: plan::UpstreamHttp {
            protocol: plan::UpstreamProtocol::Http1,
            http2: manager().http2,
            idle_timeout: Some(3_600_000),
            max_connection_duration: None,
            max_stream_duration: None,
            max_requests_per_connection: None,
            max_response_headers_bytes: 61_440,
            max_response_headers: 100,
        },
        breakers: plan::CircuitBreakers { default: unlimited, high: unlimited },
        outlier: None,
        tcp_keepalive: None,
        source_address: None,
        socket_matches: Vec::new(),
        tls: None,
        health_checks: Vec::new(),
        labels: Vec::new(),
        close_on_health_failure: false,
        buffer_limit: None,
    }
}

/// Of a port that speaks one framed protocol.
pub fn speaking(codec: plan::RpcCodec) -> plan::HttpConnectionManager {
    plan::HttpConnectionManager { protocol: plan::Protocol::Rpc, rpc: vec![codec], ..manager() }
}

/// So many failures in a row eject an endpoint.
pub fn outlier(failures: u32) -> plan::OutlierDetection {
    plan::OutlierDetection {
        consecutive_5xx: Some(failures),
        consecutive_gateway_failure: None,
        consecutive_local_origin_failure: None,
        split_local_origin: false,
        interval: 10_000,
        base_ejection_time: 30_000,
        max_ejection_time: 300_000,
        max_ejection_percent: 100,
        enforcing_consecutive_5xx: 100,
        enforcing_consecutive_gateway_failure: 0,
        enforcing_consecutive_local_origin_failure: 100,
    }
}

pub fn endpoint(address: &str) -> plan::Endpoint {
    let address: std::net::SocketAddr = address.parse().unwrap();
    plan::Endpoint {
        address: plan::Address::Socket { ip: address.ip(), port: address.port() },
        hostname: String::new(),
        weight: 1,
        health: plan::Health::Healthy,
        socket_labels: Vec::new(),
        labels: Vec::new(),
        takes_http1_in_http2: false,
    }
}

pub fn tcp_proxy(cluster: &str) -> plan::TcpProxy {
    plan::TcpProxy {
        stat_prefix: "pipe".into(),
        targets: vec![plan::TcpTarget { cluster: cluster.into(), weight: 1 }],
        idle_timeout: Some(3_600_000),
        max_connection_duration: None,
        max_connect_attempts: 1,
        access_logs: Vec::new(),
    }
}

pub fn listener(terminal: plan::Terminal) -> plan::Listener {
    plan::Listener {
        name: "listener".into(),
        address: plan::Address::Socket { ip: [127, 0, 0, 1].into(), port: 0 },
        bind: true,
        use_original_destination: false,
        transparent: false,
        direction: plan::TrafficDirection::Outbound,
        listener_filters: Vec::new(),
        detection_timeout: None,
        continue_on_detection_timeout: false,
        chains: vec![plan::FilterChain {
            name: "chain".into(),
            matches: plan::ChainMatch::default(),
            tls: None,
            handshake_timeout: None,
            network_filters: Vec::new(),
            terminal,
        }],
        default_chain: None,
        stat_prefix: String::new(),
        connection_limit: None,
        tcp_keepalive: None,
        buffer_limit: None,
        access_logs: Vec::new(),
        accepts_http1_in_http2: true,
    }
}

/// Mutual TLS by the secrets of `Worker::with_identity`.
pub fn mutual_tls(application_protocols: &[&str]) -> plan::UpstreamTls {
    plan::UpstreamTls {
        certificates: vec!["own".into()],
        validation: Some("roots".into()),
        alternative_names: plan::AlternativeNames::default(),
        server_name: String::new(),
        auto_server_name: false,
        auto_san_validation: false,
        application_protocols: application_protocols.iter().map(|name| (*name).to_owned()).collect(),
        min_version: plan::TlsVersion::V1_2,
        max_version: plan::TlsVersion::V1_3,
    }
}
