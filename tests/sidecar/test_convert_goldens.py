"""Whatever our compiler sends, the sidecar takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mainstay._proto import pool
from mainstay.sidecar.convert.table import KINDS, Converted, convert

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
GENERIC_ROUTE = "envoy.extensions.filters.network.generic_proxy.v3.RouteConfiguration"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/objects.yaml"))
MESSAGES = {
    "listeners.json": "envoy.config.listener.v3.Listener",
    "routes.json": "envoy.config.route.v3.RouteConfiguration",
    "generic_routes.json": GENERIC_ROUTE,
    "clusters.json": "envoy.config.cluster.v3.Cluster",
    "endpoints.json": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "secrets.json": "envoy.extensions.transport_sockets.tls.v3.Secret",
}


def resources_of(case: str) -> list[tuple[str, dict[str, Any]]]:
    """Message name and JSON of all that a case's proxy gets."""
    return [
        (MESSAGES[path.name], entry)
        for path in sorted((GOLDEN / case / "expected").glob("*.json"))
        if path.name in MESSAGES
        for entry in json.loads(path.read_text())
    ]


def convert_json(message: str, value: dict[str, Any]) -> Converted:
    return convert(message, pool.from_json(message, value).SerializeToString(), lambda path: path.encode())


def test_there_are_golden_cases() -> None:
    assert len(CASES) > 20


@pytest.mark.parametrize("case", CASES)
def test_the_sidecar_takes_every_resource_of_a_golden_case(case: str) -> None:
    found = [convert_json(message, value) for message, value in resources_of(case)]
    assert found
    for converted in found:
        assert converted.resource.body
        assert converted.resource.name


@pytest.mark.parametrize("case", CASES)
def test_what_a_golden_case_refers_to_is_there(case: str) -> None:
    """Own leaf and roots come from the sidecar, gateway secrets over their own subscription."""
    found = [convert_json(message, value) for message, value in resources_of(case)]
    held = {(each.resource.kind, each.resource.name) for each in found}
    held |= {("secret", each.name) for converted in found for each in converted.inline}
    for converted in found:
        missing = {need for need in converted.resource.needs - held if need[0] != "secret"}
        assert not missing, converted.resource.name


def test_the_table_has_a_row_per_kind() -> None:
    kinds = ["secret", "endpoints", "cluster", "route", "generic_route", "listener"]
    assert [row.kind for row in KINDS.values()] == kinds
