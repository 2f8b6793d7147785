"""A whole control plane in process: a write is taken, checked, compiled, and told to the proxies it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.compile.capability import Capability
from mainstay.compile.resource import Kind, Resource
from mainstay.compile.traits import Proxy
from mainstay.control.admission import RefusedWrite, Wish
from mainstay.control.dialect import read_objects
from mainstay.control.loop import Loop
from mainstay.control.plane import Plane
from mainstay.control.proxies import Names, ProxyView
from mainstay.identity.gateway_secrets import Vault
from mainstay.model.endpoints import Health
from mainstay.model.key import ObjectKey, WorkloadKey, labels_of
from mainstay.model.workload import Registration
from mainstay.settings.serve import Files, ServeSettings
from mainstay.store import MemoryStore, Store
from mainstay.xds.server.types import KindStatus

SHOP = """
apiVersion: mainstay.dev/v1alpha1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{number: 80, name: http}], selector: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-1, namespace: shop}
spec: {address: 127.0.0.5, labels: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: front, namespace: shop}
spec:
  workloadSelector: {labels: {app: front}}
  egress:
  - {bind: 127.0.0.9, port: {number: 80, protocol: HTTP, name: http}, captureMode: NONE, hosts: ["./cart.shop.svc.cluster.local"]}
"""
CLUSTER = "outbound|80||cart.shop.svc.cluster.local"


class Listener:
    """Waits for what it is told."""

    def __init__(self) -> None:
        self.view: ProxyView | None = None
        self.told: list[Names] = []
        self._heard = asyncio.Event()

    def view_changed(self, view: ProxyView, changed: Names) -> None:
        self.view = view
        self.told.append(changed)
        self._heard.set()

    def status(self) -> dict[Kind, KindStatus]:
        return {}

    def applied(self, kind: Kind) -> dict[str, Resource]:  # noqa: ARG002
        return {}

    async def until(self, condition: Callable[[ProxyView], object]) -> None:
        async with asyncio.timeout(20):
            while self.view is None or not condition(self.view):
                self._heard.clear()
                await self._heard.wait()

    def endpoints(self) -> bytes:
        assert self.view is not None
        found = self.view.get("endpoint", CLUSTER)
        return found.body if found is not None else b""


class Running:
    def __init__(self, plane: Plane, audited: list[tuple[Any, ...]]) -> None:
        self.plane = plane
        self.audited = audited

    async def apply(self, text: str, **wish: Any) -> list[str]:
        written, problems = read_objects(text, "shop.yaml", "shop")
        assert problems == []
        admitted = await self.plane.admission.perform(Wish(writes=tuple(written), who="me", **wish))
        return [result.outcome for result in admitted.results]

    def connect(self, app: str = "front") -> Listener:
        listener = Listener()
        proxy = Proxy(
            node=f"sidecar~127.0.0.9~{app}-1.shop~shop",
            namespace="shop",
            labels=labels_of({"app": app}),
            addresses=("127.0.0.9",),
            interception="NONE",
            capability=Capability("mainstay"),
        )
        self.plane.proxies.open(app, proxy, listener)
        return listener


def play(
    scenario: Callable[[Running], Coroutine[Any, Any, None]],
    store: Store | None = None,
    directory: Path | None = None,
) -> None:
    async def run() -> None:
        settings = ServeSettings(files=Files(directory=directory, poll=10))
        audited: list[tuple[Any, ...]] = []
        plane = Plane(settings, store or MemoryStore(), Vault(b"k" * 32), lambda *line: audited.append(line))
        loop = Loop()
        plane.spawn(loop)
        running = asyncio.create_task(loop.run())
        try:
            async with asyncio.timeout(30):
                await scenario(Running(plane, audited))
        finally:
            loop.end()
            await running

    asyncio.run(run())


def test_write_reaches_the_proxies_it_concerns_and_is_audited() -> None:
    async def scenario(running: Running) -> None:
        assert await running.apply(SHOP) == ["created"] * 3
        listener = running.connect()
        await listener.until(lambda _: b"127.0.0.5" in listener.endpoints())
        assert await running.apply(SHOP) == ["unchanged"] * 3
        moved = SHOP.replace("127.0.0.5", "127.0.0.6")
        assert await running.apply(moved) == ["unchanged", "configured", "unchanged"]
        await listener.until(lambda _: b"127.0.0.6" in listener.endpoints())
        assert listener.told[-1] == {"endpoint": frozenset({CLUSTER})}
        assert running.audited[-1][:3] == ("me", "configured", "WorkloadEntry/shop/cart-1")

    play(scenario)


def test_dangling_reference_is_refused_with_its_place_and_nothing_is_changed() -> None:
    virtual = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart]
  http:
  - route:
    - destination: {host: cart, subset: v9}
"""

    async def scenario(running: Running) -> None:
        await running.apply(SHOP)
        with pytest.raises(RefusedWrite) as refused:
            await running.apply(virtual)
        (problem,) = refused.value.problems
        assert (problem.file, problem.line, problem.path) == (
            "shop.yaml",
            9,
            "spec.http[0].route[0].destination.subset",
        )
        assert problem.remedy
        assert running.plane.problems() == []

    play(scenario)


