"""Why fields of Envoy's configuration are refused, and why some that are taken change nothing.

In and out: constants, by the message's full name. Refusals quote them, the support table shows them. A test walks Envoy's
descriptors: a field that is neither taken nor here fails it, and so does a reason for a field that is taken after all.
"""

from __future__ import annotations

_ACCESS_LOG = "envoy.config.accesslog.v3"
_BOOTSTRAP = "envoy.config.bootstrap.v3"
_CLUSTER = "envoy.config.cluster.v3"
_CORE = "envoy.config.core.v3"
_ENDPOINT = "envoy.config.endpoint.v3"
_LISTENER = "envoy.config.listener.v3"
_RBAC = "envoy.config.rbac.v3"
_ROUTE = "envoy.config.route.v3"
_HTTP = "envoy.extensions.filters.http"
_NETWORK = "envoy.extensions.filters.network"
_INSPECTOR = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_LOGGERS = "envoy.extensions.access_loggers"
_MANAGER = f"{_NETWORK}.http_connection_manager.v3"
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

# Reasons that many fields share.
_NOT_YET = "not there yet"
_EXTENSION = "there is no such extension point"
_XDSTP = "resources are named as before xdstp://"
_STATISTICS = "counters have names and tags of their own"
_TUNING = "it tunes Envoy's own machinery"
_UDP = "only TCP is carried"
_QUIC = "HTTP/3 is not spoken"
_METADATA = "dynamic metadata is not kept"
_RUNTIME = "there are no run-time values; defaults count"
_PROVIDER = "certificates come inline, from files or over SDS"
_MATCHER_TREE = "matcher trees are not evaluated; use the older form"
_DEPRECATED = "deprecated in Envoy; use its successor"
_CONTENT_BUFFER = "bodies are streamed and never held"
_HEALTH_EVENTS = "health is told by metrics and on the admin pages"
_BALANCER = "use round robin, least request or random"
_FREEBIND = "a listener binds what the system lets it bind"
_SOCKET_OPTIONS = "socket options are those of TCP keep-alive"
_ECDS = "filters stand in the listener; they are not discovered one by one"
_RATE_LIMIT_DESCRIPTORS = "there is one bucket a filter and route, without descriptors"
_TRACING = "traces are marked and passed on, not sent"
_WEIGHT_HEADER = "the share is drawn for each request"
_EVERY_LOCALITY = "localities count by weight and priority alone"

Reasons = dict[str, dict[str, str]]


def _all(reason: str, *fields: str) -> dict[str, str]:
    return dict.fromkeys(fields, reason)


