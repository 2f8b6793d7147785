//! Route tables (`envoy.config.route.v3.RouteConfiguration`).

use serde::{Deserialize, Serialize};

use super::extension::HttpFilterConfig;
use super::matching::{HeaderMatch, QueryMatch, Regex};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    pub name: String,
    pub virtual_hosts: Vec<VirtualHost>,
    pub headers: RouteHeaders,
    /// Compare hosts without their port (`ignore_port_in_host_matching`).
    pub ignore_port: bool,
    /// `most_specific_header_mutations_wins`.
    pub most_specific_headers_win: bool,
    /// Headers removed from requests that come from outside (`internal_only_headers`).
    pub internal_only_headers: Vec<String>,
    /// Capitals count in hosts, as they do in names of RPC services.
    pub case_sensitive: bool,
}

/// `domains`: exact, `*.suffix`, `prefix.*`, `*`; matched in that order, longest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtualHost {
    pub name: String,
    pub domains: Vec<String>,
    pub routes: Vec<Route>,
    pub headers: RouteHeaders,
    pub retry: Option<RetryPolicy>,
    pub mirrors: Vec<Mirror>,
    /// `include_request_attempt_count`.
    pub send_attempt_count: bool,
    /// `include_attempt_count_in_response`.
    pub return_attempt_count: bool,
    /// Redirect clear-text requests to https (`require_tls: ALL`).
    pub require_tls: bool,
    /// Overrides by name of the HTTP filter (`typed_per_filter_config`).
    pub filters: Vec<(String, HttpFilterConfig)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Empty if unnamed; appears in logs and metrics.
    pub name: String,
    pub matches: RouteMatch,
    pub action: RouteAction,
    pub headers: RouteHeaders,
    pub filters: Vec<(String, HttpFilterConfig)>,
    /// `decorator.operation`, empty if none.
    pub operation: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteMatch {
    pub path: PathMatch,
    /// `case_sensitive: false` for exact, prefix and separated prefix.
    pub ignore_case: bool,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
    pub grpc_only: bool,
    /// `runtime_fraction.default_value`: this share of requests matches.
    pub fraction: Option<Fraction>,
}

/// What the path without its query must look like.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PathMatch {
    Prefix {
        text: String,
    },
    Exact {
        text: String,
    },
    Regex {
        text: Regex,
    },
    /// `/api` matches `/api` and `/api/x`, not `/apix`.
    SeparatedPrefix {
        text: String,
    },
}

/// `numerator` of `denominator` (100, 10,000 or 1,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fraction {
    pub numerator: u32,
    pub denominator: u32,
}

