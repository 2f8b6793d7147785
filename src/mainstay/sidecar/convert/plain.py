"""Small messages that no converter checks by itself: what is taken of each.

In: declarations. Out: `check` of the message around one refuses its other fields, by path; the support table shows them. What a
field that is taken does stands in the converters; what it does not, in `sidecar/support/reasons`.
"""

from __future__ import annotations

from mainstay.sidecar.convert.refuse import known, plain

_CORE = "envoy.config.core.v3"
_CLUSTER = "envoy.config.cluster.v3"
_ENDPOINT = "envoy.config.endpoint.v3"
_LISTENER = "envoy.config.listener.v3"
_RBAC = "envoy.config.rbac.v3"
_ROUTE = "envoy.config.route.v3"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_MATCHER = "envoy.type.matcher.v3"
_UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

plain(f"{_CORE}.BackoffStrategy", {"base_interval", "max_interval"})
plain(f"{_CORE}.CidrRange", {"address_prefix", "prefix_len"})
plain(f"{_CORE}.HeaderValue", {"key", "value"})
plain(f"{_CORE}.HeaderValueOption", {"header", "append", "append_action", "keep_empty_value"})
plain(
    f"{_CORE}.Http2ProtocolOptions",
    {
        "max_concurrent_streams",
        "initial_stream_window_size",
        "initial_connection_window_size",
        "connection_keepalive",
        "hpack_table_size",
        "max_outbound_frames",
        "max_outbound_control_frames",
        "max_consecutive_inbound_frames_with_empty_payload",
        "max_inbound_priority_frames_per_stream",
        "max_inbound_window_update_frames_per_data_frame_sent",
        "use_oghttp2_codec",
    },
)
plain(f"{_CORE}.HealthCheck.GrpcHealthCheck", {"service_name", "authority"})
plain(f"{_CORE}.HealthCheck.CustomHealthCheck", {"name", "typed_config"})
plain(f"{_CORE}.KeepaliveSettings", {"interval", "timeout", "interval_jitter"})
plain(f"{_CORE}.Locality", {"region", "zone", "sub_zone"})
plain(f"{_CORE}.RuntimeFractionalPercent", {"default_value", "runtime_key"})
plain(f"{_CORE}.RuntimeUInt32", {"default_value", "runtime_key"})
plain(f"{_CORE}.SelfConfigSource", {"transport_api_version"})
plain(f"{_CORE}.SocketOption", {"description", "level", "name", "int_value", "state"})
plain(f"{_CORE}.TcpKeepalive", {"keepalive_probes", "keepalive_time", "keepalive_interval"})
plain(f"{_CORE}.TransportSocket", {"name", "typed_config"})
plain(f"{_CORE}.UpstreamHttpProtocolOptions", {"auto_sni", "auto_san_validation"})

plain(f"{_CLUSTER}.CircuitBreakers.Thresholds.RetryBudget", {"budget_percent", "min_retry_concurrency"})
plain(f"{_CLUSTER}.Cluster.OriginalDstLbConfig", {"use_http_header"})
plain(f"{_CLUSTER}.Cluster.TransportSocketMatch", {"name", "match", "transport_socket"})
plain(f"{_CLUSTER}.UpstreamConnectionOptions", {"tcp_keepalive"})
plain(f"{_UPSTREAM}.ExplicitHttpConfig", {"http_protocol_options", "http2_protocol_options"})
plain(f"{_UPSTREAM}.UseDownstreamHttpConfig", {"http_protocol_options", "http2_protocol_options"})
plain(f"{_UPSTREAM}.AutoHttpConfig", {"http_protocol_options", "http2_protocol_options"})

plain(f"{_ENDPOINT}.ClusterLoadAssignment.Policy.DropOverload", {"category", "drop_percentage"})

plain(f"{_LISTENER}.ListenerFilterChainMatchPredicate.MatchSet", {"rules"})

