"""The load of a run: begun once the way through the mesh works, ended before anything else, counted by itself.

In: the stage, with gateways and workloads running. Out: counts per load generator.
"""

from __future__ import annotations

from mainstay.up.children import ONCE, Supervised
from mainstay.up.file import Load
from mainstay.up.plane import Unanswered, ask, read_count
from mainstay.up.planned import GatewayInstance
from mainstay.up.programs import load_name, proxy_name
from mainstay.up.report import LoadResult
from mainstay.up.stage import Stage

WAY_LIMIT_S = 5.0
"""Limit of one request that tries the way."""


class Loads:
    """See the module."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._gateways = {gateway.name: gateway for gateway in stage.plan.gateways}
        self.children: list[Supervised] = []

    async def until_served(self) -> None:
        """Wait until each load's path is answered through its gateway: from then on a failure is one."""
        for load in self._stage.mesh.load:
            await self._until_served(load, self._gateways[load.to])

    async def _until_served(self, load: Load, gateway: GatewayInstance) -> None:
        last = ""

        def served() -> bool:
            nonlocal last
            try:
                status, text = ask(gateway.address, gateway.listener, "GET", load.path, timeout_s=WAY_LIMIT_S)
            except Unanswered as error:
                last = str(error)
                return False
            last = f"status {status}: {text[:200]}"
            return status < 500

        async def look() -> bool:
            return await self._stage.in_thread(served)

        child = self._stage.children[proxy_name(gateway.name)]
        what = f"GET {load.path} through the gateway {gateway.name}"
        await self._stage.until(look, child, what, lambda: last)

    def start(self) -> None:
        """Begin."""
        for at, load in enumerate(self._stage.mesh.load):
            self._start(at, load)

    def _start(self, at: int, load: Load) -> None:
        gateway = self._gateways[load.to]
        url = f"http://{gateway.address}:{gateway.listener}{load.path}"
        name = load_name(at)
        self._stage.folder.log(name).unlink(missing_ok=True)
        child = Supervised(
            name,
            lambda: self._stage.programs.load(load, at, url),
            self._stage.reaper,
            self._stage.events,
            back_off=ONCE,
        )
        self.children.append(child)
        child.start()
        self._stage.events.tell("started", name, f"{load.rate:g} requests/s to {url}")

    async def stop(self) -> list[LoadResult]:
        """End, and return what was counted."""
        for child in self.children:
            await child.stop()
        return [
            LoadResult(load.to, read_count(self._stage.folder.log(child.name)))
            for load, child in zip(self._stage.mesh.load, self.children, strict=False)
        ]
