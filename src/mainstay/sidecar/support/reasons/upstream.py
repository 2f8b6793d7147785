"""Fields that are refused in what requests go to, and in TLS: clusters, endpoints, transport sockets."""

from __future__ import annotations

from mainstay.sidecar.support.reasons.words import (
    BALANCER,
    CLUSTER,
    DEPRECATED,
    ENDPOINT,
    EVERY_LOCALITY,
    EXTENSION,
    MATCHER_TREE,
    METADATA,
    NOT_YET,
    PROVIDER,
    QUIC,
    STATISTICS,
    TLS,
    UPSTREAM,
    Reasons,
    all_of,
)

REFUSED: Reasons = {
    f"{CLUSTER}.Cluster": {
        "transport_socket_matcher": MATCHER_TREE,
        "cluster_type": "clusters are STATIC, STRICT_DNS, EDS or ORIGINAL_DST",
        "dns_jitter": "names are asked again when they are due",
        "dns_resolvers": "names are asked of the system's resolver",
        "use_tcp_for_dns_lookups": "names are asked of the system's resolver",
        "dns_resolution_config": "names are asked of the system's resolver",
        "wait_for_warm_on_init": "a cluster always waits for what it needs, and nothing else waits for it",
        "lb_subset_config": "subsets are clusters of their own",
        **all_of(BALANCER, "ring_hash_lb_config", "maglev_lb_config"),
        "round_robin_lb_config": "there is no slow start yet",
        "protocol_selection": f"{DEPRECATED}: HttpProtocolOptions",
        "ignore_health_on_host_removal": "an endpoint that is removed gets no new requests",
        "filters": EXTENSION,
        "load_balancing_policy": f"use lb_policy: {BALANCER}",
        **all_of("load is not reported to the control plane", "lrs_server", "lrs_report_endpoint_metrics"),
        **all_of(STATISTICS, "track_timeout_budgets", "track_cluster_stats"),
        "upstream_config": EXTENSION,
        "preconnect_policy": "connections are opened when they are needed",
        "connection_pool_per_downstream_connection": "clients share the connections of a worker",
    },
    f"{CLUSTER}.Cluster.OriginalDstLbConfig": {
        "http_header_name": "the header is x-envoy-original-dst-host",
        "upstream_port_override": NOT_YET,
        "metadata_key": METADATA,
    },
    f"{CLUSTER}.UpstreamConnectionOptions": {
        "set_local_interface_name_on_upstream_connections": "nothing reads it",
        "happy_eyeballs_config": f"{NOT_YET}; the first address that answers is taken",
    },
    f"{ENDPOINT}.ClusterLoadAssignment": {
        "named_endpoints": "endpoints stand where they are used",
        "policy": "endpoints by name have none; use a STATIC cluster, or EDS",
    },
    f"{ENDPOINT}.LocalityLbEndpoints": all_of(
        "localities hold their endpoints", "load_balancer_endpoints", "leds_cluster_locality_config"
    ),
    f"{ENDPOINT}.LbEndpoint": {"endpoint_name": "endpoints stand where they are used"},
    f"{ENDPOINT}.Endpoint": {
        "health_check_config": f"{NOT_YET}; an endpoint is checked at its own address",
        "additional_addresses": f"{NOT_YET}; write an endpoint for each address",
    },
    f"{ENDPOINT}.ClusterLoadAssignment.Policy": {
        "endpoint_stale_after": "endpoints stay until they are replaced",
        "weighted_priority_health": "a priority's health counts endpoints",
    },
    f"{CLUSTER}.CircuitBreakers": {"per_host_thresholds": "limits hold for the cluster"},
    f"{CLUSTER}.CircuitBreakers.Thresholds": {
        "max_connection_pools": "there is one pool a worker and endpoint"
    },
    UPSTREAM: {
        "http_filters": "filters stand in the listener",
        "header_validation_config": EXTENSION,
        "outlier_detection": "use the cluster's",
        **all_of("routes say it", "request_mirror_policies", "hash_policy", "retry_policy"),
    },
    f"{UPSTREAM}.ExplicitHttpConfig": {"http3_protocol_options": QUIC},
    f"{UPSTREAM}.UseDownstreamHttpConfig": {"http3_protocol_options": QUIC},
    f"{UPSTREAM}.AutoHttpConfig": all_of(QUIC, "http3_protocol_options", "alternate_protocols_cache_options"),
    f"{CLUSTER}.OutlierDetection": {
        **all_of(
            f"{NOT_YET}: endpoints are ejected by errors in a row",
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
        "monitors": EXTENSION,
        "always_eject_one_host": "max_ejection_percent holds for the last endpoint too",
    },
    f"{CLUSTER}.Cluster.LeastRequestLbConfig": {
        "active_request_bias": "of the endpoints that are drawn, the least loaded by weight is taken",
        "slow_start_config": NOT_YET,
    },
    f"{CLUSTER}.Cluster.CommonLbConfig": {
        "zone_aware_lb_config": EVERY_LOCALITY,
        "ignore_new_hosts_until_first_hc": f"{NOT_YET}; a new endpoint counts as well until it is found ill",
        "close_connections_on_host_set_change": "connections stay as long as their endpoint",
        "consistent_hashing_lb_config": BALANCER,
        "override_host_status": "no host is chosen from outside",
    },
    f"{TLS}.Secret": {
        "session_ticket_keys": "each context has keys of its own",
        "generic_secret": "no filter that works here has one",
    },
    f"{TLS}.TlsCertificate": {
        "pkcs12": "give certificate_chain and private_key as PEM",
        "private_key_provider": EXTENSION,
        "password": "give the private key in clear, readable to the proxy alone",
        "ocsp_staple": "no OCSP response is stapled",
        "signed_certificate_timestamp": "no timestamps are sent",
    },
    f"{TLS}.CertificateValidationContext": {
        "ca_certificate_provider_instance": PROVIDER,
        "system_root_certs": "name the file with the roots in trusted_ca",
        **all_of(
            "certificates are judged by chain and name",
            "verify_certificate_spki",
            "verify_certificate_hash",
            "require_signed_certificate_timestamp",
        ),
        **all_of(
            "revocation lists are not read; keep certificates short-lived", "crl", "only_verify_leaf_cert_crl"
        ),
        "allow_expired_certificate": "an expired certificate is no certificate",
        "trust_chain_verification": "leave out validation_context for a peer that is not to be verified",
        "max_verify_depth": "chains may have the length that rustls allows",
    },
    f"{TLS}.SPIFFECertValidatorConfig": {"trust_bundles": "use trust_domains"},
    f"{TLS}.SubjectAltNameMatcher": {"oid": "names are DNS names and URIs"},
    f"{TLS}.DownstreamTlsContext": {
        **all_of(
            "each context has ticket keys of its own",
            "session_ticket_keys",
            "session_ticket_keys_sds_secret_config",
        ),
        **all_of(
            "sessions are resumed",
            "disable_stateless_session_resumption",
            "disable_stateful_session_resumption",
        ),
        "ocsp_staple_policy": "no OCSP response is stapled",
        "full_scan_certs_on_sni_mismatch": "a certificate is chosen by name, else the first",
        "prefer_client_ciphers": "the order is rustls' own",
    },
    f"{TLS}.UpstreamTlsContext": {
        "auto_host_sni": "a fixed sni, or auto_sni of the HTTP protocol options, which takes the request's host",
        "allow_renegotiation": "it is not safe, and TLS 1.3 has none",
        "enforce_rsa_key_usage": "rustls judges certificates",
    },
    f"{TLS}.CommonTlsContext": {
        **all_of(
            PROVIDER,
            "tls_certificate_provider_instance",
            "tls_certificate_certificate_provider",
            "tls_certificate_certificate_provider_instance",
            "validation_context_certificate_provider",
            "validation_context_certificate_provider_instance",
        ),
        **all_of(EXTENSION, "custom_tls_certificate_selector", "custom_handshaker"),
        "key_log": "keys are told to nobody",
    },
    f"{TLS}.CommonTlsContext.CombinedCertificateValidationContext": all_of(
        PROVIDER,
        "validation_context_certificate_provider",
        "validation_context_certificate_provider_instance",
    ),
    f"{TLS}.TlsParameters": {"compliance_policies": "ring is not certified"},
}
