"""Routes of RPC over ADS: the whole brain over the model engine and the real xDS server machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from fake_control_plane import ControlPlane, View, golden_view
from generic_messages import (
    CONFIGURATION,
    GENERIC,
    ROUTER,
    Fields,
    action,
    codec,
    matchers,
    predicate,
)
from test_brain import CASE, Sidecar

from mainstay._proto import pool
from mainstay.compile.resource import MESSAGES, Kind, Ref, Resource, resource_of_bytes
from mainstay.engine import Asked

TABLE: tuple[Literal["generic_route"], str] = ("generic_route", "shop")
LISTENER: tuple[Literal["listener"], str] = ("listener", "rpc")


def resource(kind: Kind, name: str, value: Fields, *refers: Ref) -> Resource:
    message = pool.from_json(MESSAGES[kind], {"name": name} | value)
    return resource_of_bytes(kind, name, message.SerializeToString(deterministic=True), refers)


def cluster(name: str) -> Resource:
    return resource("cluster", name, {"type": "STATIC"})


def table(*clusters: str) -> Resource:
    *tried, last = clusters
    pairs = [(predicate("Method", {"exact": name}), action(name)) for name in tried]
    refers = [Ref("cluster", name) for name in clusters]
    return resource("generic_route", "shop", {"routes": matchers(*pairs, otherwise=action(last))}, *refers)


def rpc_listener(codec_config: Fields | None = None) -> Resource:
    proxy = {
        "@type": GENERIC + "v3.GenericProxy",
        "stat_prefix": "rpc",
        "codec_config": codec_config or codec(protocol="bolt"),
        "generic_rds": {"route_config_name": "shop", "config_source": {"ads": {}}},
        "filters": [ROUTER],
    }
    value = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 12220}},
        "filter_chains": [{"filters": [{"name": "rpc", "typed_config": proxy}]}],
    }
    return resource("listener", "rpc", value, Ref("generic_route", "shop"))


def with_rpc(*more: Resource) -> View:
    return golden_view(CASE).with_(cluster("one"), table("one"), rpc_listener(), *more)


def started(tmp_path: Path, view: View, variant: str = "delta") -> Sidecar:
    control_plane = ControlPlane(view)
    token = tmp_path / "token"
    token.write_text(control_plane.token())
    sidecar = Sidecar(control_plane, tmp_path / "data", token, variant)
    sidecar.run()
    return sidecar


def order_of(sidecar: Sidecar) -> list[tuple[str, str]]:
    wanted = {("cluster", "one"), ("cluster", "two"), TABLE, LISTENER}
    return [
        (upsert.resource, upsert.name)
        for delta in sidecar.engine.deltas
        for upsert in delta.upserts
        if (upsert.resource, upsert.name) in wanted
    ]


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_clusters_routes_and_listener_come_in_force_in_this_order(tmp_path: Path, variant: str) -> None:
    sidecar = started(tmp_path, with_rpc(), variant)
    assert order_of(sidecar) == [("cluster", "one"), TABLE, LISTENER]
    assert sidecar.control_plane.refused == {}
    assert sidecar.engine.ready == [False, True]
    plan: Any = sidecar.engine.plan(*LISTENER)
    routes = plan["chains"][0]["terminal"]["manager"]["routes"]
    assert routes == {"kind": "generic", "name": "shop"}


def test_a_table_of_http_of_the_same_name_is_another(tmp_path: Path) -> None:
    same = resource("route", "shop", {"virtual_hosts": []})
    sidecar = started(tmp_path, with_rpc(same))
    assert TABLE in sidecar.digests()
    assert ("route", "shop") not in sidecar.digests(), "nobody asks for it"


def test_a_change_of_routes_waits_for_its_clusters(tmp_path: Path) -> None:
    sidecar = started(tmp_path, with_rpc())
    control_plane, before = sidecar.control_plane, sidecar.digests()[TABLE]
    changed = table("two", "one")
    control_plane.show(control_plane.view.with_(changed))
    sidecar.run(1_000)
    assert sidecar.digests()[TABLE] == before
    control_plane.show(control_plane.view.with_(cluster("two")))
    sidecar.run()
    assert sidecar.digests()[TABLE] != before
    assert order_of(sidecar)[-2:] == [("cluster", "two"), TABLE]


def test_routes_that_are_refused_leave_the_last_good_ones(tmp_path: Path) -> None:
    sidecar = started(tmp_path, with_rpc())
    control_plane, before = sidecar.control_plane, sidecar.digests()
    wrong = resource("generic_route", "shop", {"routes": matchers((predicate("Method", {}), action("one")))})
    control_plane.show(control_plane.view.with_(wrong))
    sidecar.run()
    assert control_plane.refused.keys() == {"shop"}
    assert control_plane.refused["shop"].startswith(
        "routes.matcher_list.matchers[0].predicate.single_predicate"
    )
    assert sidecar.digests() == before


def test_routes_that_only_the_engine_refuses_are_a_nack_too(tmp_path: Path) -> None:
    sidecar = started(tmp_path, with_rpc())
    control_plane, before = sidecar.control_plane, sidecar.digests()
    sidecar.engine.refuse[TABLE] = ("virtual_hosts[0]", "a bad pattern")
    control_plane.show(control_plane.view.with_(table("one", "one")))
    sidecar.run()
    assert "a bad pattern" in control_plane.refused["shop"]
    assert sidecar.digests() == before
    assert sidecar.status.refusals[TABLE].reason == "a bad pattern"


def test_a_bad_description_costs_its_listener_alone(tmp_path: Path) -> None:
    sidecar = started(tmp_path, with_rpc())
    control_plane, before = sidecar.control_plane, sidecar.digests()
    wrong = rpc_listener(codec(protocol="bolt", description="kind: Protocol"))
    control_plane.show(control_plane.view.with_(wrong, cluster("two")))
    sidecar.run()
    assert control_plane.refused.keys() == {"rpc"}
    words = control_plane.refused["rpc"]
    assert words.startswith(
        "filter_chains[0].filters[0].typed_config.codec_config.typed_config.value.description"
    )
    assert "description:1:" in words
    assert sidecar.digests()[LISTENER] == before[LISTENER]
    assert ("cluster", "two") in sidecar.digests()


def test_the_last_good_routes_serve_when_there_is_no_control_plane(tmp_path: Path) -> None:
    sidecar = started(tmp_path, with_rpc())
    control_plane, held = sidecar.control_plane, sidecar.digests()
    control_plane.up = False
    again = Sidecar(control_plane, tmp_path / "data", tmp_path / "token")
    again.run()
    assert {key: again.digests()[key] for key in (TABLE, LISTENER)} == {
        key: held[key] for key in (TABLE, LISTENER)
    }


def test_routes_go_when_their_listener_has_gone(tmp_path: Path) -> None:
    sidecar = started(tmp_path, with_rpc())
    control_plane = sidecar.control_plane
    control_plane.show(control_plane.view.without(LISTENER))
    sidecar.run(20_000)
    assert LISTENER not in sidecar.digests()
    assert TABLE not in sidecar.digests()


def test_the_dump_shows_the_routes_by_their_type(tmp_path: Path) -> None:
    sidecar = started(tmp_path, with_rpc())
    sidecar.engine.happen(Asked(7, "operator", "GET", "/config_dump", b""))
    sidecar.run()
    _, body = sidecar.engine.answers[7]
    assert CONFIGURATION in body.decode()
