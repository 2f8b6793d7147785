//! What an engine is started with; everything else arrives by deltas.

use serde::{Deserialize, Serialize};

use super::address::Address;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    /// Worker threads, 1 to 256.
    pub workers: u32,
    /// Admin listener; `None` = none.
    pub admin: Option<Address>,
    /// Prometheus-only listener (`/stats/prometheus`), as Istio's 15090; `None` = none.
    pub metrics: Option<Address>,
    /// Readiness-only listener (`/healthz/ready`), as Istio's 15021; `None` = none.
    pub health: Option<Address>,
    /// Listener for whole small requests of the application on this machine, each an `Asked` event; `None` = none.
    pub registry: Option<Address>,
    /// Accept an admin on other than loopback.
    pub admin_beyond_loopback: bool,
    /// Live connections of the process; `None` = 80 % of the descriptor limit.
    pub max_connections: Option<u32>,
    /// What surely was not processed is sent again, routes' retries apart; false = as Envoy does it.
    pub resend_unprocessed: bool,
    /// The engine's own log as one JSON object a line.
    pub log_json: bool,
    pub node_id: String,
    pub node_cluster: String,
    /// Version text for `/server_info`.
    pub version: String,
    pub workload: LocalWorkload,
}

/// Who we are in Istio's metrics; empty text = `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalWorkload {
    pub name: String,
    pub namespace: String,
    pub principal: String,
    pub app: String,
    pub version: String,
    pub canonical_name: String,
    pub canonical_revision: String,
    pub cluster: String,
}
