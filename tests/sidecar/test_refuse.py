"""The guard against fields that nobody reads, and conversions that are remembered."""

from __future__ import annotations

from typing import Any

import pytest

from mainstay._proto import pool
from mainstay.sidecar.convert.refuse import Known, Refused, check, lenient
from mainstay.sidecar.convert.remembered import MOST, remembered

ENDPOINT = "envoy.config.endpoint.v3.Endpoint"
CLUSTER = "envoy.config.cluster.v3.Cluster"
SOCKET = "envoy.config.core.v3.SocketAddress"


@pytest.mark.parametrize(
    ("name", "value", "taken", "refused"),
    [
        (SOCKET, {"address": "a", "named_port": "http"}, {"protocol", "address", "port_value"}, "named_port"),
        (ENDPOINT, {"additional_addresses": [{}]}, {"address", "hostname"}, "additional_addresses"),
        (ENDPOINT, {"health_check_config": {}}, {"address", "hostname"}, "health_check_config"),
        (ENDPOINT, {"hostname": "h"}, {"address", "health_check_config", "additional_addresses"}, "hostname"),
        # Of many fields only those that are set are looked at.
        (CLUSTER, {"name": "n", "lb_policy": "MAGLEV"}, {"name"}, "lb_policy"),
    ],
)
def test_a_field_that_is_set_and_not_taken_is_refused(
    name: str, value: dict[str, Any], taken: set[str], refused: str
) -> None:
    message = pool.from_json(name, value)
    with pytest.raises(Refused) as caught:
        check(message, Known(taken))
    assert caught.value.path == refused
    check(message, Known(taken | {refused}))


def test_a_field_at_its_default_counts_as_not_set() -> None:
    check(pool.from_json(ENDPOINT, {"hostname": "", "additional_addresses": []}), Known({"address"}))


def counted() -> tuple[list[str], Any]:
    calls: list[str] = []

    @remembered
    def convert(message: Any) -> str:
        calls.append(message.hostname)
        check(message, Known({"hostname"}))
        return f"<{message.hostname}>"

    return calls, convert


def test_equal_messages_are_converted_once() -> None:
    calls, convert = counted()
    for host in ("a", "b", "a"):
        assert convert(pool.from_json(ENDPOINT, {"hostname": host})) == f"<{host}>"
    assert calls == ["a", "b"]


def test_answers_do_not_pile_up() -> None:
    calls, convert = counted()
    for number in range(3 * MOST):
        convert(pool.from_json(ENDPOINT, {"hostname": str(number)}))
    convert(pool.from_json(ENDPOINT, {"hostname": "0"}))
    assert calls[-1] == "0"


def test_what_is_refused_is_refused_again() -> None:
    _, convert = counted()
    bad = pool.from_json(ENDPOINT, {"hostname": "a", "address": {}})
    for _ in range(2):
        with pytest.raises(Refused):
            convert(bad)


def test_under_lenient_each_resource_tells_what_it_passed_over() -> None:
    calls, convert = counted()
    odd = pool.from_json(ENDPOINT, {"hostname": "a", "address": {}})
    for _ in range(2):
        with lenient() as ignored:
            convert(odd)
        assert ignored == ["address: is not supported"]
    with pytest.raises(Refused):
        convert(odd)
    assert calls == ["a", "a", "a"]
