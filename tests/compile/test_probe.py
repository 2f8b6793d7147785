"""Where a group's probe asks: beside the proxy in explicit mode, at the workload's address where connections are redirected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from mainstay.compile.capability import Capability
from mainstay.compile.probe import plan_probe
from mainstay.compile.traits import Interception, Proxy
from mainstay.model.key import ObjectKey
from mainstay.model.workload import Probe, TcpProbe, WorkloadGroup

KEY = ObjectKey("shop", "carts")
GROUP = WorkloadGroup(KEY, probe=Probe(TcpProbe(9000)))
PROXY = Proxy("n", "shop", addresses=("10.0.0.7",), capability=Capability("mainstay"), group="carts")


@pytest.mark.parametrize(("mode", "address"), [("NONE", "127.0.0.1"), ("REDIRECT", "10.0.0.7")])
def test_probe_asks_where_the_application_listens(mode: Interception, address: str) -> None:
    facts = cast(Any, SimpleNamespace(workload_group={KEY: GROUP}.get))
    [traits] = plan_probe(facts, msgspec.structs.replace(PROXY, interception=mode))
    assert (traits.group, traits.address) == (KEY, address)
    assert plan_probe(facts, msgspec.structs.replace(PROXY, capability=Capability("envoy"))) == ()
