"""Figures of a mesh from Envoy's own counters."""

from __future__ import annotations

import pytest

from mainstay.up.envoy_figures import read_envoy_pairs
from mainstay.up.figures import Tally, read_pairs

WEB = "outbound|8000||web.shop.svc.cluster.local"
LEDGER = "outbound|7000||ledger.shop.svc.cluster.local"
V2 = "outbound|8000|v2|web.shop.svc.cluster.local"
PROTOCOLS = {("web", 8000): "http", ("ledger", 7000): "tcp", ("prices", 9000): "grpc"}


def line(name: str, cluster: str, value: int, **labels: str) -> str:
    shown = "".join(f'{key}="{text}",' for key, text in labels.items())
    return f'envoy_cluster_{name}{{{shown}envoy_cluster_name="{cluster}"}} {value}'


def answers(cluster: str, code: str, count: int) -> str:
    return line("upstream_rq", cluster, count, envoy_response_code=code)


def secured(cluster: str) -> str:
    return "\n".join([line("upstream_cx_total", cluster, 2), line("ssl_handshake", cluster, 2)])


def test_final_answers_are_requests_and_those_above_500_failures() -> None:
    text = "\n".join(
        [
            "# TYPE envoy_cluster_upstream_rq counter",
            answers(WEB, "200", 7),
            answers(WEB, "404", 1),
            answers(WEB, "503", 2),
            line("upstream_rq_total", WEB, 14),
            line("internal_upstream_rq", WEB, 9, envoy_response_code="200"),
            secured(WEB),
        ]
    )
    [pair] = read_envoy_pairs(text, "edge", PROTOCOLS)
    assert (pair.source, pair.destination, pair.protocol) == ("edge", "web", "http")
    assert (pair.requests, pair.failures, pair.mtls) == (10, 2, True)


def test_connections_count_where_a_port_carries_byte_streams() -> None:
    text = "\n".join([secured(LEDGER), line("upstream_cx_connect_fail", LEDGER, 1)])
    [pair] = read_envoy_pairs(text, "front", PROTOCOLS)
    assert (pair.protocol, pair.requests, pair.failures, pair.mtls) == ("tcp", 2, 1, True)


@pytest.mark.parametrize(("handshakes", "plain", "mutual"), [(3, 0, True), (3, 1, False), (0, 0, False)])
def test_it_is_mutual_tls_if_all_of_it_was(handshakes: int, plain: int, mutual: bool) -> None:
    text = "\n".join(
        [
            answers(WEB, "200", 3),
            line("upstream_cx_total", WEB, 3),
            line("ssl_handshake", WEB, handshakes),
            line("transport_socket_match_tlsMode_disabled_total_match_count", WEB, plain),
        ]
    )
    [pair] = read_envoy_pairs(text, "front", PROTOCOLS)
    assert pair.mtls is mutual


def test_subsets_are_one_pair_with_versions() -> None:
    text = "\n".join([answers(WEB, "200", 5), secured(WEB), answers(V2, "200", 3), secured(V2)])
    [pair] = read_envoy_pairs(text, "front", PROTOCOLS)
    assert (pair.requests, pair.versions) == (8, {"v2": 3})


def test_a_detected_port_shows_by_what_was_counted() -> None:
    http, streams = "outbound|1||a.shop.svc", "outbound-tcp|1||a.shop.svc"
    text = "\n".join([answers(http, "200", 1), secured(http), secured(streams)])
    pairs = read_envoy_pairs(text, "front", {("a", 1): ""})
    assert [(pair.protocol, pair.requests) for pair in pairs] == [("http", 1), ("tcp", 2)]


def test_other_clusters_and_other_lines_say_nothing() -> None:
    text = "\n".join(
        [
            answers("inbound|8000||", "200", 5),
            answers("xds-grpc", "200", 1),
            "envoy_server_live{} 1",
            "nonsense",
        ]
    )
    assert read_envoy_pairs(text, "front", PROTOCOLS) == []


def test_an_envoy_that_started_anew_counts_on() -> None:
    tally = Tally()
    for count in (5, 9, 2, 3):
        tally.take("edge", 1, read_envoy_pairs(answers(WEB, "200", count), "edge", PROTOCOLS))
    [pair] = tally.total()
    assert pair.requests == 12


def test_a_library_that_reports_nothing_is_reported_by_whom_it_calls() -> None:
    labels = {
        "reporter": "destination",
        "source_principal": "spiffe://cluster.local/ns/shop/sa/prices",
        "source_canonical_service": "unknown",
        "destination_canonical_service": "rates",
        "request_protocol": "grpc",
        "response_code": "200",
        "grpc_response_status": "0",
        "response_flags": "-",
        "connection_security_policy": "mutual_tls",
    }
    text = "istio_requests_total{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "} 4"
    assert read_pairs({"rates": text}) == []
    [pair] = read_pairs({"rates": text}, {"prices": "quotes"})
    assert (pair.source, pair.destination, pair.requests, pair.mtls) == ("quotes", "rates", 4, True)
