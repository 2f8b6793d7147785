"""Rounds: changes go in, settle, come out; storms are paced; waiters learn when their revision is in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from mainstay.control.loop import LoopClock
from mainstay.control.rounds import Rounds
from mainstay.graph import Graph, Settled
from mainstay.sources import Batch, Intake, Taken, Upsert


class Fixture:
    def __init__(self, publish: Callable[[Settled], bool]) -> None:
        clock = LoopClock()
        self.graph = Graph(time.perf_counter, lambda *_: "bug")
        self.numbers = self.graph.input("numbers")
        self.intake = Intake(["store"], clock, self.wake)
        self.rounds = Rounds(self.graph, self.intake, clock, self.enter, publish)

    def wake(self) -> None:
        self.rounds.wake()

    def enter(self, taken: Taken) -> None:
        assert isinstance(taken.change, Upsert)
        self.numbers.set(taken.change.key, taken.change.fact, taken.cause)

    def bring(self, revision: int, **facts: int) -> None:
        changes = tuple(Upsert(key, fact) for key, fact in facts.items())
        self.intake.take_in(Batch("store", 1, changes, str(revision), synced=True))


def play(
    scenario: Callable[[Fixture], Coroutine[Any, Any, None]], publish: Callable[[Settled], bool]
) -> None:
    async def run() -> None:
        fixture = Fixture(publish)
        task = asyncio.create_task(fixture.rounds.run())
        try:
            await asyncio.wait_for(scenario(fixture), 10)
        finally:
            task.cancel()

    asyncio.run(run())


def test_waiter_of_a_revision_is_woken_after_it_was_published() -> None:
    published: list[Any] = []

    def publish(settled: Settled) -> bool:
        published.append(settled.changed)
        return False

    async def scenario(fixture: Fixture) -> None:
        fixture.bring(7, a=1)
        await fixture.rounds.reached("store", 7)
        assert {"numbers": frozenset({"a"})} in published
        await fixture.rounds.reached("store", 5)

    play(scenario, publish)


def test_publishing_may_ask_for_rounds_and_is_stopped_if_it_never_ends() -> None:
    calls = 0

    def publish(_settled: Settled) -> bool:
        nonlocal calls
        calls += 1
        return True

    async def scenario(fixture: Fixture) -> None:
        fixture.bring(1, a=1)
        await fixture.rounds.reached("store", 1)
        assert calls == 16

    play(scenario, publish)


def test_a_storm_of_changes_makes_few_rounds() -> None:
    async def scenario(fixture: Fixture) -> None:
        for number in range(1, 201):
            fixture.bring(number, a=number)
            await asyncio.sleep(0)
        await fixture.rounds.reached("store", 200)
        assert fixture.rounds.count < 20

    play(scenario, lambda _settled: False)
