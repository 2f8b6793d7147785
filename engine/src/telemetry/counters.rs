//! Envoy's counters and gauges of listeners, connection managers, TCP proxies and clusters: a fixed set per scope.
//!
//! A worker owns one group per scope name and writes it alone, with relaxed stores; readers add the workers' groups up.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// A group of counters of one scope, one worker.
#[derive(Debug)]
pub struct Group<C: Counter> {
    pub name: String,
    values: Box<[AtomicI64]>,
    kind: std::marker::PhantomData<C>,
}

/// One enum per scope: which counters it has.
pub trait Counter: Copy + 'static {
    /// Name without the scope, and whether it is a gauge; index = the enum's number.
    const ALL: &'static [(&'static str, bool)];
    /// `cluster`, `http`, `tcp`, `listener`: Envoy's first name segment.
    const SCOPE: &'static str;
    /// Label that carries the scope's name in Prometheus.
    const LABEL: &'static str;
    fn index(self) -> usize;
}

impl<C: Counter> Group<C> {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            values: C::ALL.iter().map(|_| AtomicI64::new(0)).collect(),
            kind: std::marker::PhantomData,
        }
    }

    /// Called by the owning worker only.
    pub fn add(&self, counter: C, amount: i64) {
        if let Some(value) = self.values.get(counter.index()) {
            value.store(value.load(Relaxed) + amount, Relaxed);
        }
    }

    /// For gauges that no worker writes.
    pub fn set(&self, counter: C, value: i64) {
        if let Some(cell) = self.values.get(counter.index()) {
            cell.store(value, Relaxed);
        }
    }

    pub fn increment(&self, counter: C) {
        self.add(counter, 1);
    }

    pub fn decrement(&self, counter: C) {
        self.add(counter, -1);
    }

    pub fn get(&self, counter: C) -> i64 {
        self.values.get(counter.index()).map_or(0, |value| value.load(Relaxed))
    }

    pub fn read(&self) -> Vec<i64> {
        self.values.iter().map(|value| value.load(Relaxed)).collect()
    }
}

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident, $scope:literal, $label:literal: $($variant:ident = $text:literal $($gauge:ident)?),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant),+ }
        impl Counter for $name {
            const ALL: &'static [(&'static str, bool)] = &[$(($text, counters!(@gauge $($gauge)?))),+];
            const SCOPE: &'static str = $scope;
            const LABEL: &'static str = $label;
            fn index(self) -> usize { self as usize }
        }
    };
    (@gauge gauge) => { true };
    (@gauge) => { false };
}

