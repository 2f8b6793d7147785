"""The brain beside another proxy: the same order of things, with that proxy in the engine's place."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from fake_control_plane import ControlPlane, View
from fake_engine import FakeEngine

from mainstay._proto import pool
from mainstay.compile.resource import make_resource
from mainstay.identity.join_wire import Joined
from mainstay.settings.sidecar import ControlPlane as ControlPlaneSettings
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar.beside import Outcome, ProxyDrained, ProxyGone, ProxyReady, Scope
from mainstay.sidecar.bootstrap import own
from mainstay.sidecar.border import Lease
from mainstay.sidecar.brain import Brain
from mainstay.sidecar.ending import Ending
from mainstay.sidecar.last_good import LastGood, NoLastGood
from mainstay.sidecar.lifecycle import Lifecycle
from mainstay.sidecar.status import Status


class FakeProxy:
    """Drains in 3 s, ends in 1 s."""

    runs = True

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.is_ready = False
        self.did: list[tuple[Any, ...]] = []
        self.outcomes: list[Outcome] = []
        self.due: list[tuple[int, Outcome]] = []

    def become(self, ready: bool) -> None:
        self.is_ready = ready
        self.outcomes.append(ProxyReady(ready))

    def keep(self, joined: Joined, key: str) -> None:
        self.did.append(("keep", joined.identity, key))

    def child_changed(self, now: int) -> None:
        pass

    def tick(self, now: int) -> None:
        self.outcomes += [outcome for at, outcome in self.due if at <= now]
        self.due = [(at, outcome) for at, outcome in self.due if at > now]

    def next_deadline(self) -> int | None:
        return min((at for at, _ in self.due), default=None)

    def drain(self, scope: Scope, min_ms: int, max_ms: int, now: int) -> None:
        self.did.append(("drain", scope, min_ms, max_ms))
        self.due.append((now + 3_000, ProxyDrained(0)))

    def stop(self, now: int) -> None:
        self.did.append(("stop",))
        self.due.append((now + 1_000, ProxyGone()))

    def take_outcomes(self) -> list[Outcome]:
        found, self.outcomes = self.outcomes, []
        return found

    def show(self) -> dict[str, Any]:
        return {"program": "fake"}


class Agent:
    """An agent as `main` builds it."""

    def __init__(
        self, verb: str = "sidecar", data: Path | None = None, control_plane: ControlPlane | None = None
    ) -> None:
        self.engine = FakeEngine()
        self.control_plane = control_plane or ControlPlane(View())
        self.engine.servers[own.XDS_CLUSTER] = self.control_plane.call
        settings = SidecarSettings(
            workload="web-1",
            namespace="shop",
            proxy="envoy",
            control_plane=ControlPlaneSettings("127.0.0.1:15012", insecure=True),
        )
        self.boot = own.own_boot(settings, verb, "0.1.0")
        self.life = Lifecycle(5_000, 45_000, needs_identity=False)
        self.status = Status("0.1.0")
        self.proxy = FakeProxy(self.engine)
        self.brain = Brain(
            Lease(self.engine),
            self.boot,
            self.life,
            LastGood(data) if data is not None else NoLastGood(),
            self.status,
            None,
            self.engine.clock,
            lambda: 0.5,
            lambda path: path.encode(),
            lambda _: None,
            beside=self.proxy,
        )
        self.brain.start()

    def run(self, for_ms: int = 1_000) -> None:
        end = self.engine.limit = self.engine.now + for_ms
        for _ in range(10_000):
            if self.brain.ended or self.engine.now >= end:
                return
            self.brain.turn()
        raise AssertionError("never comes to rest")


def test_an_agent_is_a_node_of_its_own_and_asks_for_no_listeners() -> None:
    agent = Agent()
    node = pool.parse("envoy.config.core.v3.Node", agent.boot.node)
    assert node.id.startswith("agent~127.0.0.1~web-1.shop~")
    assert agent.boot.dynamic is not None
    assert agent.boot.dynamic.listeners is None
    assert Agent("gateway").boot.dynamic is None, "a gateway has no workload to speak for"


def test_it_is_ready_once_its_proxy_is() -> None:
    agent = Agent()
    agent.run()
    assert agent.life.state == "starting"
    agent.proxy.become(True)
    agent.run()
    assert agent.engine.ready[-1] is True


def test_it_gets_ready_again_where_the_control_plane_has_nothing_new(tmp_path: Path) -> None:
    name = "probe|shop/web"
    assignment = {"cluster_name": name, "endpoints": []}
    probe = make_resource("cluster", name, {"name": name, "type": "STATIC", "load_assignment": assignment})
    control_plane = ControlPlane(View(probe))
    for _ in range(2):
        agent = Agent(data=tmp_path, control_plane=control_plane)
        agent.proxy.become(True)
        agent.run()
        assert agent.life.state == "ready"


def test_a_proxy_that_goes_takes_its_workload_out_of_rotation() -> None:
    agent = Agent()
    agent.proxy.become(True)
    agent.run()
    agent.proxy.become(False)
    agent.run()
    agent.proxy.become(True)
    agent.run()
    told = [(each.healthy, each.reason) for each in agent.control_plane.health]
    assert told == [(False, "the proxy is not ready"), (True, "")]


def test_a_stop_drains_the_proxy_and_ends_the_engine_after_it() -> None:
    agent = Agent()
    agent.proxy.become(True)
    agent.run()
    agent.engine.signal(signal.SIGTERM)
    agent.run(100)
    assert [each.reason for each in agent.control_plane.health] == ["draining"]
    assert agent.proxy.did == [("drain", "inbound", 5_000, 45_000)]
    assert not agent.engine.drains, "the engine carries no traffic"
    agent.run(60_000)
    assert [what[:2] for what in agent.proxy.did[1:]] == [("drain", "process"), ("stop",)]
    assert agent.brain.ended


def test_the_end_without_a_brain_ends_the_proxy_too() -> None:
    agent = Agent()
    agent.proxy.become(True)
    agent.run()
    agent.engine.limit = 1 << 60
    ending = Ending(agent.engine, agent.life, agent.status, agent.engine.clock, agent.proxy)
    ending.run([])
    assert [what[0] for what in agent.proxy.did] == ["drain", "drain", "stop"]
    assert agent.engine.stopped
