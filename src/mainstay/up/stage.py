"""What all parts of a run share: its plan, children, threads, and how something that must come is waited for.

In: made by `run`. Out: used by `control`, `workloads`, `loads`, `watch`. Invariant: whoever waits here waits for a limited time,
and is told why it was in vain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mainstay.settings.up import UpSettings
from mainstay.supervise import Program, Reaper
from mainstay.up.children import Supervised
from mainstay.up.events import Events
from mainstay.up.plane import ControlPlane, Unanswered
from mainstay.up.planned import Plan
from mainstay.up.programs import MAINSTAY, Folder, Programs

LOOK_S = 0.05
"""How often something that must come is looked for."""

ASKERS = 16
"""Threads for questions over HTTP, which block for a limited time."""

T = TypeVar("T")


class NotReady(Exception):  # noqa: N818  an outcome
    """Something did not get ready; ends the run with its exit code."""


class Stage:
    """See the module. `api` is there once the control plane is ready."""

    def __init__(
        self,
        plan: Plan,
        settings: UpSettings,
        folder: Folder,
        events: Events,
        mainstay: tuple[str, ...] = MAINSTAY,
    ) -> None:
        self.plan, self.mesh, self.settings = plan, plan.mesh, settings
        self.folder, self.events = folder, events
        self.reaper = Reaper()
        mark = self.reaper.environment()
        self.programs = Programs(plan.mesh, folder, mark, settings.drain, mainstay, settings.proxy_path)
        self.children: dict[str, Supervised] = {}
        self.control_address = ""
        self.api: ControlPlane | None = None
        self._threads = ThreadPoolExecutor(ASKERS, thread_name_prefix="ask")

    def child(
        self, name: str, make: Callable[[], Program], on_start: Callable[[], None] = lambda: None
    ) -> Supervised:
        """Make a child that is restarted when it ends."""
        made = Supervised(name, make, self.reaper, self.events, on_start=on_start)
        self.children[name] = made
        return made

    async def stop_child(self, name: str) -> None:
        """End a child for good, if it is there."""
        child = self.children.pop(name, None)
        if child is not None:
            await child.stop()

    async def until(
        self,
        holds: Callable[[], Awaitable[bool]],
        child: Supervised,
        what: str,
        last: Callable[[], str] = lambda: "",
    ) -> None:
        """Wait until something holds; raises NotReady, with what was seen or said last."""
        limit = time.monotonic() + self.settings.ready_timeout / 1_000
        while not await holds():
            if child.gave_up or time.monotonic() >= limit:
                said = last() or child.last_line()
                reason = "failed too often" if child.gave_up else "did not get ready in time"
                raise NotReady(f"{what} {reason}" + (f"; last: {said}" if said else ""))
            await asyncio.sleep(LOOK_S)

    async def together(self, *parts: Coroutine[Any, Any, None]) -> None:
        """Do all of them; the first failure ends the others."""
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def ask(self, call: Callable[[ControlPlane], T]) -> T:
        """Ask the control plane; raises Unanswered, RefusedObjects."""
        api = self.api
        if api is None:
            raise Unanswered("the control plane is not there")
        return await self.in_thread(call, api)

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do what blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def close(self) -> None:
        """End whatever is left."""
        self.reaper.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