counters! {
    /// `cluster.<name>.*`
    ClusterCounter, "cluster", "envoy_cluster_name":
    CxTotal = "upstream_cx_total",
    CxActive = "upstream_cx_active" gauge,
    CxHttp1Total = "upstream_cx_http1_total",
    CxHttp2Total = "upstream_cx_http2_total",
    CxRpcTotal = "mainstay_upstream_cx_rpc_total",
    CxConnectFail = "upstream_cx_connect_fail",
    CxConnectTimeout = "upstream_cx_connect_timeout",
    CxOverflow = "upstream_cx_overflow",
    CxDestroyRemote = "upstream_cx_destroy_remote",
    CxDestroyRemoteWithActive = "upstream_cx_destroy_remote_with_active_rq",
    CxDestroyLocal = "upstream_cx_destroy_local",
    CxDestroyLocalWithActive = "upstream_cx_destroy_local_with_active_rq",
    CxMaxRequests = "upstream_cx_max_requests",
    CxIdleTimeout = "upstream_cx_idle_timeout",
    CxProtocolError = "upstream_cx_protocol_error",
    CxNoneHealthy = "upstream_cx_none_healthy",
    CxRxBytes = "upstream_cx_rx_bytes_total",
    CxTxBytes = "upstream_cx_tx_bytes_total",
    RqTotal = "upstream_rq_total",
    RqActive = "upstream_rq_active" gauge,
    RqCompleted = "upstream_rq_completed",
    RqPendingTotal = "upstream_rq_pending_total",
    RqPendingActive = "upstream_rq_pending_active" gauge,
    RqPendingOverflow = "upstream_rq_pending_overflow",
    RqActiveOverflow = "upstream_rq_active_overflow",
    RqPendingFailureEject = "upstream_rq_pending_failure_eject",
    RqCancelled = "upstream_rq_cancelled",
    RqMaintenance = "upstream_rq_maintenance_mode",
    RqTimeout = "upstream_rq_timeout",
    RqMaxDuration = "upstream_rq_max_duration_reached",
    RqPerTryTimeout = "upstream_rq_per_try_timeout",
    RqRxReset = "upstream_rq_rx_reset",
    RqTxReset = "upstream_rq_tx_reset",
    RqRetry = "upstream_rq_retry",
    RqRetrySuccess = "upstream_rq_retry_success",
    RqRetryLimit = "upstream_rq_retry_limit_exceeded",
    RqResent = "upstream_rq_resent",
    RqRetryOverflow = "upstream_rq_retry_overflow",
    Rq1xx = "upstream_rq_1xx",
    Rq2xx = "upstream_rq_2xx",
    Rq3xx = "upstream_rq_3xx",
    Rq4xx = "upstream_rq_4xx",
    Rq5xx = "upstream_rq_5xx",
    LbHealthyPanic = "lb_healthy_panic",
    MembershipTotal = "membership_total" gauge,
    MembershipHealthy = "membership_healthy" gauge,
    EjectionsActive = "outlier_detection.ejections_active" gauge,
    EjectionsTotal = "outlier_detection.ejections_enforced_total",
    EjectionsConsecutive5xx = "outlier_detection.ejections_enforced_consecutive_5xx",
    EjectionsGateway = "outlier_detection.ejections_enforced_consecutive_gateway_failure",
    EjectionsLocalOrigin = "outlier_detection.ejections_enforced_consecutive_local_origin_failure",
    EjectionsOverflow = "outlier_detection.ejections_overflow",
    HealthAttempt = "health_check.attempt",
    HealthSuccess = "health_check.success",
    HealthFailure = "health_check.failure",
    SslHandshake = "ssl.handshake",
    SslError = "ssl.connection_error",
    SslResumed = "ssl.session_reused",
    SslFailVerifyCa = "ssl.fail_verify_error",
    SslFailVerifySan = "ssl.fail_verify_san",
}

counters! {
    /// `listener.<address>.*`
    ListenerCounter, "listener", "envoy_listener_address":
    CxTotal = "downstream_cx_total",
    CxActive = "downstream_cx_active" gauge,
    CxDestroy = "downstream_cx_destroy",
    CxOverflow = "downstream_cx_overflow",
    CxTransportTimeout = "downstream_cx_transport_socket_connect_timeout",
    PreCxTimeout = "downstream_pre_cx_timeout",
    PreCxActive = "downstream_pre_cx_active" gauge,
    NoFilterChainMatch = "no_filter_chain_match",
    AcceptPaused = "mainstay_accept_paused",
    DetectedTcpByTimeout = "mainstay_detected_tcp_by_timeout",
    SslHandshake = "ssl.handshake",
    SecretsNotReady = "server_ssl_socket_factory.downstream_context_secrets_not_ready",
    SslError = "ssl.connection_error",
    SslResumed = "ssl.session_reused",
    SslNoCertificate = "ssl.no_certificate",
    SslFailVerifyCa = "ssl.fail_verify_error",
    SslFailVerifySan = "ssl.fail_verify_san",
}

