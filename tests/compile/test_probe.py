"""Where a group's probe asks: beside the proxy in explicit mode, at the workload's address where connections are redirected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from mainstay._proto import pool
from mainstay.compile.capability import Capability
from mainstay.compile.probe import compile_probe, plan_probe
from mainstay.compile.resource import MESSAGES
from mainstay.compile.traits import Interception, Proxy
from mainstay.model.key import ObjectKey
from mainstay.model.rpc import RpcProtocol
from mainstay.model.workload import ExecProbe, Probe, TcpProbe, WorkloadGroup
from mainstay.sidecar.convert.exec_check import ExecCheck
from mainstay.sidecar.convert.table import convert

KEY = ObjectKey("shop", "carts")
GROUP = WorkloadGroup(KEY, probe=Probe(TcpProbe(9000)))
PROXY = Proxy("n", "shop", addresses=("10.0.0.7",), capability=Capability("mainstay"), group="carts")


@pytest.mark.parametrize(("mode", "address"), [("NONE", "127.0.0.1"), ("REDIRECT", "10.0.0.7")])
def test_probe_asks_where_the_application_listens(mode: Interception, address: str) -> None:
    facts = cast(Any, SimpleNamespace(workload_group={KEY: GROUP}.get))
    [traits] = plan_probe(facts, msgspec.structs.replace(PROXY, interception=mode))
    assert (traits.group, traits.address) == (KEY, address)
    assert plan_probe(facts, msgspec.structs.replace(PROXY, capability=Capability("envoy"))) == ()


BOLT = RpcProtocol("bolt", heartbeat=(b"\x01\x01\x00", b"\x01\x00"))
THRIFT = RpcProtocol("thrift")


def probing(heartbeat: str) -> Any:
    group = WorkloadGroup(KEY, probe=Probe(TcpProbe(12_200, heartbeat=heartbeat)))
    protocols = {each.name: each for each in (BOLT, THRIFT)}
    facts = cast(Any, SimpleNamespace(workload_group={KEY: group}.get, protocol=protocols.get))
    [traits] = plan_probe(facts, PROXY)
    resource = compile_probe(facts, traits)
    [check] = pool.to_json(pool.parse(MESSAGES["cluster"], resource.body))["health_checks"]
    return resource, check["tcp_health_check"]


def test_a_probe_says_the_heartbeat_of_the_protocol_that_its_group_names() -> None:
    resource, check = probing("bolt")
    assert check == {"send": {"text": "010100"}, "receive": [{"text": "0100"}]}
    assert not resource.problems


@pytest.mark.parametrize(("heartbeat", "codes"), [("thrift", ["MS4206"]), ("unheard-of", []), ("", [])])
def test_without_a_heartbeat_to_say_a_probe_connects(heartbeat: str, codes: list[str]) -> None:
    resource, check = probing(heartbeat)
    assert check == {}
    assert [problem.code for problem in resource.problems] == codes


def test_command_reaches_the_sidecar_that_may_run_it() -> None:
    group = WorkloadGroup(KEY, probe=Probe(ExecProbe(("/bin/check", "-q")), timeout=2_000, period=5_000))
    facts = cast(Any, SimpleNamespace(workload_group={KEY: group}.get))
    [traits] = plan_probe(facts, PROXY)
    resource = compile_probe(facts, traits)
    converted = convert("envoy.config.cluster.v3.Cluster", resource.body).resource
    assert converted.command == ExecCheck(("/bin/check", "-q"), 2_000, 5_000, 0, 1, 3)
    assert plan_probe(facts, msgspec.structs.replace(PROXY, capability=Capability("envoy"))) == ()
