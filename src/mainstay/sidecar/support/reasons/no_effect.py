"""Fields that are taken and change nothing."""

from __future__ import annotations

from mainstay.sidecar.support.reasons.words import (
    ACCESS_LOG,
    BOOTSTRAP,
    CLUSTER,
    CORE,
    ENDPOINT,
    EVERY_LOCALITY,
    GENERIC,
    HTTP,
    INSPECTOR,
    LISTENER,
    NETWORK,
    ROUTE,
    RUNTIME,
    STATISTICS,
    TLS,
    UPSTREAM,
    XDS_MATCHER,
    Reasons,
    all_of,
)

NAME = "it names the entry for its reader"
OWN_LIMITS = "the engine has limits of its own against floods"
BALANCED = "one acceptor hands each connection to the least loaded worker"
WATCHED = "files are watched themselves"
INSTEAD = "metadata that is not Mainstay's or Istio's says nothing here"
RESOLVER = "names are asked of the system's resolver"

NO_EFFECT: Reasons = {
    f"{BOOTSTRAP}.Admin": {
        **all_of("only /dev/null is taken: the admin pages keep no log", "access_log", "access_log_path"),
        "profile_path": "there is no page that writes a profile",
    },
    f"{ACCESS_LOG}.AccessLog": {"name": NAME},
    f"{CLUSTER}.CircuitBreakers.Thresholds": {"track_remaining": "what remains is always counted"},
    f"{CLUSTER}.Cluster": {
        "dns_failure_refresh_rate": "a failed lookup is repeated at dns_refresh_rate",
        "dns_lookup_family": f"{RESOLVER}, and all addresses are taken",
        "typed_dns_resolver_config": RESOLVER,
        "http_protocol_options": "HTTP/1 is spoken; towards a server it has no options yet",
    },
    f"{CLUSTER}.Cluster.CommonLbConfig": {"update_merge_window": "a change counts at once"},
    f"{CORE}.BindConfig": {"extra_source_addresses": "the first address is used"},
    f"{CORE}.DataSource": {"watched_directory": WATCHED},
    f"{CORE}.GrpcService": {"timeout": "a stream has no end"},
    f"{CORE}.HealthCheck": {
        "interval_jitter": "intervals are kept as written",
        "no_traffic_interval": "checks go on at one interval",
        "reuse_connection": "the engine decides whether a check's connection is kept",
    },
    f"{CORE}.Http1ProtocolOptions": {"use_balsa_parser": "the parser is the engine's own"},
    f"{CORE}.Http2ProtocolOptions": {
        "hpack_table_size": "tables have 4,096 bytes",
        **all_of(
            OWN_LIMITS,
            "max_outbound_frames",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "max_inbound_window_update_frames_per_data_frame_sent",
        ),
        "use_oghttp2_codec": "the codec is the engine's own",
    },
    f"{CORE}.KeepaliveSettings": {"interval_jitter": "pings go out at their interval"},
    f"{CORE}.Metadata": {"typed_filter_metadata": INSTEAD},
    f"{CORE}.Node": all_of("Mainstay says who it is", "user_agent_name", "user_agent_version"),
    f"{CORE}.PathConfigSource": {"watched_directory": WATCHED},
    f"{CORE}.RuntimeFractionalPercent": {"runtime_key": RUNTIME},
    f"{CORE}.RuntimeUInt32": {"runtime_key": RUNTIME},
    f"{ACCESS_LOG}.RuntimeFilter": {"runtime_key": RUNTIME},
    f"{CORE}.SocketAddress": {
        "ipv4_compat": "an IPv6 listener takes IPv4 as the system does",
        "resolver_name": RESOLVER,
    },
    f"{CORE}.SocketOption": {
        "description": NAME,
        "state": "an option is set when the connection is accepted",
    },
    f"{CORE}.SubstitutionFormatString": {"json_format_options": "properties are always sorted"},
    f"{CORE}.TransportSocket": {"name": NAME},
    f"{CORE}.TypedExtensionConfig": {"name": NAME},
    f"{ENDPOINT}.ClusterLoadAssignment.Policy.DropOverload": {"category": "drops are counted together"},
    f"{ENDPOINT}.LocalityLbEndpoints": {"metadata": INSTEAD, "proximity": EVERY_LOCALITY},
    f"{LISTENER}.FilterChain": {"metadata": INSTEAD},
    f"{LISTENER}.Listener": {
        **all_of(BALANCED, "connection_balance_config", "enable_reuse_port", "reuse_port"),
        **all_of(OWN_LIMITS, "bypass_overload_manager", "ignore_global_conn_limit"),
        "max_connections_to_accept_per_socket_event": "the acceptor takes turns with the workers",
        "tcp_backlog_size": "the queue's length is the engine's own",
    },
    f"{LISTENER}.ListenerFilter": {"name": NAME},
    f"{ROUTE}.Decorator": {"propagate": "x-envoy-decorator-operation is not sent"},
    f"{ROUTE}.RetryPolicy.RetryHostPredicate": {"typed_config": "the name says which one it is"},
    f"{ROUTE}.Route": {"metadata": INSTEAD, "stat_prefix": STATISTICS},
    f"{ROUTE}.RouteAction.RequestMirrorPolicy": {
        "trace_sampled": "a mirrored request carries the request's trace"
    },
    f"{ROUTE}.RouteConfiguration": {
        "metadata": INSTEAD,
        "validate_clusters": "a table waits for its clusters",
    },
    f"{ROUTE}.VirtualHost": {"metadata": INSTEAD},
    f"{ROUTE}.WeightedCluster": {
        "runtime_key_prefix": RUNTIME,
        "total_weight": "the sum of the weights counts",
    },
    f"{ROUTE}.WeightedCluster.ClusterWeight": {"metadata_match": "only an empty one is taken"},
    f"{HTTP}.rbac.v3.RBAC": all_of(
        STATISTICS, "rules_stat_prefix", "shadow_rules_stat_prefix", "track_per_rule_stats"
    ),
    f"{HTTP}.router.v3.Router": {"dynamic_stats": STATISTICS},
    INSPECTOR: all_of("any ClientHello is held", "initial_read_buffer_size", "max_client_hello_size"),
    f"{NETWORK}.rbac.v3.RBAC": {
        "enforcement_type": "nothing that the rules look at changes during a connection",
        "shadow_rules_stat_prefix": STATISTICS,
    },
    f"{TLS}.CertificateValidationContext": {"watched_directory": WATCHED},
    f"{TLS}.DownstreamTlsContext": {
        "require_sni": "only false is taken; match server_names instead",
        "session_timeout": "sessions live as long as their context",
    },
    f"{TLS}.TlsCertificate": {"watched_directory": WATCHED},
    f"{TLS}.TlsParameters": all_of(
        "rustls offers what is safe: forward secrecy and authenticated encryption",
        "cipher_suites",
        "ecdh_curves",
        "signature_algorithms",
    ),
    f"{TLS}.UpstreamTlsContext": {"max_session_keys": "the engine keeps as many sessions as its caches hold"},
    f"{UPSTREAM}.AutoHttpConfig": {"http_protocol_options": "towards a server HTTP/1 has no options yet"},
    f"{UPSTREAM}.UseDownstreamHttpConfig": {
        "http_protocol_options": "towards a server HTTP/1 has no options yet"
    },
    f"{XDS_MATCHER}.RegexMatcher": {"google_re2": "regular expressions are always RE2's"},
    "xds.core.v3.TypedExtensionConfig": {"name": NAME},
    f"{GENERIC}.action.v3.RouteAction": {"metadata": INSTEAD},
    "envoy.type.matcher.v3.RegexMatcher": {"google_re2": "regular expressions are always RE2's"},
}
"""Message → field that is taken → why it changes nothing."""