REFUSED: Reasons = {
    f"{_BOOTSTRAP}.Bootstrap": {
        **_all(
            _STATISTICS,
            "deferred_stat_options",
            "stats_config",
            "stats_flush_interval",
            "stats_flush_on_admin",
            "stats_eviction_interval",
            "enable_dispatcher_stats",
            "stats_server_version_override",
        ),
        **_all(
            _TUNING,
            "cluster_manager",
            "grpc_async_client_manager_config",
            "memory_allocator_manager",
            "listener_manager",
            "default_socket_interface",
            "perf_tracing_file_path",
            "flags_path",
        ),
        **_all(
            _EXTENSION,
            "bootstrap_extensions",
            "fatal_actions",
            "xds_delegate_extension",
            "xds_config_tracker_extension",
        ),
        **_all(_XDSTP, "config_sources", "default_config_source", "node_context_params"),
        **_all(
            "names are asked of the system's resolver",
            "use_tcp_for_dns_lookups",
            "dns_resolution_config",
            "typed_dns_resolver_config",
        ),
        "tracing": _TRACING,
        "layered_runtime": _RUNTIME,
        "header_prefix": "headers are called x-envoy-",
        "certificate_provider_instances": _PROVIDER,
        "inline_headers": _TUNING,
        "default_regex_engine": "regular expressions are RE2's",
        "application_log_config": "use --log-format and --log-level",
        # Fields that our subset of the descriptors leaves out.
        "overload_manager": "limits are settings: --max-connections",
        "stats_sinks": f"{_STATISTICS}, and are read from --metrics-port",
        **_all("a worker that hangs shows in /stats", "watchdog", "watchdogs"),
        "hds_config": "health is told to Mainstay's control plane, over its own stream",
    },
    f"{_BOOTSTRAP}.Bootstrap.DynamicResources": _all(
        _XDSTP, "lds_resources_locator", "cds_resources_locator"
    ),
    f"{_BOOTSTRAP}.Admin": {
        "socket_options": _SOCKET_OPTIONS,
        "ignore_global_conn_limit": "the admin pages have a limit of their own",
        "allow_paths": "all pages are there, changes only by POST",
    },
    f"{_CORE}.Node": {
        "dynamic_parameters": _XDSTP,
        "user_agent_build_version": "Mainstay tells its own version",
        "extensions": "Mainstay has no list of extensions to tell",
        "client_features": "Mainstay tells its own features",
        "listening_addresses": _DEPRECATED,
    },
    f"{_LISTENER}.Listener": {
        **_all(_UDP, "udp_listener_config", "enable_mptcp"),
        **_all(_DEPRECATED, "deprecated_v1"),
        "additional_addresses": f"{_NOT_YET}; write a listener for each address",
        "fcds_config": "filter chains stand in the listener",
        "filter_chain_matcher": _MATCHER_TREE,
        "drain_type": "a listener drains when it is changed, removed or told to",
        "freebind": _FREEBIND,
        "tcp_fast_open_queue_length": "connections begin without data",
        "api_listener": "it is for gRPC's own clients",
        "internal_listener": "listeners are sockets",
    },
    f"{_CORE}.SocketAddress": {
        "named_port": "ports are numbers",
        "network_namespace_filepath": "sockets belong to the process's own network namespace",
    },
    f"{_CORE}.Pipe": {"mode": "a socket file has the mode that the process's umask gives it"},
    f"{_CORE}.Address": {"envoy_internal_address": "listeners are sockets"},
    f"{_CORE}.SocketOption": _all(_SOCKET_OPTIONS, "buf_value", "type"),
    f"{_LISTENER}.FilterChain": {"use_proxy_proto": _DEPRECATED},
    f"{_LISTENER}.FilterChainMatch": _all("use prefix_ranges", "address_suffix", "suffix_len"),
    f"{_LISTENER}.Filter": {"config_discovery": _ECDS},
    f"{_LISTENER}.ListenerFilter": {"config_discovery": _ECDS},
    f"{_LISTENER}.ListenerFilterChainMatchPredicate": _all(
        "use destination_port_range, or several under or_match", "and_match", "not_match", "any_match"
    ),
    _INSPECTOR: {
        **_all(
            "fingerprints of clients are not taken", "enable_ja3_fingerprinting", "enable_ja4_fingerprinting"
        ),
        "close_connection_on_client_hello_parsing_errors": "what is no ClientHello is matched as clear text",
    },
    f"{_ACCESS_LOG}.AccessLogFilter": {
        "metadata_filter": "there is no dynamic metadata",
        "extension_filter": _EXTENSION,
        "log_type_filter": "a line is written at the end, and then only",
    },
    f"{_CORE}.SubstitutionFormatString": {
        "content_type": "a log line has none",
        "formatters": _EXTENSION,
    },
    f"{_LOGGERS}.file.v3.FileAccessLog": {"typed_json_format": f"{_DEPRECATED}: log_format"},
    f"{_CLUSTER}.Cluster": {
        "transport_socket_matcher": _MATCHER_TREE,
        "cluster_type": "clusters are STATIC, STRICT_DNS, EDS or ORIGINAL_DST",
        "dns_jitter": "names are asked again when they are due",
        "dns_resolvers": "names are asked of the system's resolver",
        "use_tcp_for_dns_lookups": "names are asked of the system's resolver",
        "dns_resolution_config": "names are asked of the system's resolver",
        "wait_for_warm_on_init": "a cluster always waits for what it needs, and nothing else waits for it",
        "lb_subset_config": "subsets are clusters of their own",
        **_all(_BALANCER, "ring_hash_lb_config", "maglev_lb_config"),
        "round_robin_lb_config": "there is no slow start yet",
        "protocol_selection": f"{_DEPRECATED}: HttpProtocolOptions",
        "ignore_health_on_host_removal": "an endpoint that is removed gets no new requests",
        "filters": _EXTENSION,
        "load_balancing_policy": f"use lb_policy: {_BALANCER}",
        **_all("load is not reported to the control plane", "lrs_server", "lrs_report_endpoint_metrics"),
        **_all(_STATISTICS, "track_timeout_budgets", "track_cluster_stats"),
        "upstream_config": _EXTENSION,
        "preconnect_policy": "connections are opened when they are needed",
        "connection_pool_per_downstream_connection": "clients share the connections of a worker",
    },
    f"{_CLUSTER}.Cluster.OriginalDstLbConfig": {
        "http_header_name": "the header is x-envoy-original-dst-host",
        "upstream_port_override": _NOT_YET,
        "metadata_key": _METADATA,
    },
    f"{_CLUSTER}.UpstreamConnectionOptions": {
        "set_local_interface_name_on_upstream_connections": "nothing reads it",
        "happy_eyeballs_config": f"{_NOT_YET}; the first address that answers is taken",
    },
    f"{_CORE}.ConfigSource": {"authorities": _XDSTP},
    f"{_CORE}.ApiConfigSource": {
        **_all(
            "configuration comes over gRPC streams or from files",
            "cluster_names",
            "refresh_delay",
            "request_timeout",
        ),
        "rate_limit_settings": "requests follow what changes, and are few",
        "config_validators": _EXTENSION,
    },
    f"{_CORE}.GrpcService": {
        "google_grpc": "use envoy_grpc with a cluster of static_resources",
        "retry_policy": "streams are opened again with exponential back-off",
    },
    f"{_CORE}.GrpcService.EnvoyGrpc": {
        "retry_policy": "streams are opened again with exponential back-off",
        "max_receive_message_length": "the engine limits them itself",
        "skip_envoy_headers": "no such headers are sent",
    },
    f"{_ENDPOINT}.ClusterLoadAssignment": {
        "named_endpoints": "endpoints stand where they are used",
        "policy": "endpoints by name have none; use a STATIC cluster, or EDS",
    },
    f"{_ENDPOINT}.LocalityLbEndpoints": _all(
        "localities hold their endpoints", "load_balancer_endpoints", "leds_cluster_locality_config"
    ),
    f"{_ENDPOINT}.LbEndpoint": {"endpoint_name": "endpoints stand where they are used"},
    f"{_ENDPOINT}.Endpoint": {
        "health_check_config": f"{_NOT_YET}; an endpoint is checked at its own address",
        "additional_addresses": f"{_NOT_YET}; write an endpoint for each address",
    },
    f"{_ENDPOINT}.ClusterLoadAssignment.Policy": {
        "endpoint_stale_after": "endpoints stay until they are replaced",
        "weighted_priority_health": "a priority's health counts endpoints",
    },
    f"{_CORE}.HealthCheck": {
        "interval_jitter_percent": "intervals are kept as written",
        "alt_port": f"{_NOT_YET}; an endpoint is checked at its own address",
        **_all(
            "checks go on at one interval",
            "no_traffic_healthy_interval",
            "unhealthy_interval",
            "unhealthy_edge_interval",
            "healthy_edge_interval",
        ),
        **_all(
            _HEALTH_EVENTS,
            "event_log_path",
            "event_logger",
            "event_service",
            "always_log_health_check_failures",
            "always_log_health_check_success",
        ),
        **_all(
            "checks use the endpoint's own transport socket", "tls_options", "transport_socket_match_criteria"
        ),
    },
    f"{_CORE}.HealthCheck.HttpHealthCheck": {
        **_all("the status decides", "send", "receive", "response_buffer_size", "service_name_matcher"),
        "request_headers_to_remove": "only the headers that are given are sent",
        "retriable_statuses": "any other status is a failure",
        "method": "checks are GET",
    },
    f"{_CORE}.HealthCheck.TcpHealthCheck": {
        **_all("connecting is enough", "send", "receive"),
        "proxy_protocol_config": "the PROXY protocol is not spoken",
    },
    f"{_CORE}.HealthCheck.GrpcHealthCheck": {"initial_metadata": _NOT_YET},
    f"{_CLUSTER}.CircuitBreakers": {"per_host_thresholds": "limits hold for the cluster"},
    f"{_CLUSTER}.CircuitBreakers.Thresholds": {
        "max_connection_pools": "there is one pool a worker and endpoint"
    },
    f"{_CORE}.HttpProtocolOptions": {
        "max_response_headers_kb": "heads of responses may have 60 KiB",
        "headers_with_underscores_action": "responses pass as they are",
    },
    f"{_CORE}.Http1ProtocolOptions": {
        "default_host_for_http_10": f"{_NOT_YET}; a request without a host gets 400",
        "header_key_format": "names of headers are sent in small letters",
        "allow_chunked_length": "a message with both framings is refused: it is how requests are smuggled",
        "override_stream_error_on_invalid_http_message": "use stream_error_on_invalid_http_message",
        "send_fully_qualified_url": _NOT_YET,
        "allow_custom_methods": "any token is a method",
        "ignore_http_11_upgrade": "use upgrade_configs",
    },
    f"{_CORE}.Http2ProtocolOptions": {
        "allow_connect": f"{_NOT_YET}: extended CONNECT",
        **_all("METADATA frames are passed over", "allow_metadata", "max_metadata_size"),
        **_all(
            "use stream_error_on_invalid_http_message of the connection manager",
            "stream_error_on_invalid_http_messaging",
            "override_stream_error_on_invalid_http_message",
        ),
        "custom_settings_parameters": "settings are those of RFC 9113",
    },
    f"{_CORE}.KeepaliveSettings": {"connection_idle_interval": "pings go out at their interval"},
    f"{_CORE}.UpstreamHttpProtocolOptions": {"override_auto_sni_header": "the request's host is the name"},
    _UPSTREAM: {
        "http_filters": "filters stand in the listener",
        "header_validation_config": _EXTENSION,
        "outlier_detection": "use the cluster's",
        **_all("routes say it", "request_mirror_policies", "hash_policy", "retry_policy"),
    },
    f"{_UPSTREAM}.ExplicitHttpConfig": {"http3_protocol_options": _QUIC},
    f"{_UPSTREAM}.UseDownstreamHttpConfig": {"http3_protocol_options": _QUIC},
    f"{_UPSTREAM}.AutoHttpConfig": _all(_QUIC, "http3_protocol_options", "alternate_protocols_cache_options"),
    f"{_CLUSTER}.OutlierDetection": {
        **_all(
            f"{_NOT_YET}: endpoints are ejected by errors in a row",
            "success_rate_minimum_hosts",
            "success_rate_request_volume",
            "success_rate_stdev_factor",
            "failure_percentage_threshold",
            "enforcing_failure_percentage_local_origin",
            "failure_percentage_minimum_hosts",
            "failure_percentage_request_volume",
        ),
        "max_ejection_time_jitter": "ejections last as long as they are counted",
        "successful_active_health_check_uneject_host": "an ejection ends by its time",
        "monitors": _EXTENSION,
        "always_eject_one_host": "max_ejection_percent holds for the last endpoint too",
    },
    f"{_CORE}.BindConfig": {
        "freebind": _FREEBIND,
        "socket_options": _SOCKET_OPTIONS,
        **_all("there is one source address", "additional_source_addresses", "local_address_selector"),
    },
    f"{_CLUSTER}.Cluster.LeastRequestLbConfig": {
        "active_request_bias": "of the endpoints that are drawn, the least loaded by weight is taken",
        "slow_start_config": _NOT_YET,
    },
    f"{_CLUSTER}.Cluster.CommonLbConfig": {
        "zone_aware_lb_config": _EVERY_LOCALITY,
        "ignore_new_hosts_until_first_hc": f"{_NOT_YET}; a new endpoint counts as well until it is found ill",
        "close_connections_on_host_set_change": "connections stay as long as their endpoint",
        "consistent_hashing_lb_config": _BALANCER,
        "override_host_status": "no host is chosen from outside",
    },
    f"{_TLS}.Secret": {
        "session_ticket_keys": "each context has keys of its own",
        "generic_secret": "no filter that works here has one",
    },
    f"{_TLS}.TlsCertificate": {
        "pkcs12": "give certificate_chain and private_key as PEM",
        "private_key_provider": _EXTENSION,
        "password": "give the private key in clear, readable to the proxy alone",
        "ocsp_staple": "no OCSP response is stapled",
        "signed_certificate_timestamp": "no timestamps are sent",
    },
    f"{_TLS}.CertificateValidationContext": {
        "ca_certificate_provider_instance": _PROVIDER,
        "system_root_certs": "name the file with the roots in trusted_ca",
        **_all(
            "certificates are judged by chain and name",
            "verify_certificate_spki",
            "verify_certificate_hash",
            "require_signed_certificate_timestamp",
        ),
        **_all(
            "revocation lists are not read; keep certificates short-lived", "crl", "only_verify_leaf_cert_crl"
        ),
        "allow_expired_certificate": "an expired certificate is no certificate",
        "trust_chain_verification": "leave out validation_context for a peer that is not to be verified",
        "max_verify_depth": "chains may have the length that rustls allows",
    },
    f"{_TLS}.SPIFFECertValidatorConfig": {"trust_bundles": "use trust_domains"},
    f"{_TLS}.SubjectAltNameMatcher": {"oid": "names are DNS names and URIs"},
    f"{_TLS}.DownstreamTlsContext": {
        **_all(
            "each context has ticket keys of its own",
            "session_ticket_keys",
            "session_ticket_keys_sds_secret_config",
        ),
        **_all(
            "sessions are resumed",
            "disable_stateless_session_resumption",
            "disable_stateful_session_resumption",
        ),
        "ocsp_staple_policy": "no OCSP response is stapled",
        "full_scan_certs_on_sni_mismatch": "a certificate is chosen by name, else the first",
        "prefer_client_ciphers": "the order is rustls' own",
    },
    f"{_TLS}.UpstreamTlsContext": {
        "auto_host_sni": "a fixed sni, or auto_sni of the HTTP protocol options, which takes the request's host",
        "allow_renegotiation": "it is not safe, and TLS 1.3 has none",
        "enforce_rsa_key_usage": "rustls judges certificates",
    },
    f"{_TLS}.CommonTlsContext": {
        **_all(
            _PROVIDER,
            "tls_certificate_provider_instance",
            "tls_certificate_certificate_provider",
            "tls_certificate_certificate_provider_instance",
            "validation_context_certificate_provider",
            "validation_context_certificate_provider_instance",
        ),
        **_all(_EXTENSION, "custom_tls_certificate_selector", "custom_handshaker"),
        "key_log": "keys are told to nobody",
    },
    f"{_TLS}.CommonTlsContext.CombinedCertificateValidationContext": _all(
        _PROVIDER,
        "validation_context_certificate_provider",
        "validation_context_certificate_provider_instance",
    ),
    f"{_TLS}.TlsParameters": {"compliance_policies": "ring is not certified"},
    f"{_CORE}.DataSource": {"environment_variable": "use a file, or inline data"},
    f"{_CORE}.HeaderValue": {"raw_value": "values are text"},
    "envoy.type.matcher.v3.StringMatcher": {"custom": _EXTENSION},
    f"{_NETWORK}.rbac.v3.RBAC": {
        **_all(_MATCHER_TREE, "matcher", "shadow_matcher"),
        "delay_deny": "who is denied is closed at once",
    },
    f"{_RBAC}.RBAC": {"audit_logging_options": "denials are in the access log"},
    f"{_RBAC}.Policy": _all("CEL is not evaluated", "condition", "checked_condition", "cel_config"),
    f"{_RBAC}.Permission": {
        **_all(_METADATA, "metadata", "sourced_metadata"),
        "matcher": _EXTENSION,
        "uri_template": _EXTENSION,
    },
    f"{_RBAC}.Principal": {
        **_all(_METADATA, "metadata", "sourced_metadata"),
        "filter_state": "filters keep no shared state",
        "custom": _EXTENSION,
    },
    f"{_MANAGER}.HttpConnectionManager": {
        "scoped_routes": "routes are found by name; use rds",
        "http1_safe_max_connection_duration": "a connection that is too old ends after its response",
        "http3_protocol_options": _QUIC,
        "scheme_header_transformation": "the scheme follows the connection",
        "stream_flush_timeout": "stream_idle_timeout holds while a response is flushed too",
        "delayed_close_timeout": "a connection is closed when its last bytes are out",
        **_all(
            "a request is logged once, when it has ended",
            "access_log_flush_interval",
            "flush_access_log_on_new_request",
            "access_log_options",
        ),
        **_all(
            _EXTENSION,
            "original_ip_detection_extensions",
            "early_header_mutation_extensions",
            "request_id_extension",
        ),
        "forward_client_cert_matcher": _MATCHER_TREE,
        "represent_ipv4_remote_address_as_ipv4_mapped_ipv6": "addresses are shown as they are",
        "local_reply_config": f"{_NOT_YET}; replies of our own are plain text",
        "path_normalization_options": "use normalize_path",
        "proxy_status_config": "the response flags are in the access log",
        "typed_header_validation_config": _EXTENSION,
        "append_x_forwarded_port": _NOT_YET,
        "append_local_overload": "use the response flags in the access log",
        "add_proxy_protocol_connection_state": "the PROXY protocol is not spoken",
    },
    f"{_MANAGER}.HttpFilter": {"config_discovery": _ECDS},
    f"{_MANAGER}.HttpConnectionManager.Tracing": _all(
        _TRACING,
        "client_sampling",
        "verbose",
        "max_path_tag_length",
        "custom_tags",
        "provider",
        "spawn_upstream_span",
        "operation",
        "upstream_operation",
    ),
    f"{_MANAGER}.HttpConnectionManager.UpgradeConfig": {
        "filters": "upgrades pass the filters of the manager"
    },
    f"{_ROUTE}.RouteConfiguration": {
        "vhds": "virtual hosts stand in their route configuration",
        "cluster_specifier_plugins": _EXTENSION,
        "request_mirror_policies": "write it in the virtual hosts",
        "vhost_header": "virtual hosts are found by the request's host",
        "ignore_path_parameters_in_path_matching": "parameters are part of the path",
        "typed_per_filter_config": "write it in the virtual hosts",
    },
    f"{_ROUTE}.VirtualHost": {
        "matcher": _MATCHER_TREE,
        "virtual_clusters": _STATISTICS,
        "rate_limits": _RATE_LIMIT_DESCRIPTORS,
        "cors": f"{_NOT_YET}: CORS",
        "retry_policy_typed_config": _EXTENSION,
        "hedge_policy": "a request is not sent twice at once",
        "include_is_timeout_retry_header": _NOT_YET,
        **_all(_CONTENT_BUFFER, "per_request_buffer_limit_bytes", "request_body_buffer_limit"),
    },
    f"{_ROUTE}.Route": {
        "filter_action": _EXTENSION,
        "tracing": _TRACING,
        **_all(_CONTENT_BUFFER, "per_request_buffer_limit_bytes", "request_body_buffer_limit"),
    },
    f"{_ROUTE}.RouteMatch": {
        "connect_matcher": f"{_NOT_YET}: CONNECT",
        "path_match_policy": _EXTENSION,
        "tls_context": "use filter_chain_match, or RBAC",
        "dynamic_metadata": _METADATA,
        "filter_state": "filters keep no shared state",
    },
    f"{_ROUTE}.RouteAction": {
        **_all(
            _EXTENSION, "cluster_specifier_plugin", "inline_cluster_specifier_plugin", "path_rewrite_policy"
        ),
        "metadata_match": "subsets are clusters of their own",
        "path_rewrite": "use prefix_rewrite or regex_rewrite",
        "host_rewrite": "use the other forms of host rewrite",
        "flush_timeout": "idle_timeout holds while a response is flushed too",
        "early_data_policy": "early data is not taken",
        "retry_policy_typed_config": _EXTENSION,
        **_all(_RATE_LIMIT_DESCRIPTORS, "rate_limits", "include_vh_rate_limits"),
        "hash_policy": _BALANCER,
        "cors": f"{_NOT_YET}: CORS",
        "grpc_timeout_offset": _DEPRECATED,
        **_all("use internal_redirect_policy", "internal_redirect_action", "max_internal_redirects"),
        "hedge_policy": "a request is not sent twice at once",
    },
    f"{_ROUTE}.RouteAction.UpgradeConfig": {"connect_config": f"{_NOT_YET}: CONNECT"},
    f"{_ROUTE}.WeightedCluster": _all(_WEIGHT_HEADER, "header_name", "use_hash_policy"),
    f"{_ROUTE}.WeightedCluster.ClusterWeight": {"cluster_header": "clusters of a split are named"},
    f"{_ROUTE}.RetryPolicy": {
        **_all(_EXTENSION, "retry_priority", "retry_options_predicates"),
        "rate_limited_retry_back_off": "retries wait by retry_back_off",
    },
    f"{_ROUTE}.RouteAction.RequestMirrorPolicy": {
        "cluster_header": "the cluster is named",
        **_all("a mirrored request is the request", "request_headers_mutations", "host_rewrite_literal"),
    },
    f"{_ROUTE}.InternalRedirectPolicy": {
        "predicates": _EXTENSION,
        "allow_cross_scheme_redirect": "a redirect to another scheme is the client's",
        "response_headers_to_copy": _NOT_YET,
    },
    f"{_ROUTE}.RouteAction.MaxStreamDuration": {"grpc_timeout_header_offset": _NOT_YET},
    f"{_ROUTE}.DirectResponseAction": {"body_format": "the body is what is written"},
    "envoy.config.common.mutation_rules.v3.HeaderMutation": {
        "remove_on_match": "headers are removed by name"
    },
    f"{_NETWORK}.tcp_proxy.v3.TcpProxy": {
        "on_demand": "clusters are named and known",
        "metadata_match": "subsets are clusters of their own",
        **_all("idle_timeout holds for both sides", "downstream_idle_timeout", "upstream_idle_timeout"),
        "backoff_options": "the next attempt follows at once",
        "hash_policy": _BALANCER,
        "tunneling_config": f"{_NOT_YET}: CONNECT",
        "max_downstream_connection_duration_jitter_percentage": "connections end at their duration",
        **_all(
            "a connection is logged once, when it has ended",
            "access_log_flush_interval",
            "flush_access_log_on_connected",
            "access_log_options",
        ),
        "proxy_protocol_tlvs": "the PROXY protocol is not spoken",
        **_all("the server is connected to at once", "upstream_connect_mode", "max_early_data_bytes"),
    },
    f"{_NETWORK}.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight": {
        "metadata_match": "subsets are clusters of their own"
    },
    f"{_HTTP}.rbac.v3.RBAC": _all(_MATCHER_TREE, "matcher", "shadow_matcher"),
    f"{_HTTP}.local_ratelimit.v3.LocalRateLimit": {
        "request_headers_to_add_when_not_enforced": _NOT_YET,
        **_all(
            _RATE_LIMIT_DESCRIPTORS,
            "descriptors",
            "stage",
            "vh_rate_limits",
            "always_consume_default_token_bucket",
            "rate_limits",
            "max_dynamic_descriptors",
        ),
        "local_rate_limit_per_downstream_connection": "a bucket is shared by all connections",
        "local_cluster_rate_limit": "a bucket is this proxy's own",
        "rate_limited_as_resource_exhausted": "a gRPC request gets UNAVAILABLE, as Envoy's default is",
    },
    f"{_HTTP}.header_mutation.v3.HeaderMutation": {
        "most_specific_header_mutations_wins": "the route's mutations stand in place of the filter's"
    },
    f"{_HTTP}.header_mutation.v3.Mutations": {
        "query_parameter_mutations": "queries are matched, not changed",
        **_all("trailers pass as they are", "response_trailers_mutations", "request_trailers_mutations"),
    },
    f"{_HTTP}.router.v3.Router": {
        "start_child_span": _TRACING,
        **_all("requests are logged by their listener", "upstream_log", "upstream_log_options"),
        "suppress_envoy_headers": f"{_NOT_YET}; the headers are added",
        "strict_check_headers": "headers of this kind that make no sense are passed over",
        "respect_expected_rq_timeout": "the timeout is the route's",
        "suppress_grpc_request_failure_code_stats": _STATISTICS,
        "upstream_http_filters": "filters stand in the listener",
    },
}
"""Message → field → why it is refused."""

