"""Runs a planned mesh from start to end.

In: the plan, settings. Out: `Outcome` with figures and exit code. Order: reaper → control plane ready → objects, tokens →
gateways and sidecars together → each application once its sidecar is ready → load once the way through the mesh works. End:
load, gateways, then of each workload drain, application, sidecar; the control plane last. Invariant: `close` has ended every
process, and where even that cannot run, the reaper has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable

import msgspec

from mainstay.settings.up import UpSettings
from mainstay.up.control import describe, start_control_plane
from mainstay.up.events import Events
from mainstay.up.figures import Pair
from mainstay.up.file import Step
from mainstay.up.loads import Loads
from mainstay.up.plane import RefusedObjects, Unanswered
from mainstay.up.planned import Plan
from mainstay.up.programs import MAINSTAY, Folder
from mainstay.up.report import GAVE_UP, NOT_READY, LoadResult, exit_code, unmet
from mainstay.up.stage import NotReady, Stage
from mainstay.up.table import Row
from mainstay.up.watch import ROUND_S, Watch
from mainstay.up.workloads import Workloads


class GaveUp(Exception):  # noqa: N818  an outcome
    """A child failed too often."""


class Outcome(msgspec.Struct, frozen=True):
    """What a run came to; `unmet` says in words what did not hold."""

    code: int
    pairs: list[Pair]
    load: list[LoadResult]
    unmet: list[str]


class Run:
    """One run. `ready` is called once everything runs, `shown` each round with the rows of the table."""

    def __init__(
        self,
        plan: Plan,
        settings: UpSettings,
        folder: Folder,
        events: Events,
        ready: Callable[[], None],
        shown: Callable[[list[Row]], None],
        mainstay: tuple[str, ...] = MAINSTAY,
    ) -> None:
        self._stage = Stage(plan, settings, folder, events, mainstay)
        self._watch = Watch(self._stage)
        self._workloads = Workloads(self._stage, self._watch)
        self._loads = Loads(self._stage)
        self._ready, self._shown = ready, shown

    async def run(self, interrupted: asyncio.Event) -> Outcome:
        """From start to end; an interruption cuts it short."""
        flow = asyncio.ensure_future(self._flow())
        cut = asyncio.ensure_future(interrupted.wait())
        await asyncio.wait({flow, cut}, return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()
        flow.cancel()
        code: int | None = None
        try:
            await flow
        except asyncio.CancelledError:
            self._stage.events.tell("started", "", "interrupted: stopping everything in order")
        except NotReady as reason:
            self._stage.events.tell("failed", "", str(reason))
            code = NOT_READY
        except GaveUp as reason:
            self._stage.events.tell("failed", "", str(reason))
            code = GAVE_UP
        return await self._end(code, whole=not interrupted.is_set())

    def force(self) -> None:
        """End everything now."""
        for child in (*self._loads.children, *self._stage.children.values()):
            child.force()

    def roll(self) -> None:
        """Restart every workload in turn."""
        self._workloads.roll()

    def close(self) -> None:
        """End whatever is left."""
        self._stage.close()

    async def _flow(self) -> None:
        await start_control_plane(self._stage)
        await self._workloads.start_all()
        await self._loads.until_served()
        await self._watch.begin()
        self._loads.start()
        self._ready()
        steps = asyncio.ensure_future(self._take_steps())
        try:
            await self._look_on()
        finally:
            steps.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await steps

    async def _look_on(self) -> None:
        """Figures each second, until time is up."""
        limit = self._stage.settings.for_
        until = None if limit is None else time.monotonic() + limit / 1_000
        while until is None or time.monotonic() < until:
            await asyncio.sleep(
                ROUND_S if until is None else min(ROUND_S, max(0.0, until - time.monotonic()))
            )
            await self._watch.read()
            self._shown(self._watch.rows())
            await self._watch.tell_refusals()
            for child in (*self._stage.children.values(), *self._loads.children):
                if child.gave_up:
                    raise GaveUp(f"{child.name} failed too often")

    async def _take_steps(self) -> None:
        began = time.monotonic()
        await self._watch.tell_splits()
        for step in sorted(self._stage.mesh.steps, key=lambda step: step.after):
            await asyncio.sleep(max(0.0, began + step.after / 1_000 - time.monotonic()))
            await self._watch.tell_splits()
            await self._take_step(step)

    async def _take_step(self, step: Step) -> None:
        try:
            await self._stage.ask(lambda api: api.apply(step.apply, self._stage.mesh.namespace))
        except (RefusedObjects, Unanswered) as error:
            self._stage.events.tell("failed", "", f"{step.note or 'a step'}: {describe(error)}")
        else:
            self._stage.events.tell("step", "", step.note or "objects were applied")

    async def _end(self, code: int | None, *, whole: bool) -> Outcome:
        """Stop in order, and judge. `whole`: the run came to its end by itself."""
        events = self._stage.events
        results = await self._loads.stop()
        pairs = await self._watch.read_last(results)
        await self._watch.tell_splits()
        gave_up = any(child.gave_up for child in (*self._stage.children.values(), *self._loads.children))
        await self._workloads.stop_all()
        if code is not None:
            return Outcome(
                code, pairs, results, [event.text for event in events.all if event.what == "failed"]
            )
        restarted = bool(events.count("restarted"))
        problems = unmet(pairs, results, self._stage.mesh.expect, whole=whole, restarted=restarted)
        problems += [event.text for event in events.all if event.what == "failed"]
        final = exit_code(gave_up=gave_up, unmet_count=len(problems), interrupted=not whole)
        return Outcome(final, pairs, results, problems)


def install_signals(run: Run, interrupted: asyncio.Event) -> None:
    """SIGINT and SIGTERM end the run, a second one at once. SIGHUP restarts the workloads in turn, unless it says that the
    terminal has gone: then it ends the run as well."""
    loop = asyncio.get_running_loop()
    had_terminal = _has_terminal()

    def interrupt() -> None:
        if interrupted.is_set():
            run.force()
        interrupted.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    loop.add_signal_handler(
        signal.SIGHUP, lambda: interrupt() if had_terminal and not _has_terminal() else run.roll()
    )


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True
