"""One bootstrap with many routes, on Envoy and on Mainstay: what clients get and what the application sees is the same."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.envoy

TYPE = "type.googleapis.com/envoy.extensions."
OWN = (
    "x-envoy-internal",
    "x-envoy-original-host",
    "date",
    "x-request-id",
    "x-envoy-upstream-service-time",
    "traceparent",
    "server",
    "content-length",
    "connection",
)
"""Differ from answer to answer, or from one version of Envoy to the next."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def to(**more: Any) -> dict[str, Any]:
    return {"cluster": "app", **more}


def exact(name: str, text: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "string_match": {"exact": text}, **more}


def add(name: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": action}


def regex(pattern: str, substitution: str) -> dict[str, Any]:
    return {"pattern": {"regex": pattern}, "substitution": substitution}


ROUTES: list[dict[str, Any]] = [
    {"match": {"path": "/exact"}, "direct_response": {"status": 209, "body": {"inline_string": "exact"}}},
    {"match": {"prefix": "/CASE", "case_sensitive": False}, "direct_response": {"status": 202}},
    {"match": {"path_separated_prefix": "/sep"}, "direct_response": {"status": 203}},
    {"match": {"safe_regex": {"regex": "/re/[0-9]+"}}, "direct_response": {"status": 206}},
    *(
        {"match": {"prefix": "/header", "headers": [match]}, "direct_response": {"status": 210 + index}}
        for index, match in enumerate(
            [
                exact("x-a", "one"),
                {"name": "x-a", "string_match": {"prefix": "pre"}},
                {"name": "x-a", "string_match": {"suffix": "suf"}},
                {"name": "x-a", "string_match": {"contains": "mid", "ignore_case": True}},
                {"name": "x-a", "string_match": {"safe_regex": {"regex": "r+e"}}},
                {"name": "x-n", "range_match": {"start": 10, "end": 20}},
                {"name": "x-p", "present_match": True},
                exact("x-i", "no", invert_match=True, treat_missing_header_as_empty=False),
            ]
        )
    ),
    {
        "match": {"prefix": "/query", "query_parameters": [{"name": "a", "string_match": {"exact": "1"}}]},
        "direct_response": {"status": 220},
    },
    {
        "match": {"prefix": "/query", "query_parameters": [{"name": "b", "present_match": True}]},
        "direct_response": {"status": 221},
    },
    {
        "match": {
            "prefix": "/fraction",
            "runtime_fraction": {"default_value": {"numerator": 0, "denominator": "HUNDRED"}},
        },
        "direct_response": {"status": 222},
    },
    {"match": {"prefix": "/old/"}, "route": to(prefix_rewrite="/new/")},
    {"match": {"prefix": "/regex"}, "route": to(regex_rewrite=regex("^/regex/([^/]+)/(.*)$", "/\\2/at/\\1"))},
    {
        "match": {"prefix": "/host"},
        "route": to(host_rewrite_literal="other.test", append_x_forwarded_host=True),
    },
    {"match": {"prefix": "/hosthdr"}, "route": to(host_rewrite_header="x-host")},
    {"match": {"prefix": "/redirect/strip"}, "redirect": {"path_redirect": "/gone", "strip_query": True}},
    {
        "match": {"prefix": "/redirect/https"},
        "redirect": {"https_redirect": True, "response_code": "PERMANENT_REDIRECT"},
    },
    {
        "match": {"prefix": "/redirect/all"},
        "redirect": {
            "host_redirect": "h.test",
            "port_redirect": 8443,
            "scheme_redirect": "https",
            "prefix_rewrite": "/p",
        },
    },
    {
        "match": {"prefix": "/redirect/regex"},
        "redirect": {"regex_rewrite": regex("^/redirect/regex/(.*)$", "/r/\\1"), "response_code": "FOUND"},
    },
    {
        "match": {"prefix": "/mutate"},
        "route": to(),
        "request_headers_to_add": [
            add("x-added", "%PROTOCOL%"),
            add("x-over", "new", "OVERWRITE_IF_EXISTS_OR_ADD"),
            add("x-absent", "made", "ADD_IF_ABSENT"),
            add("x-only", "new", "OVERWRITE_IF_EXISTS"),
            add("x-copy", "%REQ(x-over)%"),
        ],
        "request_headers_to_remove": ["x-removed"],
        "response_headers_to_add": [add("x-back", "%RESPONSE_CODE%"), add("x-route", "%REQ(:path)%")],
    },
    {"match": {"prefix": "/app"}, "route": to()},
]

ASKED: list[tuple[str, str, dict[str, str]]] = [
    ("a.test", path, fields)
    for path, fields in [
        ("/exact", {}),
        ("/exact/", {}),
        ("/exact?x=y", {}),
        ("/case/x", {}),
        ("/sep", {}),
        ("/sep/a", {}),
        ("/separate", {}),
        ("/sep?a", {}),
        ("/re/123", {}),
        ("/re/123x", {}),
        ("/re/123?q", {}),
        ("/header", {"x-a": "one", "x-i": "no"}),
        ("/header", {"x-a": "prefixed", "x-i": "no"}),
        ("/header", {"x-a": "is suf", "x-i": "no"}),
        ("/header", {"x-a": "a MID b", "x-i": "no"}),
        ("/header", {"x-a": "rrre", "x-i": "no"}),
        ("/header", {"x-a": "arrre", "x-i": "no"}),
        ("/header", {"x-n": "10", "x-i": "no"}),
        ("/header", {"x-n": "20", "x-i": "no"}),
        ("/header", {"x-n": "ten", "x-i": "no"}),
        ("/header", {"x-p": "", "x-i": "no"}),
        ("/header", {"x-i": "yes"}),
        ("/header", {}),
        ("/query?a=1", {}),
        ("/query?a=2&a=1", {}),
        ("/query?b", {}),
        ("/query?c=1", {}),
        ("/fraction", {}),
        ("/old/a/b?c=d", {}),
        ("/regex/one/two/three?q=1", {}),
        ("/host/x", {}),
        ("/redirect/strip?a=b", {}),
        ("/redirect/https/x?a=b", {}),
        ("/redirect/all/x?a=b", {}),
        ("/redirect/regex/x/y?a=b", {}),
        ("/mutate/x?q=1", {"x-over": "old", "x-only": "old", "x-removed": "r"}),
        ("/mutate/y", {"x-absent": "there", "x-added": "mine"}),
        ("/none", {}),
        ("/app/a/../b", {}),
        ("/app//b", {}),
        ("/app/%41%2e%2e/b", {}),
        ("/app/x", {"x-forwarded-for": "10.1.1.1"}),
        ("/app/x", {"x-forwarded-proto": "https"}),
        (
            "/app/x",
            {"x-envoy-upstream-rq-timeout-ms": "77", "x-envoy-max-retries": "3", "x-envoy-retry-on": "5xx"},
        ),
        ("/app/x", {"x-envoy-internal": "true", "x-envoy-decorator-operation": "o"}),
        (
            "/app/x",
            {"te": "trailers", "connection": "close", "keep-alive": "x", "x-forwarded-client-cert": "x"},
        ),
        ("/app/x", {"x-request-id": "mine"}),
    ]
] + [
    (host, "/who", {})
    for host in ("b.test", "B.TEST", "b.test:80", "x.suffix.test", "suffix.test", "pre.fix", "pre.a.b", "zzz")
]


def bootstrap(path: Path, port: int, application: int, **manager: Any) -> Path:
    def endpoint(number: int) -> dict[str, Any]:
        return {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": number}}}}

    def cluster(name: str, number: int) -> dict[str, Any]:
        endpoints = [{"lb_endpoints": [endpoint(number)]}]
        return {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        }

    def who(name: str, *domains: str) -> dict[str, Any]:
        answer = {"status": 200, "body": {"inline_string": name}}
        return {
            "name": name,
            "domains": domains,
            "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
        }

    hosts = [
        {"name": "all", "domains": ["a.test"], "routes": ROUTES},
        who("exact", "b.test"),
        who("suffix", "*.suffix.test"),
        who("prefix", "pre.*"),
        who("any", "*"),
    ]
    config = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"},
            }
        ],
        "route_config": {"name": "all", "virtual_hosts": hosts, "validate_clusters": False},
        **manager,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}]}
    listener = {"name": "front", **endpoint(port)["endpoint"], "filter_chains": [chain]}
    clusters = [cluster("app", application)]
    path.write_text(yaml.safe_dump({"static_resources": {"listeners": [listener], "clusters": clusters}}))
    return path