def test_what_others_use_is_not_deleted_unless_forced() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec: {host: cart, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec: {hosts: [cart], http: [{route: [{destination: {host: cart, subset: v1}}]}]}
"""

    async def scenario(running: Running) -> None:
        await running.apply(SHOP)
        await running.apply(text)
        rule = next(
            each for each, _ in running.plane.authored.objects.items() if each.kind == "DestinationRule"
        )
        with pytest.raises(RefusedWrite, match="still used by VirtualService/shop/cart"):
            await running.plane.admission.perform(Wish(deletes=(rule,)))
        forced = await running.plane.admission.perform(Wish(deletes=(rule,), force=True))
        assert forced.results[0].outcome == "deleted"
        assert [problem.object for problem in running.plane.problems()] == ["VirtualService/shop/cart"]

    play(scenario)


def test_reported_health_takes_an_endpoint_out_and_back() -> None:
    claim = Registration(WorkloadKey("shop", "cart-1"), None, ("127.0.0.5",))

    async def scenario(running: Running) -> None:
        await running.apply(SHOP)
        listener = running.connect()
        await listener.until(lambda _: b"127.0.0.5" in listener.endpoints())
        running.plane.workloads.open_stream("s", claim)
        running.plane.workloads.report("s", Health.UNHEALTHY)
        await listener.until(lambda _: b"127.0.0.5" not in listener.endpoints())
        running.plane.workloads.report("s", Health.HEALTHY)
        await listener.until(lambda _: b"127.0.0.5" in listener.endpoints())

    play(scenario)


def test_member_of_a_group_serves_once_its_probe_passed() -> None:
    group = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: carts, namespace: shop}
spec:
  metadata: {labels: {app: cart}}
  template: {serviceAccount: cart}
  probe: {tcpSocket: {port: 80}}
"""

    async def scenario(running: Running) -> None:
        await running.apply(SHOP)
        await running.apply(group)
        listener = running.connect()
        await listener.until(lambda _: b"127.0.0.5" in listener.endpoints())
        claim = Registration(WorkloadKey("shop", "carts-7"), ObjectKey("shop", "carts"), ("127.0.0.7",))
        running.plane.workloads.open_stream("s", claim)
        running.plane.workloads.report("s", Health.HEALTHY)
        await listener.until(lambda _: b"127.0.0.7" in listener.endpoints())
        workload = running.plane.find_workload(claim.key)
        assert workload is not None
        assert (workload.account, workload.meshed) == ("cart", True)

    play(scenario)


def test_directory_of_files_comes_before_the_store(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(SHOP)

    async def scenario(running: Running) -> None:
        listener = running.connect()
        await listener.until(lambda _: b"127.0.0.5" in listener.endpoints())
        (tmp_path / "shop.yaml").write_text(SHOP.replace("127.0.0.5", "127.0.0.77"))
        await listener.until(lambda _: b"127.0.0.77" in listener.endpoints())
        (tmp_path / "shop.yaml").write_text(
            SHOP.replace("127.0.0.5", "127.0.0.78").replace("spec: {address", "spec: {adress")
        )
        await listener.until(lambda _: running.plane.problems() or True)
        async with asyncio.timeout(20):
            while not running.plane.problems():
                await asyncio.sleep(0)
        (problem, *_) = running.plane.problems()
        assert problem.path == "spec.adress"
        assert b"127.0.0.77" in listener.endpoints()

    play(scenario, directory=tmp_path)


def test_restart_over_the_same_store_gives_equal_resources() -> None:
    store = MemoryStore()
    versions: list[bytes] = []

    async def scenario(running: Running) -> None:
        if not versions:
            await running.apply(SHOP)
        listener = running.connect()
        await listener.until(lambda view: view.get("endpoint", CLUSTER))
        assert listener.view is not None
        versions.append(
            msgspec.msgpack.encode(
                [
                    (kind, name, found.version)
                    for kind in ("cluster", "endpoint", "listener", "route")
                    for name in listener.view.names(kind)
                    if (found := listener.view.get(kind, name))
                ]
            )
        )

    play(scenario, store)
    play(scenario, store)
    assert versions[0] == versions[1]
