//! Configuration as it crosses the border: what Python made of xDS, typed, one file per kind of resource.
//!
//! In: MessagePack maps by field name (`mainstay.sidecar.plan` holds the twins; a test keeps both equal). Out: plain
//! structs that `snapshot` compiles. Conventions: durations are integer milliseconds; a limit is a number or `None` for
//! "unlimited", 0 never means endless; tagged unions carry their tag in `kind`; every field is written, none is guessed.
//! Knows nothing but serde.

mod access_log;
mod address;
mod cluster;
mod delta;
mod endpoints;
mod event;
mod extension;
mod listener;
mod matching;
mod problem;
mod protocol;
mod route;
mod secret;
mod settings;
mod wire;

pub use access_log::{
    AccessLog, AccessLogFormat, AccessLogSink, JsonField, LogComparison, LogComparisonKind, LogFilter,
};
pub use address::{Address, AddressRange};
pub use cluster::{
    CheckBytes, CircuitBreakers, Cluster, Discovery, HealthCheck, HealthCheckKind, LoadBalancer,
    LocalityBalancing, OutlierDetection, SocketMatch, TcpKeepalive, Thresholds, UpstreamHttp,
    UpstreamProtocol,
};
pub use delta::{ApplyReport, Delta, Kind, RefusedResource, Removal, Upsert};
pub use endpoints::{Endpoint, Endpoints, Health, Locality, LocalityEndpoints};
pub use event::{Asker, Event, Held};
pub use extension::{
    HttpFilter, HttpFilterConfig, NetworkFilter, NetworkFilterConfig, RbacPermission, RbacPolicy,
    RbacPrincipal, RbacRules, TokenBucket,
};
pub use listener::{
    AlternativeNames, ChainMatch, ClientCertificate, DownstreamTls, FilterChain, ForwardClientCertificate,
    Http1Options, Http2Options, HttpConnectionManager, Listener, ListenerFilter, Protocol, RouteSource,
    TcpProxy, TcpTarget, Terminal, TlsVersion, TrafficDirection, Underscores, UpstreamTls,
};
pub use matching::{HeaderMatch, HeaderTest, QueryMatch, QueryTest, Regex, StringMatch, StringTest};
pub use problem::PlanError;
pub use protocol::{
    RpcAlgorithm, RpcAttribute, RpcBits, RpcBody, RpcChecksum, RpcCodec, RpcDialect, RpcExplained, RpcField,
    RpcHeaders, RpcHeartbeat, RpcItem, RpcKind, RpcLength, RpcLimits, RpcNative, RpcOpening, RpcOrigin,
    RpcPart, RpcPattern, RpcPiece, RpcProtocol, RpcRow, RpcSeen, RpcShape, RpcSize, RpcSource, RpcStatus,
    RpcTemplate, RpcTrace, RpcTraceHeader, RpcTraceValue, RpcValue,
};
pub use route::{
    BackOff, DirectResponse, Fraction, HeaderChange, HeaderChangeKind, HostRewrite, InternalRedirect, Mirror,
    PathMatch, PathRewrite, Redirect, RetryPolicy, Route, RouteAction, RouteHeaders, RouteMatch, RouteTable,
    Upstreams, VirtualHost, WeightedCluster,
};
pub use secret::{CertificateChain, Secret, SecretMaterial, TrustDomainBundle, ValidationContext};
pub use settings::{EngineSettings, LocalWorkload};
pub use wire::{decode, encode};