def ask(port: int, host: str, path: str, fields: dict[str, str]) -> tuple[int, list[str], list[str]]:
    """Status, fields and body lines, without what differs by right."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"host": host, **fields}.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read().decode()
        names = [(name.lower(), value) for name, value in response.getheaders()]
    finally:
        connection.close()

    def common(line: str) -> bool:
        name, _, value = line.partition(":")
        return name.lower() not in OWN or (name.lower() == "x-request-id" and value.strip() == "mine")

    lines = [
        line if ":" not in line else line.partition(":")[0].lower() + ":" + line.partition(":")[2]
        for line in body.splitlines()
    ]
    return (
        response.status,
        sorted(f"{name}: {value}" for name, value in names if name not in OWN),
        sorted(line for line in lines if common(line)),
    )


@pytest.mark.parametrize(
    "manager",
    [
        {},
        {"normalize_path": True, "merge_slashes": True},
        {
            "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",
            "preserve_external_request_id": True,
            "via": "x",
        },
    ],
    ids=["plain", "normal", "inner"],
)
def test_answers_are_the_same(
    start: Callable[[str, Path, int], None], application: int, tmp_path: Path, manager: dict[str, Any]
) -> None:
    ports = {}
    for kind in ("envoy", "mainstay"):
        ports[kind] = free_port()
        start(kind, bootstrap(tmp_path / f"{kind}.yaml", ports[kind], application, **manager), ports[kind])
    differences = []
    for question in ASKED:
        theirs, ours = ask(ports["envoy"], *question), ask(ports["mainstay"], *question)
        if theirs != ours:
            differences.append(f"{question}\n   envoy {theirs}\nmainstay {ours}")
    assert not differences, "\n".join(differences)