_NAME = "it names the entry for its reader"
_OWN_LIMITS = "the engine has limits of its own against floods"
_BALANCED = "one acceptor hands each connection to the least loaded worker"
_WATCHED = "files are watched themselves"
_INSTEAD = "metadata that is not Mainstay's or Istio's says nothing here"
_RESOLVER = "names are asked of the system's resolver"

NO_EFFECT: Reasons = {
    f"{_BOOTSTRAP}.Admin": {
        **_all("only /dev/null is taken: the admin pages keep no log", "access_log", "access_log_path"),
        "profile_path": "there is no page that writes a profile",
    },
    f"{_ACCESS_LOG}.AccessLog": {"name": _NAME},
    f"{_CLUSTER}.CircuitBreakers.Thresholds": {"track_remaining": "what remains is always counted"},
    f"{_CLUSTER}.Cluster": {
        "dns_failure_refresh_rate": "a failed lookup is repeated at dns_refresh_rate",
        "dns_lookup_family": f"{_RESOLVER}, and all addresses are taken",
        "typed_dns_resolver_config": _RESOLVER,
        "http_protocol_options": "HTTP/1 is spoken; towards a server it has no options yet",
        "per_connection_buffer_limit_bytes": "buffers are bounded by the windows of each protocol",
    },
    f"{_CLUSTER}.Cluster.CommonLbConfig": {"update_merge_window": "a change counts at once"},
    f"{_CORE}.BindConfig": {"extra_source_addresses": "the first address is used"},
    f"{_CORE}.ConfigSource": {
        "initial_fetch_timeout": "what has not come is waited for, and what is in force serves meanwhile"
    },
    f"{_CORE}.DataSource": {"watched_directory": _WATCHED},
    f"{_CORE}.GrpcService": {"timeout": "a stream has no end"},
    f"{_CORE}.HealthCheck": {
        "interval_jitter": "intervals are kept as written",
        "no_traffic_interval": "checks go on at one interval",
        "reuse_connection": "the engine decides whether a check's connection is kept",
    },
    f"{_CORE}.Http1ProtocolOptions": {"use_balsa_parser": "the parser is the engine's own"},
    f"{_CORE}.Http2ProtocolOptions": {
        "hpack_table_size": "tables have 4,096 bytes",
        **_all(
            _OWN_LIMITS,
            "max_outbound_frames",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "max_inbound_window_update_frames_per_data_frame_sent",
        ),
        "use_oghttp2_codec": "the codec is the engine's own",
    },
    f"{_CORE}.KeepaliveSettings": {"interval_jitter": "pings go out at their interval"},
    f"{_CORE}.Metadata": {"typed_filter_metadata": _INSTEAD},
    f"{_CORE}.Node": _all("Mainstay says who it is", "user_agent_name", "user_agent_version"),
    f"{_CORE}.PathConfigSource": {"watched_directory": _WATCHED},
    f"{_CORE}.RuntimeFractionalPercent": {"runtime_key": _RUNTIME},
    f"{_CORE}.RuntimeUInt32": {"runtime_key": _RUNTIME},
    f"{_ACCESS_LOG}.RuntimeFilter": {"runtime_key": _RUNTIME},
    f"{_CORE}.SocketAddress": {
        "ipv4_compat": "an IPv6 listener takes IPv4 as the system does",
        "resolver_name": _RESOLVER,
    },
    f"{_CORE}.SocketOption": {
        "description": _NAME,
        "state": "an option is set when the connection is accepted",
    },
    f"{_CORE}.SubstitutionFormatString": {"json_format_options": "properties are always sorted"},
    f"{_CORE}.TransportSocket": {"name": _NAME},
    f"{_CORE}.TypedExtensionConfig": {"name": _NAME},
    f"{_ENDPOINT}.ClusterLoadAssignment.Policy.DropOverload": {"category": "drops are counted together"},
    f"{_ENDPOINT}.LocalityLbEndpoints": {"metadata": _INSTEAD, "proximity": _EVERY_LOCALITY},
    f"{_LISTENER}.FilterChain": {"metadata": _INSTEAD},
    f"{_LISTENER}.Listener": {
        **_all(_BALANCED, "connection_balance_config", "enable_reuse_port", "reuse_port"),
        **_all(_OWN_LIMITS, "bypass_overload_manager", "ignore_global_conn_limit"),
        "max_connections_to_accept_per_socket_event": "the acceptor takes turns with the workers",
        "tcp_backlog_size": "the queue's length is the engine's own",
    },
    f"{_LISTENER}.ListenerFilter": {"name": _NAME},
    f"{_ROUTE}.Decorator": {"propagate": "x-envoy-decorator-operation is not sent"},
    f"{_ROUTE}.RetryPolicy.RetryHostPredicate": {"typed_config": "the name says which one it is"},
    f"{_ROUTE}.Route": {"metadata": _INSTEAD, "stat_prefix": _STATISTICS},
    f"{_ROUTE}.RouteAction.RequestMirrorPolicy": {
        "trace_sampled": "a mirrored request carries the request's trace"
    },
    f"{_ROUTE}.RouteConfiguration": {
        "metadata": _INSTEAD,
        "validate_clusters": "a table waits for its clusters",
    },
    f"{_ROUTE}.VirtualHost": {"metadata": _INSTEAD},
    f"{_ROUTE}.WeightedCluster": {
        "runtime_key_prefix": _RUNTIME,
        "total_weight": "the sum of the weights counts",
    },
    f"{_ROUTE}.WeightedCluster.ClusterWeight": {"metadata_match": "only an empty one is taken"},
    f"{_HTTP}.rbac.v3.RBAC": _all(
        _STATISTICS, "rules_stat_prefix", "shadow_rules_stat_prefix", "track_per_rule_stats"
    ),
    f"{_HTTP}.router.v3.Router": {"dynamic_stats": _STATISTICS},
    _INSPECTOR: _all("any ClientHello is held", "initial_read_buffer_size", "max_client_hello_size"),
    f"{_NETWORK}.rbac.v3.RBAC": {
        "enforcement_type": "nothing that the rules look at changes during a connection",
        "shadow_rules_stat_prefix": _STATISTICS,
    },
    f"{_TLS}.CertificateValidationContext": {"watched_directory": _WATCHED},
    f"{_TLS}.DownstreamTlsContext": {
        "require_sni": "only false is taken; match server_names instead",
        "session_timeout": "sessions live as long as their context",
    },
    f"{_TLS}.TlsCertificate": {"watched_directory": _WATCHED},
    f"{_TLS}.TlsParameters": _all(
        "rustls offers what is safe: forward secrecy and authenticated encryption",
        "cipher_suites",
        "ecdh_curves",
        "signature_algorithms",
    ),
    f"{_TLS}.UpstreamTlsContext": {
        "max_session_keys": "the engine keeps as many sessions as its caches hold"
    },
    f"{_UPSTREAM}.AutoHttpConfig": {"http_protocol_options": "towards a server HTTP/1 has no options yet"},
    f"{_UPSTREAM}.UseDownstreamHttpConfig": {
        "http_protocol_options": "towards a server HTTP/1 has no options yet"
    },
    "envoy.type.matcher.v3.RegexMatcher": {"google_re2": "regular expressions are always RE2's"},
}
"""Message → field that is taken → why it changes nothing."""
