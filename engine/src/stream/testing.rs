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
        via: String::new(),
        server_name: None,
        server_name_if_absent: false,
        normalize_path: true,
        merge_slashes: false,
        escaped_slashes: "keep".into(),
        strip_any_host_port: false,
        strip_matching_host_port: false,
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
    }
}
