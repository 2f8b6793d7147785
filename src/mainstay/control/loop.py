"""Who owns which task of the control plane.

In: coroutines, each with a name, what to do at stop, how long that may take. Out: a program that ends by
itself only when a vital task failed, or when it was told to. Invariants: every task is spawned here; at stop
they are told in reverse order of their start, each within its deadline, then cancelled; an error ends the
program (vital) or is logged and counted. `main` builds one; nothing else creates tasks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mainstay.settings import OperatorError
from mainstay.telemetry.log import get_log

log = get_log("loop")

STOP_MS = 5_000
"""Default time a task has to end at stop."""


class LoopClock:
    """Real time, for everything that waits."""

    def now(self) -> int:
        """Monotonic milliseconds."""
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, ms: int) -> None:
        await asyncio.sleep(ms / 1_000)


def time_of_day() -> int:
    """Unix time in ms."""
    return time.time_ns() // 1_000_000


class Owned:
    """One task with its answers: who cancels it (`Loop.stop`), when it drains (`drain`), its deadline, its
    errors."""

    __slots__ = ("deadline_ms", "drain", "name", "task", "vital")

    def __init__(
        self,
        name: str,
        task: asyncio.Task[Any],
        drain: Callable[[], Awaitable[None]] | None,
        deadline_ms: int,
        vital: bool,
    ) -> None:
        self.name = name
        self.task = task
        self.drain = drain
        self.deadline_ms = deadline_ms
        self.vital = vital


class Loop:
    """The tasks of one program."""

    def __init__(self) -> None:
        self._owned: list[Owned] = []
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        self._stopping = False
        self.exceptions: dict[str, int] = {}

    def spawn(
        self,
        name: str,
        work: Coroutine[Any, Any, Any],
        *,
        drain: Callable[[], Awaitable[None]] | None = None,
        deadline_ms: int = STOP_MS,
        vital: bool = True,
    ) -> None:
        """Starts a task. `drain` is awaited at stop before the task is cancelled; a task that is not `vital`
        may fail or end without ending the program."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        owned = Owned(name, task, drain, deadline_ms, vital)
        self._owned.append(owned)
        task.add_done_callback(lambda _: self._done(owned))

    def end(self) -> None:
        """Asks the program to stop (a signal)."""
        self._ended.set()

    async def run(self) -> None:
        """Until `end` or a vital failure; then stops every task. Raises the failure."""
        try:
            await self._ended.wait()
        finally:
            await self._stop()
        if self._failure is not None:
            raise self._failure

    def _done(self, owned: Owned) -> None:
        if owned in self._owned:
            self._owned.remove(owned)
        if owned.task.cancelled() or self._stopping:
            return
        error = owned.task.exception()
        if error is not None:
            self.exceptions[owned.name] = self.exceptions.get(owned.name, 0) + 1
            if not isinstance(error, OperatorError):
                log.error("task failed", task=owned.name, error=f"{type(error).__name__}: {error}")
        elif owned.vital:
            log.error("task ended", task=owned.name)
        if owned.vital:
            self._failure = error or RuntimeError(f"the task {owned.name} ended by itself")
            self._ended.set()

    async def _stop(self) -> None:
        self._stopping = True
        for owned in reversed(list(self._owned)):
            if owned.drain is not None:
                try:
                    await asyncio.wait_for(owned.drain(), owned.deadline_ms / 1_000)
                except TimeoutError:
                    log.warning("task did not drain in time", task=owned.name, deadline_ms=owned.deadline_ms)
                except Exception:  # the named boundary "stop": one task's bug must not keep others running
                    log.exception("drain failed", task=owned.name)
            owned.task.cancel()
            _, running = await asyncio.wait({owned.task}, timeout=owned.deadline_ms / 1_000)
            if running:
                log.warning("task did not end in time", task=owned.name, deadline_ms=owned.deadline_ms)