counters! {
    /// `http.<stat_prefix>.*`
    HttpCounter, "http", "envoy_http_conn_manager_prefix":
    CxTotal = "downstream_cx_total",
    CxActive = "downstream_cx_active" gauge,
    CxHttp1Total = "downstream_cx_http1_total",
    CxHttp2Total = "downstream_cx_http2_total",
    CxRpcTotal = "mainstay_downstream_cx_rpc_total",
    CxDrainClose = "downstream_cx_drain_close",
    CxIdleTimeout = "downstream_cx_idle_timeout",
    CxMaxDuration = "downstream_cx_max_duration_reached",
    CxProtocolError = "downstream_cx_protocol_error",
    CxDestroyRemoteWithActive = "downstream_cx_destroy_remote_active_rq",
    CxRxBytes = "downstream_cx_rx_bytes_total",
    CxTxBytes = "downstream_cx_tx_bytes_total",
    CxUpgradesTotal = "downstream_cx_upgrades_total",
    RqTotal = "downstream_rq_total",
    RqActive = "downstream_rq_active" gauge,
    RqCompleted = "downstream_rq_completed",
    RqHttp1Total = "downstream_rq_http1_total",
    RqHttp2Total = "downstream_rq_http2_total",
    RqRpcTotal = "mainstay_downstream_rq_rpc_total",
    RqOneWayTotal = "mainstay_downstream_rq_one_way_total",
    Rq1xx = "downstream_rq_1xx",
    Rq2xx = "downstream_rq_2xx",
    Rq3xx = "downstream_rq_3xx",
    Rq4xx = "downstream_rq_4xx",
    Rq5xx = "downstream_rq_5xx",
    RqTimeout = "downstream_rq_timeout",
    RqHeaderTimeout = "downstream_rq_header_timeout",
    RqIdleTimeout = "downstream_rq_idle_timeout",
    RqMaxDuration = "downstream_rq_max_duration_reached",
    RqTooLarge = "downstream_rq_too_large",
    RqOverload = "downstream_rq_overload_close",
    RqNonRelativePath = "downstream_rq_non_relative_path",
    RqRedirectedNormalized = "downstream_rq_redirected_with_normalized_path",
    RqRxReset = "downstream_rq_rx_reset",
    RqTxReset = "downstream_rq_tx_reset",
    NoRoute = "no_route",
    NoCluster = "no_cluster",
    RqDirectResponse = "rq_direct_response",
    RqRedirect = "rq_redirect",
    RbacAllowed = "rbac.allowed",
    RbacDenied = "rbac.denied",
    RbacShadowAllowed = "rbac.shadow_allowed",
    RbacShadowDenied = "rbac.shadow_denied",
    RateLimitEnabled = "local_rate_limit.enabled",
    RateLimitOk = "local_rate_limit.ok",
    RateLimited = "local_rate_limit.rate_limited",
    RateLimitEnforced = "local_rate_limit.enforced",
    RqDeclined = "mainstay_rq_declined",
    TrailersDropped = "mainstay_trailers_dropped",
}

counters! {
    /// `tcp.<stat_prefix>.*`
    TcpCounter, "tcp", "envoy_tcp_prefix":
    CxTotal = "downstream_cx_total",
    CxNoRoute = "downstream_cx_no_route",
    CxRxBytes = "downstream_cx_rx_bytes_total",
    CxTxBytes = "downstream_cx_tx_bytes_total",
    IdleTimeout = "idle_timeout",
    MaxDuration = "max_downstream_connection_duration",
    FlowControlPaused = "downstream_flow_control_paused_reading_total",
    FlowControlResumed = "downstream_flow_control_resumed_reading_total",
    UpstreamFlushTotal = "upstream_flush_total",
    RbacAllowed = "rbac.allowed",
    RbacDenied = "rbac.denied",
    RbacShadowAllowed = "rbac.shadow_allowed",
    RbacShadowDenied = "rbac.shadow_denied",
}

/// Which class counter a status belongs to.
pub fn class_of(status: u16) -> (ClusterCounter, HttpCounter) {
    match status / 100 {
        1 => (ClusterCounter::Rq1xx, HttpCounter::Rq1xx),
        2 => (ClusterCounter::Rq2xx, HttpCounter::Rq2xx),
        3 => (ClusterCounter::Rq3xx, HttpCounter::Rq3xx),
        4 => (ClusterCounter::Rq4xx, HttpCounter::Rq4xx),
        _ => (ClusterCounter::Rq5xx, HttpCounter::Rq5xx),
    }
}
