"""Endpoints: labels for telemetry, health, weights."""

from __future__ import annotations

from typing import Any

import pytest

from mainstay._proto import pool
from mainstay.sidecar import plan
from mainstay.sidecar.convert.endpoints import endpoints
from mainstay.sidecar.convert.refuse import Refused

ADDRESS = {"socket_address": {"address": "10.0.0.7", "port_value": 80}}


def convert(**fields: Any) -> plan.Endpoint:
    member = {"endpoint": {"address": ADDRESS}} | fields
    value = {"cluster_name": "c", "endpoints": [{"lb_endpoints": [member]}]}
    found = endpoints(pool.from_json("envoy.config.endpoint.v3.ClusterLoadAssignment", value))
    return found.localities[0].endpoints[0]


def labelled(workload: str) -> dict[str, str]:
    return dict(convert(metadata={"filter_metadata": {"istio": {"workload": workload}}}).labels)


def test_a_workload_tells_metrics_who_it_is() -> None:
    assert labelled("cart-1;shop;cart;v2;west") == {
        "workload": "cart-1",
        "namespace": "shop",
        "canonical_name": "cart",
        "canonical_revision": "v2",
        "cluster": "west",
        "app": "cart",
        "version": "v2",
    }


def test_latest_is_no_version() -> None:
    assert "version" not in labelled("cart-1;shop;cart;latest;west")


@pytest.mark.parametrize("workload", ["", ";;;;", "only", "a;b;c;d;e;f;g"])
def test_odd_metadata_is_taken_as_far_as_it_goes(workload: str) -> None:
    assert labelled(workload).get("workload", "") in ("", "only", "a")


@pytest.mark.parametrize(
    ("status", "health"),
    [("UNKNOWN", "healthy"), ("DRAINING", "draining"), ("TIMEOUT", "unhealthy"), ("DEGRADED", "degraded")],
)
def test_health_is_what_the_control_plane_says(status: str, health: str) -> None:
    assert convert(health_status=status).health == health


def test_a_refusal_names_the_endpoint() -> None:
    with pytest.raises(Refused) as caught:
        convert(endpoint={"address": {"socket_address": {"address": "10.0.0.7", "port_value": 70_000}}})
    assert caught.value.path == "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value"
