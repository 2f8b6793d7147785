"""Fields that are refused in what a process is told: bootstrap, sources, health checks, access logs."""

from __future__ import annotations

from mainstay.sidecar.support.reasons.words import (
    ACCESS_LOG,
    BOOTSTRAP,
    CORE,
    DEPRECATED,
    EXTENSION,
    FREEBIND,
    HEALTH_EVENTS,
    LOGGERS,
    NOT_YET,
    PROVIDER,
    RUNTIME,
    SOCKET_OPTIONS,
    STATISTICS,
    TRACING,
    TUNING,
    XDSTP,
    Reasons,
    all_of,
)

REFUSED: Reasons = {
    f"{BOOTSTRAP}.Bootstrap": {
        **all_of(
            STATISTICS,
            "deferred_stat_options",
            "stats_config",
            "stats_flush_interval",
            "stats_flush_on_admin",
            "stats_eviction_interval",
            "enable_dispatcher_stats",
            "stats_server_version_override",
        ),
        **all_of(
            TUNING,
            "cluster_manager",
            "grpc_async_client_manager_config",
            "memory_allocator_manager",
            "listener_manager",
            "default_socket_interface",
            "perf_tracing_file_path",
            "flags_path",
        ),
        **all_of(
            EXTENSION,
            "bootstrap_extensions",
            "fatal_actions",
            "xds_delegate_extension",
            "xds_config_tracker_extension",
        ),
        **all_of(XDSTP, "config_sources", "default_config_source", "node_context_params"),
        **all_of(
            "names are asked of the system's resolver",
            "use_tcp_for_dns_lookups",
            "dns_resolution_config",
            "typed_dns_resolver_config",
        ),
        "tracing": TRACING,
        "layered_runtime": RUNTIME,
        "header_prefix": "headers are called x-envoy-",
        "certificate_provider_instances": PROVIDER,
        "inline_headers": TUNING,
        "default_regex_engine": "regular expressions are RE2's",
        "application_log_config": "use --log-format and --log-level",
        # Fields that our subset of the descriptors leaves out.
        "overload_manager": "limits are settings: --max-connections",
        "stats_sinks": f"{STATISTICS}, and are read from --metrics-port",
        **all_of("a worker that hangs shows in /stats", "watchdog", "watchdogs"),
        "hds_config": "health is told to Mainstay's control plane, over its own stream",
    },
    f"{BOOTSTRAP}.Bootstrap.DynamicResources": all_of(
        XDSTP, "lds_resources_locator", "cds_resources_locator"
    ),
    f"{BOOTSTRAP}.Admin": {
        "socket_options": SOCKET_OPTIONS,
        "ignore_global_conn_limit": "the admin pages have a limit of their own",
        "allow_paths": "all pages are there, changes only by POST",
    },
    f"{CORE}.Node": {
        "dynamic_parameters": XDSTP,
        "user_agent_build_version": "Mainstay tells its own version",
        "extensions": "Mainstay has no list of extensions to tell",
        "client_features": "Mainstay tells its own features",
        "listening_addresses": DEPRECATED,
    },
    f"{CORE}.SocketAddress": {
        "named_port": "ports are numbers",
        "network_namespace_filepath": "sockets belong to the process's own network namespace",
    },
    f"{CORE}.Pipe": {"mode": "a socket file has the mode that the process's umask gives it"},
    f"{CORE}.Address": {"envoy_internal_address": "listeners are sockets"},
    f"{CORE}.SocketOption": all_of(SOCKET_OPTIONS, "buf_value", "type"),
    f"{ACCESS_LOG}.AccessLogFilter": {
        "metadata_filter": "there is no dynamic metadata",
        "extension_filter": EXTENSION,
        "log_type_filter": "a line is written at the end, and then only",
    },
    f"{CORE}.SubstitutionFormatString": {
        "content_type": "a log line has none",
        "formatters": EXTENSION,
    },
    f"{LOGGERS}.file.v3.FileAccessLog": {"typed_json_format": f"{DEPRECATED}: log_format"},
    f"{CORE}.ConfigSource": {"authorities": XDSTP},
    f"{CORE}.ApiConfigSource": {
        **all_of(
            "configuration comes over gRPC streams or from files",
            "cluster_names",
            "refresh_delay",
            "request_timeout",
        ),
        "rate_limit_settings": "requests follow what changes, and are few",
        "config_validators": EXTENSION,
    },
    f"{CORE}.GrpcService": {
        "google_grpc": "use envoy_grpc with a cluster of static_resources",
        "retry_policy": "streams are opened again with exponential back-off",
    },
    f"{CORE}.GrpcService.EnvoyGrpc": {
        "retry_policy": "streams are opened again with exponential back-off",
        "max_receive_message_length": "the engine limits them itself",
        "skip_envoy_headers": "no such headers are sent",
    },
    f"{CORE}.HealthCheck": {
        "interval_jitter_percent": "intervals are kept as written",
        "alt_port": f"{NOT_YET}; an endpoint is checked at its own address",
        **all_of(
            "checks go on at one interval",
            "no_traffic_healthy_interval",
            "unhealthy_interval",
            "unhealthy_edge_interval",
            "healthy_edge_interval",
        ),
        **all_of(
            HEALTH_EVENTS,
            "event_log_path",
            "event_logger",
            "event_service",
            "always_log_health_check_failures",
            "always_log_health_check_success",
        ),
        **all_of(
            "checks use the endpoint's own transport socket", "tls_options", "transport_socket_match_criteria"
        ),
    },
    f"{CORE}.HealthCheck.HttpHealthCheck": {
        **all_of("the status decides", "send", "receive", "response_buffer_size", "service_name_matcher"),
        "request_headers_to_remove": "only the headers that are given are sent",
        "retriable_statuses": "any other status is a failure",
        "method": "checks are GET",
    },
    f"{CORE}.HealthCheck.TcpHealthCheck": {
        "proxy_protocol_config": "the PROXY protocol is not spoken",
    },
    f"{CORE}.HealthCheck.GrpcHealthCheck": {"initial_metadata": NOT_YET},
    f"{CORE}.HttpProtocolOptions": {
        "max_response_headers_kb": "heads of responses may have 60 KiB",
        "headers_with_underscores_action": "responses pass as they are",
    },
    f"{CORE}.Http1ProtocolOptions": {
        "default_host_for_http_10": f"{NOT_YET}; a request without a host gets 400",
        "header_key_format": "names of headers are sent in small letters",
        "allow_chunked_length": "a message with both framings is refused: it is how requests are smuggled",
        "override_stream_error_on_invalid_http_message": "use stream_error_on_invalid_http_message",
        "send_fully_qualified_url": NOT_YET,
        "allow_custom_methods": "any token is a method",
        "ignore_http_11_upgrade": "use upgrade_configs",
    },
    f"{CORE}.Http2ProtocolOptions": {
        "allow_connect": f"{NOT_YET}: extended CONNECT",
        **all_of("METADATA frames are passed over", "allow_metadata", "max_metadata_size"),
        **all_of(
            "use stream_error_on_invalid_http_message of the connection manager",
            "stream_error_on_invalid_http_messaging",
            "override_stream_error_on_invalid_http_message",
        ),
        "custom_settings_parameters": "settings are those of RFC 9113",
    },
    f"{CORE}.KeepaliveSettings": {"connection_idle_interval": "pings go out at their interval"},
    f"{CORE}.UpstreamHttpProtocolOptions": {"override_auto_sni_header": "the request's host is the name"},
    f"{CORE}.BindConfig": {
        "freebind": FREEBIND,
        "socket_options": SOCKET_OPTIONS,
        **all_of("there is one source address", "additional_source_addresses", "local_address_selector"),
    },
    f"{CORE}.DataSource": {"environment_variable": "use a file, or inline data"},
    f"{CORE}.HeaderValue": {"raw_value": "values are text"},
    "envoy.type.matcher.v3.StringMatcher": {"custom": EXTENSION},
    "envoy.config.common.mutation_rules.v3.HeaderMutation": {
        "remove_on_match": "headers are removed by name"
    },
}
