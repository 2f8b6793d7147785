"""Where a group's probe asks: beside the proxy in explicit mode, at the workload's address where connections are redirected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from mainstay.compile.capability import Capability
from mainstay.compile.probe import compile_probe, plan_probe
from mainstay.compile.traits import Interception, Proxy
from mainstay.model.key import ObjectKey
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


def test_command_reaches_the_sidecar_that_may_run_it() -> None:
    group = WorkloadGroup(KEY, probe=Probe(ExecProbe(("/bin/check", "-q")), timeout=2_000, period=5_000))
    facts = cast(Any, SimpleNamespace(workload_group={KEY: group}.get))
    [traits] = plan_probe(facts, PROXY)
    resource = compile_probe(facts, traits)
    converted = convert("envoy.config.cluster.v3.Cluster", resource.body).resource
    assert converted.command == ExecCheck(("/bin/check", "-q"), 2_000, 5_000, 0, 1, 3)
    assert plan_probe(facts, msgspec.structs.replace(PROXY, capability=Capability("envoy"))) == ()
