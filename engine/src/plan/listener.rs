//! Listeners, filter chains, the HTTP connection manager, TCP proxy, and TLS contexts of both sides.

use serde::{Deserialize, Serialize};

use super::access_log::AccessLog;
use super::address::{Address, AddressRange};
use super::cluster::TcpKeepalive;
use super::extension::{HttpFilter, NetworkFilter};
use super::matching::StringMatch;
use super::protocol::RpcCodec;
use super::route::RouteTable;

/// `envoy.config.listener.v3.Listener`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub name: String,
    pub address: Address,
    /// False: no socket of its own; found by original destination (`bind_to_port`).
    pub bind: bool,
    /// Hand connections to the listener of their original destination (`use_original_dst`).
    pub use_original_destination: bool,
    /// IP_TRANSPARENT on the socket (TPROXY).
    pub transparent: bool,
    pub direction: TrafficDirection,
    /// In order.
    pub listener_filters: Vec<ListenerFilter>,
    /// Silence for so long ends the inspection; `None` = wait for ever. Envoy: 15,000.
    pub detection_timeout: Option<u64>,
    /// Go on with what is known when it ends, instead of closing.
    pub continue_on_detection_timeout: bool,
    pub chains: Vec<FilterChain>,
    pub default_chain: Option<FilterChain>,
    /// Prefix of counters; the address if empty.
    pub stat_prefix: String,
    /// Live connections; more are accepted and closed.
    pub connection_limit: Option<u32>,
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Bytes that may wait for a client before its source is held back (`per_connection_buffer_limit_bytes`); `None` = 64 KiB.
    pub buffer_limit: Option<u32>,
    pub access_logs: Vec<AccessLog>,
    /// Set by our control plane: takes HTTP/1 inside HTTP/2 from authenticated mesh peers.
    pub accepts_http1_in_http2: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficDirection {
    Unspecified,
    Inbound,
    Outbound,
}

/// `disabled_ports`: destination port ranges (start inclusive, end exclusive) on which the filter does not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ListenerFilter {
    OriginalDestination {},
    TlsInspector {
        disabled_ports: Vec<(u32, u32)>,
    },
    HttpInspector {
        disabled_ports: Vec<(u32, u32)>,
    },
    /// Tells described protocols, which must be certain; a connection's application protocol is then the name.
    ProtocolInspector {
        disabled_ports: Vec<(u32, u32)>,
        protocols: Vec<RpcCodec>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterChain {
    pub name: String,
    pub matches: ChainMatch,
    pub tls: Option<DownstreamTls>,
    /// Milliseconds; `None` = the engine's 10,000.
    pub handshake_timeout: Option<u64>,
    pub network_filters: Vec<NetworkFilter>,
    pub terminal: Terminal,
}

/// `envoy.config.listener.v3.FilterChainMatch`: empty lists match everything; precedence is Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainMatch {
    pub destination_port: Option<u16>,
    pub destination_ranges: Vec<AddressRange>,
    /// Exact or `*.suffix`, lower-case.
    pub server_names: Vec<String>,
    /// `tls`, `raw_buffer`, or empty for any.
    pub transport_protocol: String,
    pub application_protocols: Vec<String>,
    pub direct_source_ranges: Vec<AddressRange>,
    /// `any`, `same_ip_or_loopback`, `external`.
    pub source_type: String,
    pub source_ranges: Vec<AddressRange>,
    pub source_ports: Vec<u16>,
}

