//! Endpoints of a cluster (`envoy.config.endpoint.v3.ClusterLoadAssignment`).

use serde::{Deserialize, Serialize};

use super::address::Address;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// The EDS service name.
    pub service: String,
    pub localities: Vec<LocalityEndpoints>,
    /// Percent by which priorities are over-provisioned; Envoy: 140.
    pub overprovisioning: u32,
    /// Percent of requests to drop on purpose (`drop_overloads`), 0 to 100.
    pub drop_percent: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalityEndpoints {
    pub locality: Locality,
    /// 0 is the highest.
    pub priority: u32,
    /// 0 if unset: the locality gets no share under locality-weighted balancing.
    pub weight: u32,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub address: Address,
    /// For `Host` rewriting and TLS names; empty if unknown.
    pub hostname: String,
    /// At least 1.
    pub weight: u32,
    pub health: Health,
    /// `envoy.transport_socket_match` metadata, as text.
    pub socket_labels: Vec<(String, String)>,
    /// What Istio's metrics say of the destination: `workload`, `namespace`, `canonical_name`, `canonical_revision`, `cluster`.
    pub labels: Vec<(String, String)>,
    /// `mainstay.dev` metadata `h2_tunnel`: takes HTTP/1 requests inside HTTP/2.
    pub takes_http1_in_http2: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Healthy,
    Unhealthy,
    Draining,
    Degraded,
}
