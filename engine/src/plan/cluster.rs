//! Clusters (`envoy.config.cluster.v3.Cluster`).

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::endpoints::LocalityEndpoints;
use super::listener::{Http2Options, UpstreamTls};
use super::route::{Fraction, serde_bytes_compat};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub name: String,
    /// Name in counters; `name` if empty.
    pub stat_name: String,
    pub discovery: Discovery,
    pub load_balancer: LoadBalancer,
    pub locality: LocalityBalancing,
    /// Percent of healthy endpoints below which health is ignored (`healthy_panic_threshold`); Envoy: 50, Istio: 0.
    pub panic_threshold: u32,
    /// Milliseconds; Envoy: 5,000.
    pub connect_timeout: u64,
    pub http: UpstreamHttp,
    pub breakers: CircuitBreakers,
    pub outlier: Option<OutlierDetection>,
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Source address of connections, as text (`upstream_bind_config`).
    pub source_address: Option<Address>,
    /// First whose labels all equal the endpoint's `transport_socket_match` metadata; else `tls`.
    pub socket_matches: Vec<SocketMatch>,
    /// `None` = clear text.
    pub tls: Option<UpstreamTls>,
    pub health_checks: Vec<HealthCheck>,
    /// Labels of the destination for Istio's metrics (service host, name, namespace), from cluster metadata.
    pub labels: Vec<(String, String)>,
    /// Connections are closed when the endpoint becomes unhealthy (`close_connections_on_host_health_failure`).
    pub close_on_health_failure: bool,
    /// Bytes that may wait for an endpoint before their source is held back (`per_connection_buffer_limit_bytes`); `None` = 64 KiB.
    pub buffer_limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Discovery {
    Static {
        localities: Vec<LocalityEndpoints>,
    },
    /// Each name resolves to all its addresses; `refresh` in milliseconds unless `respect_ttl`.
    StrictDns {
        localities: Vec<LocalityEndpoints>,
        refresh: u64,
        respect_ttl: bool,
    },
    /// Endpoints come as a resource of this name.
    Eds {
        service: String,
    },
    /// To where the connection was meant to go; `header`: `x-envoy-original-dst-host` is believed.
    OriginalDestination {
        header: bool,
        cleanup_interval: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LoadBalancer {
    RoundRobin {},
    /// Of `choices` random endpoints the one with fewest active requests; Envoy: 2.
    LeastRequest {
        choices: u32,
    },
    Random {},
    /// The cluster picks (ORIGINAL_DST).
    ClusterProvided {},
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalityBalancing {
    /// Localities of a priority are one set.
    Ignore,
    /// By locality weight.
    Weighted,
}

/// How requests travel to the endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamHttp {
    pub protocol: UpstreamProtocol,
    pub http2: Http2Options,
    /// Milliseconds without a stream until a pooled connection is closed; `None` = unlimited. Envoy: 3,600,000.
    pub idle_timeout: Option<u64>,
    pub max_connection_duration: Option<u64>,
    pub max_stream_duration: Option<u64>,
    /// Requests on one connection.
    pub max_requests_per_connection: Option<u32>,
    pub max_response_headers_bytes: u32,
    pub max_response_headers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    Http1,
    Http2,
    /// As the request came (`use_downstream_protocol_config`).
    Downstream,
    /// By ALPN (`auto_config`).
    Auto,
}

/// `None` = unlimited. Envoy's defaults: 1,024, 1,024, 1,024, 3.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    pub max_connections: Option<u32>,
    pub max_pending: Option<u32>,
    pub max_requests: Option<u32>,
    pub max_retries: Option<u32>,
    /// Share of active requests that may be retries, in percent, with a floor; replaces `max_retries`.
    pub retry_budget_percent: Option<f64>,
    pub retry_budget_minimum: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreakers {
    pub default: Thresholds,
    pub high: Thresholds,
}

/// `envoy.config.cluster.v3.OutlierDetection`; success-rate and failure-percentage kinds are refused in Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutlierDetection {
    /// `None` = off.
    pub consecutive_5xx: Option<u32>,
    pub consecutive_gateway_failure: Option<u32>,
    pub consecutive_local_origin_failure: Option<u32>,
    pub split_local_origin: bool,
    /// Milliseconds.
    pub interval: u64,
    pub base_ejection_time: u64,
    pub max_ejection_time: u64,
    /// Envoy: 10; at least one endpoint may always be ejected.
    pub max_ejection_percent: u32,
    /// Share of detections enforced, percent.
    pub enforcing_consecutive_5xx: u32,
    pub enforcing_consecutive_gateway_failure: u32,
    pub enforcing_consecutive_local_origin_failure: u32,
}

/// Seconds, as the kernel takes them; `None` = the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpKeepalive {
    pub probes: Option<u32>,
    pub time: Option<u32>,
    pub interval: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketMatch {
    pub name: String,
    pub labels: Vec<(String, String)>,
    /// `None` = clear text.
    pub tls: Option<UpstreamTls>,
}

/// Active checks; also how a workload's own probe is run (its result is reported to Python).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    pub check: HealthCheckKind,
    /// Milliseconds.
    pub timeout: u64,
    pub interval: u64,
    pub initial_delay: u64,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
    pub enabled: Fraction,
}

/// What must come in answer to a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckBytes {
    #[serde(with = "serde_bytes_compat")]
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HealthCheckKind {
    /// Status 200, as Envoy has it, unless `statuses` (start inclusive, end exclusive) says otherwise.
    Http {
        host: String,
        path: String,
        headers: Vec<(String, String)>,
        statuses: Vec<(u16, u16)>,
        http2: bool,
    },
    /// A connection; if `receive` is not empty, also these bytes in this order, once `send` has been said.
    Tcp {
        #[serde(with = "serde_bytes_compat")]
        send: Vec<u8>,
        receive: Vec<CheckBytes>,
    },
    Grpc {
        service: String,
        authority: String,
    },
}
