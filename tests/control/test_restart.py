"""`mainstay serve` as a process, killed and started again: proxies go on with what they have, and nothing is taken from them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import msgspec
import pytest

from mainstay._proto import pool
from mainstay.xds import messages
from mainstay.xds.client.stream import ClientStream
from mainstay.xds.client.types import (
    Cancel,
    Closed,
    Event,
    HealthChanged,
    Judged,
    Lost,
    Offered,
    Open,
    Received,
    Send,
    SetTimer,
    Started,
    TimerFired,
    Wanted,
)
from mainstay.xds.messages import Node
from mainstay.xds.types import Kind

PATIENCE_S = 40.0
BACKOFF = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 50),
]
pytestmark = pytest.mark.mesh
CART = "outbound|80||cart.shop.svc.cluster.local"
CONFIG = """
apiVersion: mainstay.dev/v1alpha1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{number: 80, name: http}], selector: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: carts, namespace: shop}
spec: {metadata: {labels: {app: cart}}, template: {serviceAccount: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: front-1, namespace: shop}
spec: {address: 127.0.0.6, labels: {app: front}, serviceAccount: front}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: front, namespace: shop}
spec:
  workloadSelector: {labels: {app: front}}
  egress:
  - {bind: 127.0.0.6, port: {number: 80, protocol: HTTP, name: http}, captureMode: NONE, hosts: ["./cart.shop.svc.cluster.local"]}
"""


def now() -> int:
    return time.monotonic_ns() // 1_000_000


class Proxy:
    """The client machine over gRPC: takes everything, asks for the endpoints of its clusters, notes what it is told."""

    def __init__(self, address: str, node: Node) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=BACKOFF)
        self._machine = ClientStream(messages.encode_node(node), lambda: 0.1)
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.holds: dict[Kind, dict[str, bytes]] = {
            "cluster": {},
            "endpoint": {},
            "listener": {},
            "route": {},
        }
        self.offers: list[Offered] = []
        self.opened = 0
        self.least = -1
        for kind in ("cluster", "listener"):
            self.tell(Wanted(kind, wildcard=True))
        self.tell(Started())

    def tell(self, event: Event) -> None:
        for command in self._machine.handle(event, now()):
            match command:
                case Open():
                    self.opened += 1
                    self._outbox = asyncio.Queue()
                    self._reader = asyncio.create_task(self._run(command.path, self._outbox))
                case Send():
                    self._outbox.put_nowait(command.message)
                case SetTimer():
                    if self._timer is not None:
                        self._timer.cancel()
                    delay = max(0, command.at - now()) / 1_000
                    self._timer = asyncio.get_running_loop().call_later(delay, self.tell, TimerFired())
                case Offered():
                    self._take(command)
                case Lost() | Cancel():
                    pass

    def _take(self, offered: Offered) -> None:
        self.offers.append(offered)
        held = self.holds[offered.kind]
        held.update({offer.name: offer.body for offer in offered.upserts})
        for name in offered.removals:
            held.pop(name, None)
        self.least = self.count() if self.least < 0 else min(self.least, self.count())
        self.tell(Judged(offered.token))
        if offered.kind == "cluster":
            names = frozenset(name for name in held if name.startswith("outbound|"))
            self.tell(Wanted("endpoint", names))

    async def _run(self, path: str, outbox: asyncio.Queue[bytes]) -> None:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = self._channel.stream_stream(path)()
        writer = asyncio.create_task(self._write(call, outbox))
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                assert isinstance(message, bytes)
                self.tell(Received(message))
            self.tell(Closed(0, ""))
        except grpc.aio.AioRpcError as error:
            self.tell(Closed(14, error.details() or ""))
        finally:
            writer.cancel()

    @staticmethod
    async def _write(call: grpc.aio.StreamStreamCall[bytes, bytes], outbox: asyncio.Queue[bytes]) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await call.write(await outbox.get())

    def count(self) -> int:
        """Endpoints of cart."""
        body = self.holds["endpoint"].get(CART, b"")
        assignment = pool.parse("envoy.config.endpoint.v3.ClusterLoadAssignment", body)
        return sum(len(locality.lb_endpoints) for locality in assignment.endpoints)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._reader is not None:
            self._reader.cancel()
        await self._channel.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


class ControlPlane:
    """`mainstay serve` with plaintext xDS, on the same port each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        (path / "config").mkdir()
        (path / "config" / "shop.yaml").write_text(CONFIG)
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        ready = self._path / "ready.json"
        ready.unlink(missing_ok=True)
        options = {
            "--state": self._path / "state",
            "--api-port": 0,
            "--metrics-port": 0,
            "--xds-port": 0,
            "--xds-plaintext-port": self.port,
            "--xds-grace": "300ms",
            "--files-directory": self._path / "config",
            "--api-context": self._path / "context.json",
            "--ready-file": ready,
        }
        arguments = [str(each) for pair in options.items() for each in pair]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mainstay",
            "serve",
            "--insecure-xds",
            *arguments,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until(ready.exists)
        self.port = msgspec.json.decode(ready.read_bytes())["plaintext"]

    async def end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        await self._process.wait()


@asynccontextmanager
async def control_plane(path: Path) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(path)
    await plane.start()
    try:
        yield plane
    finally:
        with contextlib.suppress(ProcessLookupError):
            await plane.end(signal.SIGKILL)


def node(name: str, app: str, address: str, **more: str) -> Node:
    metadata = {"NAMESPACE": "shop", "LABELS": {"app": app}, "INTERCEPTION_MODE": "NONE", **more}
    return Node(f"sidecar~{address}~{name}.shop~shop.svc.cluster.local", app, metadata, "mainstay/1")


def run(scenario: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 110))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_end_of_the_control_plane_takes_nothing_from_proxies(number: signal.Signals, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with control_plane(tmp_path) as plane:
            address = f"127.0.0.1:{plane.port}"
            cart = Proxy(address, node("cart-1", "cart", "127.0.0.5", AUTO_REGISTER_GROUP="carts"))
            cart.tell(HealthChanged(True))
            front = Proxy(address, node("front-1", "front", "127.0.0.6"))
            await until(lambda: front.count() == 1)
            before = dict(front.holds["endpoint"])

            await plane.end(number)
            await until(lambda: not front._machine.connected)
            await asyncio.sleep(0.5)  # an outage longer than the grace
            front.offers.clear()
            front.least, opened = 1, front.opened
            await plane.start()
            await until(
                lambda: front.opened > opened and front._machine.connected and cart._machine.connected
            )
            # A change shows that pushing goes on, and it is the only one.
            cart.tell(HealthChanged(False, "probe"))
            await until(lambda: front.count() == 0 or front.holds["endpoint"] != before)
            upserts = [offer.name for offered in front.offers for offer in offered.upserts]
            assert upserts == [CART]
            assert not any(offered.removals for offered in front.offers)
            await cart.close()
            await front.close()

    run(scenario())


def test_workload_whose_sidecar_is_gone_leaves_after_the_grace(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with control_plane(tmp_path) as plane:
            address = f"127.0.0.1:{plane.port}"
            cart = Proxy(address, node("cart-1", "cart", "127.0.0.5", AUTO_REGISTER_GROUP="carts"))
            cart.tell(HealthChanged(True))
            front = Proxy(address, node("front-1", "front", "127.0.0.6"))
            await until(lambda: front.count() == 1)
            await cart.close()
            await until(lambda: front.count() == 0)
            await front.close()

    run(scenario())