// One per chain and built once.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Terminal {
    Http { manager: HttpConnectionManager },
    Tcp { proxy: TcpProxy },
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConnectionManager {
    pub stat_prefix: String,
    pub protocol: Protocol,
    pub routes: RouteSource,
    /// In order, without the router, which is always last.
    pub filters: Vec<HttpFilter>,
    pub access_logs: Vec<AccessLog>,
    pub use_remote_address: bool,
    pub xff_trusted_hops: u32,
    pub skip_xff_append: bool,
    /// Clients from here may steer us by `x-envoy-*` fields (`internal_address_config`); none unless named.
    pub internal_ranges: Vec<AddressRange>,
    /// So may clients of Unix sockets.
    pub internal_unix_sockets: bool,
    pub via: String,
    /// `None` = keep what the upstream sent (PASS_THROUGH); overwrites otherwise. Envoy's default is `envoy`; Python writes it out.
    pub server_name: Option<String>,
    /// `server_header_transformation: APPEND_IF_ABSENT`.
    pub server_name_if_absent: bool,
    pub normalize_path: bool,
    pub merge_slashes: bool,
    /// `keep`, `reject`, `unescape_and_forward`, `unescape_and_redirect`.
    pub escaped_slashes: String,
    /// `strip_any_host_port` / `strip_matching_host_port`.
    pub strip_any_host_port: bool,
    pub strip_matching_host_port: bool,
    pub strip_trailing_host_dot: bool,
    pub underscores: Underscores,
    pub forward_client_certificate: ForwardClientCertificate,
    pub client_certificate_details: ClientCertificate,
    /// Milliseconds, `None` = unlimited, on all of these.
    pub request_timeout: Option<u64>,
    pub request_headers_timeout: Option<u64>,
    pub stream_idle_timeout: Option<u64>,
    /// Connection without streams. Envoy: 3,600,000.
    pub idle_timeout: Option<u64>,
    pub max_connection_duration: Option<u64>,
    pub max_stream_duration: Option<u64>,
    pub drain_timeout: u64,
    pub max_requests_per_connection: Option<u32>,
    /// Bytes of all header fields; Envoy: 60 KiB.
    pub max_request_headers_bytes: u32,
    /// Envoy: 100.
    pub max_request_headers: u32,
    pub http1: Http1Options,
    pub http2: Http2Options,
    /// Lower-case upgrade types that are allowed (`websocket`).
    pub upgrades: Vec<String>,
    pub generate_request_id: bool,
    pub preserve_external_request_id: bool,
    pub always_set_request_id_in_response: bool,
    pub add_user_agent: bool,
    /// Pass `100-continue` on instead of answering it (`proxy_100_continue`).
    pub proxy_100_continue: bool,
    /// W3C trace context: made or kept and passed on, with this share sampled when made here.
    pub tracing: Option<f64>,
    pub stream_error_on_invalid_http: bool,
    /// Framed protocols that are spoken here too (`auto`: by their first bytes, if these are certain) or alone (`rpc`).
    pub rpc: Vec<RpcCodec>,
}

/// What becomes of requests whose headers have underscores in their names (`headers_with_underscores_action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    Keep,
    /// The request is refused.
    Reject,
    /// The headers are removed.
    Drop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// By ALPN, else by the first bytes.
    Auto,
    Http1,
    Http2,
    /// The only one of `rpc`, else by the first bytes.
    Rpc,
}

#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RouteSource {
    /// A route table of its own (RDS).
    Named {
        name: String,
    },
    /// A route table of framed protocols (`generic_rds`).
    Generic {
        name: String,
    },
    Inline {
        table: RouteTable,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardClientCertificate {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

/// Which details `x-forwarded-client-cert` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    pub subject: bool,
    pub cert: bool,
    pub chain: bool,
    pub dns: bool,
    pub uri: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http1Options {
    pub accept_http_10: bool,
    /// `allow_absolute_url`.
    pub absolute_url: bool,
    pub enable_trailers: bool,
    /// Body allowed together with `allow_chunked_length`: never; kept out on purpose.
    pub max_headers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http2Options {
    pub max_concurrent_streams: u32,
    pub stream_window: u32,
    pub connection_window: u32,
    /// Milliseconds between keep-alive pings; `None` = none.
    pub keepalive_interval: Option<u64>,
    pub keepalive_timeout: Option<u64>,
}

/// `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpProxy {
    pub stat_prefix: String,
    /// By weight; one entry for a single cluster.
    pub targets: Vec<TcpTarget>,
    /// Milliseconds without a byte either way; `None` = unlimited. Envoy: 3,600,000.
    pub idle_timeout: Option<u64>,
    pub max_connection_duration: Option<u64>,
    /// At least 1.
    pub max_connect_attempts: u32,
    pub access_logs: Vec<AccessLog>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpTarget {
    pub cluster: String,
    pub weight: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsVersion {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// `DownstreamTlsContext`. Secrets are named: `Secret` resources carry what they hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownstreamTls {
    /// Secrets with certificate chains; the one whose names match the SNI serves, else the first.
    pub certificates: Vec<String>,
    /// Secret with trust roots; `None` = clients are not verified.
    pub validation: Option<String>,
    pub alternative_names: AlternativeNames,
    pub require_client_certificate: bool,
    pub application_protocols: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
}

/// `UpstreamTlsContext`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    pub certificates: Vec<String>,
    /// `None` = the server is not verified (`insecureSkipVerify`): Python refuses it unless asked for.
    pub validation: Option<String>,
    pub alternative_names: AlternativeNames,
    /// Empty = none sent.
    pub server_name: String,
    /// SNI from the request's host (`auto_host_sni`) and verify the SAN against it (`auto_sni_san_validation`).
    pub auto_server_name: bool,
    pub auto_san_validation: bool,
    pub application_protocols: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
}

/// The peer's certificate must have a subject alternative name that one of `any_of` matches; empty = no check beyond the chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlternativeNames {
    pub any_of: Vec<StringMatch>,
}
