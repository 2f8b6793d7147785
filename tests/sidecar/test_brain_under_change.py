"""Whatever the control plane does, loses and regains, and however often the brain dies: in the end the engine has the view, less
what it refuses; and at no time does something serve whose needs are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from fake_control_plane import ControlPlane, View
from fake_engine import FakeEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.compile.resource import Ref, Resource, make_resource, pack
from mainstay.engine import ApplyReport, Delta
from mainstay.settings.sidecar import ControlPlane as ControlPlaneSettings
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar import plan
from mainstay.sidecar.bootstrap import own
from mainstay.sidecar.border import Lease
from mainstay.sidecar.brain import Brain
from mainstay.sidecar.convert.references import Reference, needs_of
from mainstay.sidecar.last_good import LastGood, NoLastGood
from mainstay.sidecar.lifecycle import Lifecycle
from mainstay.sidecar.status import Status

NAMES = "abc"
DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    "cluster": msgspec.msgpack.Decoder(plan.Cluster),
    "route": msgspec.msgpack.Decoder(plan.RouteTable),
    "listener": msgspec.msgpack.Decoder(plan.Listener),
}
ADS = {"ads": {}, "resource_api_version": "V3"}


class WatchfulEngine(FakeEngine):
    """Insists that what comes in force has all it needs, in the order of the delta, but for what was waited for in vain."""

    absent: frozenset[Reference] = frozenset()

    def apply(self, delta: Delta) -> ApplyReport:
        coming = {(upsert.resource, upsert.name) for upsert in delta.upserts}
        for upsert in delta.upserts:
            if upsert.resource in DECODERS:
                for need in needs_of(DECODERS[upsert.resource].decode(upsert.body)):
                    there = need in self.resources or need in coming or need in self.absent
                    assert there, f"{upsert.name} needs {need}"
        return super().apply(delta)


def cluster(name: str, salt: int) -> list[Resource]:
    fields = {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS},
        "connect_timeout": {"seconds": salt + 1},
    }
    return [
        make_resource("cluster", name, fields, [Ref("endpoint", name)]),
        make_resource("endpoint", name, {"cluster_name": name}),
    ]


def route(name: str, salt: int, targets: frozenset[str]) -> Resource:
    clusters = [{"name": target, "weight": {"value": 1}} for target in sorted(targets)]
    action = {"weighted_clusters": {"clusters": clusters}}
    routes = [{"match": {"prefix": "/"}, "route": action, "name": f"v{salt}"}] if targets else []
    host = {"name": "all", "domains": ["*"], "routes": routes}
    refers = [Ref("cluster", target) for target in targets]
    return make_resource("route", name, {"name": name, "virtual_hosts": [host]}, refers)


def listener(name: str, salt: int, routes: str) -> Resource:
    router = {"name": "router", "typed_config": pack("envoy.extensions.filters.http.router.v3.Router")}
    manager = pack(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        {
            "stat_prefix": f"v{salt}",
            "rds": {"route_config_name": routes, "config_source": ADS},
            "http_filters": [router],
        },
    )
    fields = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    return make_resource("listener", name, fields, [Ref("route", routes)])


@st.composite
def views(draw: st.DrawFn) -> View:
    """A consistent view: what is referred to is in it."""
    salt = st.integers(0, 1)
    resources: list[Resource] = []
    targets = draw(st.sets(st.sampled_from(NAMES), min_size=1))
    for name in sorted(targets):
        resources += cluster(name, draw(salt))
    for name in sorted(draw(st.sets(st.sampled_from(NAMES)))):
        used = draw(st.sets(st.sampled_from(sorted(targets))))
        resources += [route(name, draw(salt), frozenset(used)), listener(name, draw(salt), name)]
    return View(*resources)


STEPS = st.lists(
    st.one_of(
        views().map(lambda view: ("show", view)),
        st.integers(0, 3_000).map(lambda ms: ("run", ms)),
        st.just(("cut", 0)),
        st.just(("die", 0)),
        st.just(("restart", 0)),
        st.tuples(st.just("refuse"), st.sampled_from(["cluster", "route", "listener"])),
    ),
    max_size=8,
)


class World:
    def __init__(self, view: View, data: Path | None, variant: str) -> None:
        self.engine = WatchfulEngine()
        self.control_plane = ControlPlane(view)
        self.settings = SidecarSettings(
            workload="w",
            control_plane=ControlPlaneSettings("127.0.0.1:1", insecure=True, variant=variant),  # type: ignore[arg-type]
        )
        self.data = data
        self.last_good = LastGood(data) if data is not None else NoLastGood()
        self.lease = Lease(self.engine)
        self.new_brain()

    def new_brain(self) -> None:
        self.lease.end()
        self.lease = Lease(self.engine)
        self.engine.servers[own.XDS_CLUSTER] = self.control_plane.call
        self.brain = Brain(
            self.lease,
            own.own_boot(self.settings, "sidecar", "0"),
            Lifecycle(0, 0, needs_identity=False),
            self.last_good,
            Status("0"),
            None,
            self.engine.clock,
            lambda: 0.5,
            lambda path: path.encode(),
            lambda _: None,
        )
        self.engine.absent = self.brain._warming._absent  # type: ignore[assignment]
        self.brain.start()

    def restart(self) -> None:
        """The whole process: another engine, the same disk."""
        engine, self.engine = self.engine, WatchfulEngine()
        self.engine.refuse = engine.refuse
        if self.data is not None:
            self.last_good = LastGood(self.data)
        self.lease = Lease(self.engine)
        self.new_brain()

    def run(self, ms: int) -> None:
        end = self.engine.limit = self.engine.now + ms
        for _ in range(20_000):
            if self.engine.now >= end:
                return
            self.brain.turn()
        raise AssertionError("never comes to rest")

    def step(self, what: str, value: object) -> None:
        match what, value:
            case "show", View():
                self.control_plane.show(value)
            case "run", int():
                self.run(value)
            case "cut", _:
                self.engine.cut(own.XDS_CLUSTER)
            case "die", _:
                self.new_brain()
            case "restart", _:
                self.restart()
            case "refuse", str():
                self.engine.refuse[value, "a"] = ("here", "no")  # type: ignore[index]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=views(), steps=STEPS, variant=st.sampled_from(["delta", "sotw"]), on_disk=st.booleans())
def test_it_ends_with_the_view(
    tmp_path_factory: object, first: View, steps: list[tuple[str, object]], variant: str, on_disk: bool
) -> None:
    data = tmp_path_factory.mktemp("data") if on_disk else None  # type: ignore[attr-defined]
    world = World(first, data, variant)
    for what, value in steps:
        world.step(what, value)
    world.engine.refuse.clear()
    # A refused version is not sent again on the stream: the author writes another one.
    world.run(100)
    final = View(
        *(each for name in NAMES for each in cluster(name, 7)),
        route("a", 7, frozenset("ab")),
        listener("a", 7, "a"),
    )
    world.control_plane.show(final)
    world.run(120_000)
    clusters = [name for name in world.engine.names("cluster") if name != own.XDS_CLUSTER]
    assert clusters == sorted(final.resources["cluster"])
    assert world.engine.names("endpoints") == sorted(final.resources["endpoint"])
    assert world.engine.names("route") == ["a"]
    assert world.engine.names("listener") == ["a"]
    for name in NAMES:
        body = world.engine.resources["cluster", name][1]
        assert DECODERS["cluster"].decode(body).connect_timeout == 8_000
    assert {held.name: held.digest for held in world.engine.held() if held.resource == "route"} == {
        "a": world.brain._warming.digest(("route", "a"))
    }