plain(f"{_MATCHER}.PathMatcher", {"path"})
plain(f"{_MATCHER}.RegexMatchAndSubstitute", {"pattern", "substitution"})
plain(f"{_MATCHER}.RegexMatcher", {"google_re2", "regex"})
plain("xds.type.matcher.v3.RegexMatcher", {"google_re2", "regex"})
plain("envoy.type.v3.FractionalPercent", {"numerator", "denominator"})
plain("envoy.type.v3.HttpStatus", {"code"})
plain("envoy.type.v3.Int32Range", {"start", "end"})
plain("envoy.type.v3.Int64Range", {"start", "end"})
plain("envoy.type.v3.Percent", {"value"})
plain("envoy.type.v3.TokenBucket", {"max_tokens", "tokens_per_fill", "fill_interval"})

plain(f"{_RBAC}.Principal.Authenticated", {"principal_name"})

plain(f"{_ROUTE}.Decorator", {"operation", "propagate"})
plain(f"{_ROUTE}.RetryPolicy.RetryBackOff", {"base_interval", "max_interval"})
plain(f"{_ROUTE}.RetryPolicy.RetryHostPredicate", {"name", "typed_config"})
plain(f"{_ROUTE}.RouteAction.UpgradeConfig", {"upgrade_type", "enabled"})
plain(f"{_MANAGER}.SetCurrentClientCertDetails", {"subject", "cert", "chain", "dns", "uri"})
plain("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster", {"clusters"})

plain(f"{_TLS}.SdsSecretConfig", {"name", "sds_config"})
plain(f"{_TLS}.SubjectAltNameMatcher", {"san_type", "matcher"})

# Their converters look at every field, and refuse what they do not take.
known(f"{_CORE}.Address", {"socket_address", "pipe"})
known(f"{_CORE}.AggregatedConfigSource", ())
known(f"{_CORE}.DataSource", {"filename", "inline_bytes", "inline_string", "watched_directory"})
known(f"{_CORE}.Metadata", {"filter_metadata", "typed_filter_metadata"})
known(f"{_CORE}.TypedExtensionConfig", {"name", "typed_config"})
known(f"{_CLUSTER}.Cluster.CommonLbConfig.LocalityWeightedLbConfig", ())
known(f"{_LISTENER}.ListenerFilterChainMatchPredicate", {"or_match", "destination_port_range"})
known(f"{_MATCHER}.StringMatcher", {"exact", "prefix", "suffix", "safe_regex", "contains", "ignore_case"})
known(
    "xds.type.matcher.v3.StringMatcher",
    {"exact", "prefix", "suffix", "safe_regex", "contains", "ignore_case"},
)
known("xds.core.v3.TypedExtensionConfig", {"name", "typed_config"})
known("envoy.config.common.mutation_rules.v3.HeaderMutation", {"remove", "append"})
known(
    f"{_RBAC}.Permission",
    {
        "and_rules",
        "or_rules",
        "any",
        "header",
        "url_path",
        "destination_ip",
        "destination_port",
        "destination_port_range",
        "not_rule",
        "requested_server_name",
    },
)
known(f"{_RBAC}.Permission.Set", {"rules"})
known(
    f"{_RBAC}.Principal",
    {
        "and_ids",
        "or_ids",
        "any",
        "authenticated",
        "source_ip",
        "direct_remote_ip",
        "remote_ip",
        "header",
        "url_path",
        "not_id",
    },
)
known(f"{_RBAC}.Principal.Set", {"ids"})
known(
    f"{_ROUTE}.HeaderMatcher",
    {
        "name",
        "exact_match",
        "safe_regex_match",
        "range_match",
        "present_match",
        "prefix_match",
        "suffix_match",
        "contains_match",
        "string_match",
        "invert_match",
        "treat_missing_header_as_empty",
    },
)
known(f"{_ROUTE}.QueryParameterMatcher", {"name", "string_match", "present_match"})
known(f"{_ROUTE}.RouteMatch.GrpcRouteMatchOptions", ())
known(f"{_ROUTE}.NonForwardingAction", ())
known("envoy.extensions.access_loggers.stream.v3.StderrAccessLog", {"log_format"})
known("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", {"rbac"})
known("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", ())
known(f"{_TLS}.Secret", {"name", "tls_certificate", "validation_context"})
