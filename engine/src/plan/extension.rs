//! Filters: the plan structs of the built-in ones. A new filter adds a variant here, a folder in `filter/` and a converter in Python.

use serde::{Deserialize, Serialize};

use super::address::AddressRange;
use super::matching::{HeaderMatch, StringMatch};
use super::route::{Fraction, HeaderChange, RouteHeaders};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpFilter {
    /// The instance's name: per-route overrides refer to it.
    pub name: String,
    pub config: HttpFilterConfig,
    pub disabled: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HttpFilterConfig {
    Rbac {
        rules: Option<RbacRules>,
        /// Evaluated, counted and logged, never enforced.
        shadow_rules: Option<RbacRules>,
    },
    LocalRateLimit {
        stat_prefix: String,
        /// `None`: no limit here (per-route overrides may set one).
        bucket: Option<TokenBucket>,
        /// Share of requests that is checked.
        enabled: Fraction,
        /// Share of requests over the limit that is refused.
        enforced: Fraction,
        /// 429 unless set.
        status: u16,
        response_headers: Vec<HeaderChange>,
        /// `enable_x_ratelimit_headers`.
        draft_headers: bool,
    },
    HeaderMutation {
        headers: RouteHeaders,
    },
    /// Switches the filter of that name off for a route.
    Disabled {},
}

/// Refills `tokens_per_fill` every `fill_interval` milliseconds, up to `max_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBucket {
    pub max_tokens: u32,
    pub tokens_per_fill: u32,
    pub fill_interval: u64,
}

/// `envoy.config.rbac.v3.RBAC`. `allow`: ALLOW (refuse unless a policy matches) or DENY (refuse if one does); LOG is refused by Python.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RbacRules {
    pub allow: bool,
    /// In the order of their names; a policy matches when one of its permissions and one of its principals do.
    pub policies: Vec<RbacPolicy>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RbacPolicy {
    pub name: String,
    pub permissions: Vec<RbacPermission>,
    pub principals: Vec<RbacPrincipal>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RbacPermission {
    Any {},
    All {
        of: Vec<RbacPermission>,
    },
    AnyOf {
        of: Vec<RbacPermission>,
    },
    Not {
        of: Box<RbacPermission>,
    },
    Header {
        matches: HeaderMatch,
    },
    /// Path without query.
    Path {
        matches: StringMatch,
    },
    DestinationIp {
        range: AddressRange,
    },
    DestinationPort {
        port: u16,
    },
    /// `start` inclusive, `end` exclusive.
    DestinationPortRange {
        start: u16,
        end: u32,
    },
    ServerName {
        matches: StringMatch,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RbacPrincipal {
    Any {},
    All {
        of: Vec<RbacPrincipal>,
    },
    AnyOf {
        of: Vec<RbacPrincipal>,
    },
    Not {
        of: Box<RbacPrincipal>,
    },
    /// Any URI SAN, else DNS SAN, else the subject matches; `None`: any verified TLS peer.
    Authenticated {
        name: Option<StringMatch>,
    },
    /// Address of the connection's peer.
    DirectRemoteIp {
        range: AddressRange,
    },
    /// Address of the client as trusted hops forwarded it.
    RemoteIp {
        range: AddressRange,
    },
    Header {
        matches: HeaderMatch,
    },
    Path {
        matches: StringMatch,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFilter {
    pub name: String,
    pub config: NetworkFilterConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkFilterConfig {
    Rbac { rules: Option<RbacRules>, shadow_rules: Option<RbacRules>, stat_prefix: String },
}
