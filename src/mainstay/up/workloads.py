"""Gateways and workloads: started, drained, stopped, restarted in turn.

In: the stage, with the control plane ready and tokens written. Out: running children. Order per workload: sidecar, then the
application; at the end drain, application, sidecar, so that what is under way ends and may still call others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from mainstay.up.children import Supervised
from mainstay.up.machine import accepts, find_wide_listeners
from mainstay.up.plane import ControlPlane, Unanswered, ask
from mainstay.up.planned import GatewayInstance, Instance
from mainstay.up.programs import proxy_name
from mainstay.up.stage import LOOK_S, NotReady, Stage
from mainstay.up.watch import Watch

STATUS_PAGE = "/mainstay/status"
DRAIN_LIMIT_S = 45.0
"""A sidecar cuts what is left after its own `drain.max`, which is as long."""


class Workloads:
    """See the module."""

    def __init__(self, stage: Stage, watch: Watch) -> None:
        self._stage, self._watch = stage, watch
        self._rolling: asyncio.Task[None] | None = None

    async def start_all(self) -> None:
        """Proxies together, each application once its sidecar is ready; raises NotReady."""
        await self._stage.together(
            *(self._start_gateway(gateway) for gateway in self._stage.plan.gateways),
            *(self._start_instance(instance) for instance in self._stage.plan.instances),
        )

    async def _start_gateway(self, gateway: GatewayInstance) -> None:
        ready = self._stage.folder.ready(gateway.name)
        child = self._stage.child(
            proxy_name(gateway.name),
            lambda: self._stage.programs.gateway(gateway, self._stage.control_address),
            lambda: ready.unlink(missing_ok=True),
        )
        child.start()
        await self._stage.until(_exists(ready), child, f"the gateway {gateway.name}")
        self._stage.events.tell(
            "ready", gateway.name, f"gateway at http://{gateway.address}:{gateway.listener}"
        )

    async def _start_instance(self, instance: Instance) -> None:
        if instance.has_proxy:
            await self._start_sidecar(instance)
        child = self._stage.children.get(instance.name) or self._stage.child(
            instance.name, lambda: self._stage.programs.application(instance)
        )
        child.start()
        await self._until_answers(instance, child)
        self._stage.events.tell("ready", instance.name, "answers")
        await self._warn_if_wide(instance, child)

    async def _start_sidecar(self, instance: Instance) -> None:
        ready = self._stage.folder.ready(instance.name)
        name = proxy_name(instance.name)
        child = self._stage.child(
            name,
            lambda: self._stage.programs.sidecar(instance, self._stage.control_address),
            lambda: ready.unlink(missing_ok=True),
        )
        child.start()
        await self._stage.until(_exists(ready), child, f"the sidecar of {instance.name}")

    async def _until_answers(self, instance: Instance, child: Supervised) -> None:
        if not instance.inbound:
            return
        port, path = instance.inbound[0].application, instance.workload.probe.path

        def answers() -> bool:
            if not path:
                return accepts(instance.address, port)
            try:
                return 200 <= ask(instance.address, port, "GET", path, timeout_s=1.0)[0] < 400
            except Unanswered:
                return False

        async def probe() -> bool:
            return await self._stage.in_thread(answers)

        await self._stage.until(probe, child, f"the application {instance.name}")

    async def _warn_if_wide(self, instance: Instance, child: Supervised) -> None:
        if child.process is None or not instance.has_proxy:
            return
        for place in await self._stage.in_thread(find_wide_listeners, child.process.pid):
            text = f"listens on {place}, where others reach it past its sidecar: mutual TLS and policies do not hold there"
            self._stage.events.tell("warning", instance.name, f"{text}. Let it listen on $HOST")

    def roll(self) -> None:
        """Restart every workload in turn; one roll at a time."""
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.ensure_future(self._roll())

    async def _roll(self) -> None:
        self._stage.events.tell("started", "", "restarting every workload in turn")
        try:
            for instance in self._stage.plan.instances:
                published = await self._published(instance)
                await self._stop_instance(instance)
                self._stage.events.tell("restarted", instance.name, "stopped in order, starts again")
                await self._start_instance(instance)
                await self._until_in_rotation(instance, published)
        except NotReady as reason:
            self._stage.events.tell("failed", "", str(reason))
        else:
            self._stage.events.tell("ready", "", "every workload has been restarted")

    async def _published(self, instance: Instance) -> frozenset[str]:
        """RPC services that its application publishes now."""
        if instance.registry is None:
            return frozenset()
        try:
            text = await self._stage.in_thread(
                lambda: ask(instance.address, instance.ports.admin, "GET", STATUS_PAGE)[1]
            )
            return frozenset(json.loads(text)["application"]["published"])
        except (Unanswered, ValueError, KeyError):
            return frozenset()

    async def _until_in_rotation(self, instance: Instance, published: frozenset[str]) -> None:
        """Those who call it have its address again; else the next restart could take the last one away."""
        service = instance.workload.service
        if not instance.has_proxy or not (service or published):
            return
        mesh = self._stage.mesh
        hosts = {f"{service}.{mesh.namespace}.svc.{mesh.domain_suffix}"} if service else set()
        callers = {each.name for each in self._stage.plan.instances if service in each.workload.calls}
        callers |= {gateway.name for gateway in self._stage.plan.gateways}
        # Whoever registers may call what is published.
        callers |= {each.name for each in self._stage.plan.instances if published and each.registry}
        hosts |= published

        def has_it(api: ControlPlane) -> bool:
            for node in api.nodes():
                name = node.split("~")[2].rpartition(".")[0] if node.count("~") == 3 else ""
                clusters = api.endpoints(node) if name in callers else {}
                # Clusters are named `outbound|port|subset|host`. A gateway has those it routes to, and the address may be in
                # a subset only.
                for host in hosts:
                    sets = [
                        addresses for cluster, addresses in clusters.items() if cluster.endswith(f"|{host}")
                    ]
                    if sets and not any(instance.address in addresses for addresses in sets):
                        return False
            return True

        async def look() -> bool:
            try:
                return await self._stage.ask(has_it)
            except Unanswered:
                return False

        child = self._stage.children[proxy_name(instance.name)]
        await self._stage.until(look, child, f"{instance.name} in rotation")

    async def stop_all(self) -> None:
        """End all in order; the control plane last."""
        if self._rolling is not None:
            self._rolling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rolling
        await asyncio.gather(
            *(self._stage.stop_child(proxy_name(gateway.name)) for gateway in self._stage.plan.gateways)
        )
        await asyncio.gather(*(self._stop_instance(instance) for instance in self._stage.plan.instances))
        await self._stage.stop_child("control-plane")

    async def _stop_instance(self, instance: Instance) -> None:
        if instance.has_proxy:
            await self._drain(instance)
        await self._stage.stop_child(instance.name)
        await self._watch.read_one(instance)
        await self._stage.stop_child(proxy_name(instance.name))

    async def _drain(self, instance: Instance) -> None:
        """Peers go elsewhere, what is under way ends; the application and its calls go on meanwhile."""
        child = self._stage.children.get(proxy_name(instance.name))
        if child is None or child.process is None or not self._stage.folder.ready(instance.name).exists():
            return
        try:
            await self._stage.in_thread(
                ask, instance.address, instance.ports.admin, "POST", "/drain_listeners?inboundonly&graceful"
            )
        except Unanswered as error:
            self._stage.events.tell("warning", instance.name, f"its sidecar did not drain: {error}")
            return

        def is_drained() -> bool:
            try:
                text = ask(instance.address, instance.ports.admin, "GET", STATUS_PAGE)[1]
                return json.loads(text)["state"] in ("drained", "stopping", "ended")
            except (Unanswered, ValueError, KeyError):
                return False

        until = time.monotonic() + DRAIN_LIMIT_S
        while time.monotonic() < until and child.process is not None:
            if await self._stage.in_thread(is_drained):
                return
            await asyncio.sleep(LOOK_S)


def _exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return path.exists()

    return look
