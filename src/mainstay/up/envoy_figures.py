"""Whom an Envoy called, from its own counters: they know clusters, and nothing of Istio's labels.

In: Prometheus text of an Envoy, whose it is, protocols of services. Out: `Pair`s as `figures` makes them. What it called is the
host in the cluster's name; a version is known where the cluster is a subset's. Counts are of clusters' final answers (Envoy
counts answers that were retried apart); gRPC statuses are not among them. Whether all of it was mutual TLS follows from
handshakes, and from no endpoint having been matched to plain bytes. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from mainstay.compile.names import ClusterName, parse_cluster_name
from mainstay.up.figures import HTTP_FAILED, Pair

_LINE = re.compile(r"^envoy_cluster_([a-zA-Z0-9_]+)\{(.*)\} (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_PLAIN_MATCHES = "transport_socket_match_tlsMode_disabled_total_match_count"


class _Counts(msgspec.Struct):
    """Of one cluster."""

    answers: dict[str, int] = {}
    connections: int = 0
    failed_connections: int = 0
    handshakes: int = 0
    plain_matches: int = 0
    buckets: dict[float, float] = {}


def read_envoy_pairs(text: str, source: str, protocols: Mapping[tuple[str, int], str]) -> list[Pair]:
    """`source`: name of the workload or gateway; `protocols`: by short name and port of services, empty where it is detected."""
    pairs: dict[tuple[str, str, str], Pair] = {}
    for cluster, counts in _read(text).items():
        name = parse_cluster_name(cluster)
        if name is None:
            continue
        destination = name.host.partition(".")[0]
        protocol = _protocol(name, counts, protocols.get((destination, name.port), ""))
        key = (source, destination, protocol)
        _take(pairs.setdefault(key, Pair(*key)), name, counts)
    return [pairs[key] for key in sorted(pairs)]


def _read(text: str) -> dict[str, _Counts]:
    clusters: dict[str, _Counts] = {}
    for line in text.splitlines():
        if not (found := _LINE.match(line)):
            continue
        labels = dict(_LABEL.findall(found[2]))
        cluster = labels.get("envoy_cluster_name")
        if cluster is None:
            continue
        _note(clusters.setdefault(cluster, _Counts()), found[1], labels, float(found[3]))
    return clusters


def _note(counts: _Counts, name: str, labels: Mapping[str, str], value: float) -> None:
    match name:
        case "upstream_rq" if "envoy_response_code" in labels:
            code = labels["envoy_response_code"]
            counts.answers[code] = counts.answers.get(code, 0) + round(value)
        case "upstream_cx_total":
            counts.connections = round(value)
        case "upstream_cx_connect_fail" | "upstream_cx_none_healthy":
            counts.failed_connections += round(value)
        case "ssl_handshake":
            counts.handshakes = round(value)
        case "upstream_rq_time_bucket":
            bound = labels.get("le", "+Inf")
            counts.buckets[float("inf") if bound == "+Inf" else float(bound)] = value
        case _ if name == _PLAIN_MATCHES:
            counts.plain_matches = round(value)


def _protocol(name: ClusterName, counts: _Counts, declared: str) -> str:
    if name.stream or declared == "tcp":
        return "tcp"
    if declared:
        return "grpc" if declared == "grpc" else "http"
    return "http" if counts.answers or not counts.connections else "tcp"


def _take(pair: Pair, name: ClusterName, counts: _Counts) -> None:
    if pair.protocol == "tcp":
        requests, failures = counts.connections, counts.failed_connections
    else:
        requests = sum(counts.answers.values())
        failures = sum(count for code, count in counts.answers.items() if int(code) >= HTTP_FAILED)
    pair.requests += requests
    pair.failures += failures
    if counts.handshakes and not counts.plain_matches:
        pair.mutual += requests
    elif counts.connections:
        pair.plain += requests
    if name.subset:
        pair.versions[name.subset] = pair.versions.get(name.subset, 0) + requests
    for bound, count in counts.buckets.items():
        pair.duration.add(bound, count)
