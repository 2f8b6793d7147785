"""Drives the graph: what sources brought goes in, a round is settled, what changed goes to whoever publishes
it.

In: wake-ups from the intake and from demands. Out: `Settled` rounds, in order, to one listener. Invariants:
rounds follow `Pace`, so that a storm of changes costs a bounded share of the loop; a round gives the loop
back every `BUDGET_MS`; whoever waits for a revision is woken once a round that contains it was published. One
task of `loop` runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from mainstay.graph import Graph, More, Pace, Settled
from mainstay.sources import Clock, Intake, Taken
from mainstay.telemetry.log import get_log

log = get_log("rounds")

BUDGET_MS = 10.0
"""Longest stretch of a round before other tasks run (acknowledgements, REST)."""

EXPIRE_EVERY_MS = 10_000
"""How often on-demand keys that nobody wants are looked for."""

SETTLES_LIMIT = 16
"""Rounds that publishing may ask for in a row (demands of what became known); more is a bug of ours."""


class Rounds:
    """See the module. `enter` puts one taken change into the graph; `publish` gets each settled round and
    returns whether it demanded keys that another round has to make before anything is pushed."""

    def __init__(
        self,
        graph: Graph,
        intake: Intake,
        clock: Clock,
        enter: Callable[[Taken], None],
        publish: Callable[[Settled], bool],
    ) -> None:
        self._graph = graph
        self._intake = intake
        self._clock = clock
        self._enter = enter
        self._publish = publish
        self._pace = Pace()
        self._woken = asyncio.Event()
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []
        self._taken: dict[str, int] = {}
        self._expired_at = clock.now()
        self.count = 0
        self.seconds = 0.0

    def wake(self) -> None:
        """There is something to do: a source brought changes, or a key was wanted or released."""
        self._pace.note_change()
        self._woken.set()

    async def reached(self, source: str, revision: int) -> None:
        """Returns once a round with this revision of a source has been published."""
        if self._taken.get(source, -1) >= revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((source, revision, future))
        await future

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wait()
            began = self._clock.now()
            taken = self._intake.take()
            for each in taken:
                self._enter(each)
            await self._settle()
            self._note_revisions(taken)
            self._pace.note_round(self._clock.now(), self._clock.now() - began)
            if self._intake.has_unread:
                self.wake()
            if self._clock.now() - self._expired_at >= EXPIRE_EVERY_MS:
                self._expired_at = self._clock.now()
                self._graph.expire(self._expired_at)

    async def _wait(self) -> None:
        """Until there is something to do and the pace allows it, or held keys or idle ones have to be looked
        at."""
        while True:
            self._woken.clear()
            now = self._clock.now()
            due = self._pace.due(now)
            if due is not None and due <= now:
                return
            held = self._intake.next_deadline()
            later = [at for at in (due, held, self._expired_at + EXPIRE_EVERY_MS) if at is not None]
            until = min(later)
            if due is None and until <= now:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0, until - now) / 1_000):
                    await self._woken.wait()

    async def _settle(self) -> None:
        for _ in range(SETTLES_LIMIT):
            while isinstance(outcome := self._graph.settle(BUDGET_MS), More):
                await asyncio.sleep(0)
            self.count += 1
            self.seconds += outcome.seconds
            if not self._publish(outcome):
                return
        log.error("publishing never came to rest", rounds=SETTLES_LIMIT)

    def _note_revisions(self, taken: list[Taken]) -> None:
        for each in taken:
            if each.cause.revision.isdigit():
                number = int(each.cause.revision)
                self._taken[each.source] = max(number, self._taken.get(each.source, -1))
        still: list[tuple[str, int, asyncio.Future[None]]] = []
        for source, revision, future in self._waiting:
            if self._taken.get(source, -1) < revision:
                still.append((source, revision, future))
            elif not future.done():
                future.set_result(None)
        self._waiting = still