// One per route and built once: a box would only add a hop to every decision.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RouteAction {
    Forward {
        upstreams: Upstreams,
        path_rewrite: Option<PathRewrite>,
        host_rewrite: Option<HostRewrite>,
        /// `append_x_forwarded_host`.
        append_forwarded_host: bool,
        /// Whole request, from the end of the downstream request; `None` = no limit (0 in Envoy). Envoy's default is 15,000.
        timeout: Option<u64>,
        /// `None` = the connection manager's stream idle timeout; `Some(0)` is written by xDS to switch it off and crosses as `unlimited_idle`.
        idle_timeout: Option<u64>,
        unlimited_idle: bool,
        /// `max_stream_duration.max_stream_duration`; `None` = no limit.
        max_duration: Option<u64>,
        /// `grpc_timeout_header_max`: honour grpc-timeout up to this; `None` = ignore it; `Some(0)` = no cap.
        grpc_timeout_max: Option<u64>,
        retry: Option<RetryPolicy>,
        mirrors: Vec<Mirror>,
        /// `None` = as the connection manager allows; lower-case names with whether each is allowed.
        upgrades: Vec<(String, bool)>,
        /// Status when the cluster does not exist: 503 or 404.
        cluster_not_found_status: u16,
        /// `priority: HIGH`.
        high_priority: bool,
        internal_redirect: Option<InternalRedirect>,
    },
    Redirect {
        redirect: Redirect,
    },
    Respond {
        response: DirectResponse,
    },
    /// `non_forwarding_action`: the proxy answers 404 unless a filter did.
    NonForwarding {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Upstreams {
    Cluster {
        name: String,
    },
    /// The header names the cluster.
    Header {
        name: String,
    },
    Weighted {
        clusters: Vec<WeightedCluster>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedCluster {
    pub name: String,
    pub weight: u32,
    pub headers: RouteHeaders,
    pub host_rewrite: Option<String>,
    pub filters: Vec<(String, HttpFilterConfig)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PathRewrite {
    /// Replaces what the prefix, exact path or separated prefix matched.
    Prefix { text: String },
    /// Replaces the first match in the path without its query; `\1` refers to groups.
    Regex { pattern: Regex, substitution: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HostRewrite {
    Literal {
        text: String,
    },
    /// To the endpoint's host name (`auto_host_rewrite`).
    Endpoint {},
    /// From a header's value.
    Header {
        name: String,
    },
    /// From the path by a regex.
    PathRegex {
        pattern: Regex,
        substitution: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// `http`, `https` or empty to keep.
    pub scheme: String,
    /// Empty to keep.
    pub host: String,
    pub port: Option<u16>,
    /// Replaces the path; `None` to keep.
    pub path: Option<String>,
    pub path_rewrite: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    pub strip_query: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectResponse {
    pub status: u16,
    /// At most 4 KiB unless the table allows more (Envoy's `max_direct_response_body_size_bytes`).
    #[serde(with = "serde_bytes_compat")]
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    pub cluster: String,
    pub fraction: Option<Fraction>,
    /// Append `-shadow` to the host (`disable_shadow_host_suffix_append: false`).
    pub shadow_host: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalRedirect {
    pub max_redirects: u32,
    pub statuses: Vec<u16>,
}

/// `envoy.config.route.v3.RetryPolicy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Lower-case class names: `5xx`, `gateway-error`, `reset`, `reset-before-request`, `connect-failure`, `envoy-ratelimited`,
    /// `retriable-4xx`, `refused-stream`, `retriable-status-codes`, `retriable-headers`, and gRPC's `cancelled`,
    /// `deadline-exceeded`, `internal`, `resource-exhausted`, `unavailable`.
    pub retry_on: Vec<String>,
    pub attempts: u32,
    /// `None` = only the route's timeout.
    pub per_try_timeout: Option<u64>,
    pub per_try_idle_timeout: Option<u64>,
    pub back_off: BackOff,
    pub retriable_statuses: Vec<u16>,
    pub retriable_headers: Vec<HeaderMatch>,
    /// Retry only requests that match.
    pub retriable_request_headers: Vec<HeaderMatch>,
    /// Hosts tried before are passed over (`previous_hosts`), up to this many picks.
    pub avoid_previous_hosts: bool,
    pub host_selection_attempts: u32,
}

/// Fully jittered exponential back-off, milliseconds. Envoy: 25 and ten times that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackOff {
    pub base: u64,
    pub max: u64,
}

/// Header mutations of one level, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteHeaders {
    pub request: Vec<HeaderChange>,
    pub response: Vec<HeaderChange>,
    pub request_remove: Vec<String>,
    pub response_remove: Vec<String>,
}

/// `envoy.config.core.v3.HeaderValueOption`. `value` may hold command operators (`%REQ(x)%`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderChange {
    pub name: String,
    pub value: String,
    pub action: HeaderChangeKind,
    pub keep_empty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderChangeKind {
    AppendIfExistsOrAdd,
    AddIfAbsent,
    OverwriteIfExistsOrAdd,
    OverwriteIfExists,
}

/// MessagePack `bin` both ways without a further crate.
pub(super) mod serde_bytes_compat {
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> de::Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
                Ok(text.as_bytes().to_vec())
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = items.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
