//! Plans and clusters for tests, here and in the rooms above.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::{Cluster, Endpoint, Interner, Membership};
use crate::plan::{
    self, Address, CircuitBreakers, Discovery, Health, Http2Options, LoadBalancer, Locality,
    LocalityBalancing, LocalityEndpoints, Thresholds, UpstreamHttp, UpstreamProtocol,
};

pub const UNLIMITED: Thresholds = Thresholds {
    max_connections: None,
    max_pending: None,
    max_requests: None,
    max_retries: None,
    retry_budget_percent: None,
    retry_budget_minimum: 0,
};

/// A round-robin EDS cluster without limits; its endpoints resource has the cluster's name.
pub fn cluster_plan(name: &str) -> plan::Cluster {
    plan::Cluster {
        name: name.into(),
        stat_name: String::new(),
        discovery: Discovery::Eds { service: name.into() },
        load_balancer: LoadBalancer::RoundRobin {},
        locality: LocalityBalancing::Ignore,
        panic_threshold: 0,
        connect_timeout: 5_000,
        http: UpstreamHttp {
            protocol: UpstreamProtocol::Http1,
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
            max_response_headers_bytes: 60 * 1_024,
            max_response_headers: 100,
        },
        breakers: CircuitBreakers { default: UNLIMITED, high: UNLIMITED },
        outlier: None,
        tcp_keepalive: None,
        source_address: None,
        socket_matches: vec![],
        tls: None,
        health_checks: vec![],
        labels: vec![],
        close_on_health_failure: false,
        buffer_limit: None,
    }
}

/// `10.0.0.<number>:80`
pub fn endpoint_plan(number: u8) -> plan::Endpoint {
    plan::Endpoint {
        address: Address::Socket { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)), port: 80 },
        hostname: String::new(),
        weight: 1,
        health: Health::Healthy,
        socket_labels: vec![],
        labels: vec![],
        takes_http1_in_http2: false,
    }
}

pub fn locality_plan(priority: u32, endpoints: Vec<plan::Endpoint>) -> LocalityEndpoints {
    LocalityEndpoints { locality: Locality::default(), priority, weight: 1, endpoints }
}

pub fn endpoints_plan(service: &str, localities: Vec<LocalityEndpoints>) -> plan::Endpoints {
    plan::Endpoints { service: service.into(), localities, overprovisioning: 140, drop_percent: 0.0 }
}

pub fn membership(localities: Vec<LocalityEndpoints>) -> Membership {
    Membership::compile(&endpoints_plan("service", localities), &mut Interner::default()).unwrap()
}

/// A cluster in force with these endpoints; no TLS.
pub fn cluster(plan: &plan::Cluster, localities: Vec<LocalityEndpoints>) -> Arc<Cluster> {
    let mut no_tls = |_: &plan::UpstreamTls| Err(plan::PlanError::new("", "no TLS in this test"));
    let cluster = Cluster::compile(plan, &mut no_tls, &mut Interner::default(), None).unwrap();
    cluster.take_force(&membership(localities));
    Arc::new(cluster)
}

/// With endpoints `10.0.0.1` to `10.0.0.<count>`.
pub fn cluster_of(plan: &plan::Cluster, count: u8) -> Arc<Cluster> {
    cluster(plan, vec![locality_plan(0, (1..=count).map(endpoint_plan).collect())])
}

/// Last number of the endpoint's address.
pub fn number_of(endpoint: &Endpoint) -> u8 {
    match endpoint.address().socket() {
        Some(SocketAddr::V4(address)) => address.ip().octets()[3],
        _ => 0,
    }
}
