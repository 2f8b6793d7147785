"""What every source must do: after each scripted trouble the facts equal the registry's content.

A registry is scripted through `Script`; each source adds a fixture. Time is a clock that moves when the test
says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path
from typing import Any, Protocol

import pytest

from mainstay.model.problem import Problem
from mainstay.sources import Change, Intake, Refuse, Remove, Source, Upsert, keep_source
from mainstay.sources.files import FilesMachine, FilesSource, Parsed
from mainstay.sources.store import StoreSource
from mainstay.store import Delete, MemoryStore, Put, StoreError


class TestClock:
    """Sleepers wake when `advance` reaches them."""

    __test__ = False

    def __init__(self) -> None:
        self._now = 0
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> int:
        return self._now

    async def sleep(self, ms: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + ms, future))
        await future

    def advance(self, ms: int) -> None:
        self._now += ms
        due = [future for until, future in self._sleepers if until <= self._now]
        self._sleepers = [(until, future) for until, future in self._sleepers if until > self._now]
        for future in due:
            if not future.done():
                future.set_result(None)


class Script(Protocol):
    """A registry under the test's control. Values are words; `!` stands for one that cannot be taken."""

    def put(self, key: str, word: str) -> None: ...
    def remove(self, key: str) -> None: ...
    def lose_history(self) -> None: ...
    def deny(self) -> None: ...
    def allow(self) -> None: ...


class FilesScript:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = TestClock()
        machine = FilesMachine("files", parse_words)
        self.source = FilesSource("files", directory, machine, self.clock, 500, lambda: 10**15)

    def put(self, key: str, word: str) -> None:
        (self.directory / "sub").mkdir(exist_ok=True)
        temporary = self.directory / ".new"
        temporary.write_text(f"{key}={word}\n")
        os.replace(temporary, self.directory / "sub" / f"{key}.yaml")

    def remove(self, key: str) -> None:
        (self.directory / "sub" / f"{key}.yaml").unlink()

    def lose_history(self) -> None:
        """Files have none."""

    def deny(self) -> None:
        self.directory.rename(self.directory.with_suffix(".away"))

    def allow(self) -> None:
        self.directory.with_suffix(".away").rename(self.directory)


class DeniedStore(MemoryStore):
    denied = False

    def scan(self, *arguments: Any, **options: Any) -> Any:
        if self.denied:
            raise StoreError("denied by the test")
        return super().scan(*arguments, **options)

    def watch(self, *arguments: Any, **options: Any) -> Any:
        if self.denied:
            raise StoreError("denied by the test")
        return super().watch(*arguments, **options)


class StoreScript:
    def __init__(self, _directory: Path) -> None:
        self.clock = TestClock()
        self.store = DeniedStore()
        self.source = StoreSource("store", self.store, "objects/", read_word, self.clock)

    def put(self, key: str, word: str) -> None:
        self.store.transact([], [Put(f"objects/{key}", word.encode())])

    def remove(self, key: str) -> None:
        self.store.transact([], [Delete(f"objects/{key}")])

    def lose_history(self) -> None:
        self.store.transact([], [Put("elsewhere", b"")])
        self.store.compact(self.store.revision())

    def deny(self) -> None:
        self.store.denied = True
        self.store.transact([], [Put("elsewhere", b"wake")])

    def allow(self) -> None:
        self.store.denied = False


def parse_words(path: str, content: bytes) -> Parsed:
    facts: dict[Hashable, Any] = {}
    refused: set[Hashable] = set()
    problems: list[Problem] = []
    for line in content.decode().splitlines():
        key, _, word = line.partition("=")
        if word == "!":
            refused.add(key)
            problems.append(Problem("MS1000", "error", key, "is odd", "Write another", file=path))
        else:
            facts[key] = word
    return Parsed(facts, frozenset(refused), tuple(problems))


def read_word(key: str, value: bytes | None) -> Change:
    name = key.removeprefix("objects/")
    if value is None:
        return Remove(name)
    if value == b"!":
        return Refuse(name, (Problem("MS1000", "error", name, "is odd", "Write another"),))
    return Upsert(name, value.decode(), object=name)


class Run:
    """A source under its keeper, its intake, and the facts that came through."""

    def __init__(self, script: Any) -> None:
        self.script = script
        self.clock: TestClock = script.clock
        self.source: Source = script.source
        self.facts: dict[Hashable, Any] = {}
        self.problems: dict[Hashable, tuple[Any, ...]] = {}
        self.changes = 0
        self.woken = asyncio.Event()
        self.intake = Intake(
            [self.source.name], self.clock, self.woken.set, group_of=lambda _source, key: str(key)[0]
        )

    def drain(self) -> None:
        while taken := self.intake.take():
            for each in taken:
                change = each.change
                self.changes += 1
                if isinstance(change, Upsert):
                    self.facts[change.key] = change.fact
                elif isinstance(change, Remove):
                    del self.facts[change.key]
                elif change.problems:
                    self.problems[change.place] = change.problems
                else:
                    self.problems.pop(change.place, None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Lets the source work, time going on, until the condition holds; the test's time limit ends a
        wait."""
        self.drain()
        while not condition():
            self.clock.advance(500)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.woken.wait(), 0.005)
            self.woken.clear()
            self.drain()

    async def facts_become(self, **facts: str) -> None:
        await self.until(lambda: self.facts == facts)


SCRIPTS = {"files": FilesScript, "store": StoreScript}
Scenario = Callable[[Run], Awaitable[None]]


async def registers_changes_and_removes(run: Run) -> None:
    await run.until(lambda: run.intake.is_synced())
    assert run.facts == {}
    run.script.put("a", "one")
    await run.facts_become(a="one")
    run.script.put("a", "two")
    run.script.put("b", "three")
    await run.facts_become(a="two", b="three")
    run.script.remove("a")
    await run.facts_become(b="three")


async def repeated_content_is_no_change(run: Run) -> None:
    run.script.put("a", "one")
    await run.facts_become(a="one")
    before = run.changes
    run.script.put("b", "two")
    await run.facts_become(a="one", b="two")
    assert run.changes == before + 1


async def one_bad_object_fails_alone_and_its_last_good_fact_stays(run: Run) -> None:
    run.script.put("a", "one")
    run.script.put("b", "two")
    await run.facts_become(a="one", b="two")
    run.script.put("a", "!")
    run.script.put("b", "three")
    await run.facts_become(a="one", b="three")
    await run.until(lambda: bool(run.problems))
    run.script.put("a", "four")
    await run.facts_become(a="four", b="three")
    assert run.problems == {}


async def removed_bad_object_takes_its_last_good_fact_along(run: Run) -> None:
    run.script.put("a", "one")
    await run.facts_become(a="one")
    run.script.put("a", "!")
    await run.until(lambda: bool(run.problems))
    run.script.remove("a")
    await run.facts_become()
    assert run.problems == {}


async def lost_history_leads_to_a_new_listing(run: Run) -> None:
    run.script.put("a", "one")
    run.script.put("b", "two")
    await run.facts_become(a="one", b="two")
    run.script.put("a", "three")
    run.script.remove("b")
    run.script.lose_history()
    await run.facts_become(a="three")


async def denied_source_keeps_its_facts_and_recovers(run: Run) -> None:
    run.script.put("a", "one")
    await run.facts_become(a="one")
    run.script.deny()
    await run.until(lambda: run.intake.health()[0].state == "stale")
    assert run.facts == {"a": "one"}
    assert run.intake.health()[0].reason
    run.script.allow()
    run.script.put("b", "two")
    await run.facts_become(a="one", b="two")
    assert run.intake.health()[0].state == "synced"


async def down_at_start_is_failed_until_it_comes(run: Run) -> None:
    run.script.deny()
    await run.until(lambda: run.intake.health()[0].state == "failed")
    assert not run.intake.is_synced()
    run.script.allow()
    run.script.put("a", "one")
    await run.facts_become(a="one")


async def many_objects_arrive_whole(run: Run) -> None:
    for number in range(1_500):
        run.script.put(f"k{number}", "x")
    await run.facts_become(**{f"k{number}": "x" for number in range(1_500)})


SCENARIOS: list[Scenario] = [
    registers_changes_and_removes,
    repeated_content_is_no_change,
    one_bad_object_fails_alone_and_its_last_good_fact_stays,
    removed_bad_object_takes_its_last_good_fact_along,
    lost_history_leads_to_a_new_listing,
    denied_source_keeps_its_facts_and_recovers,
    down_at_start_is_failed_until_it_comes,
    many_objects_arrive_whole,
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_source(name: str, scenario: Scenario, tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()

    async def play() -> None:
        run = Run(SCRIPTS[name](directory))
        task = asyncio.create_task(keep_source(run.source, run.intake, run.clock, lambda: 0.0))
        try:
            await scenario(run)
        finally:
            task.cancel()  # busy or not, it has to stop
            await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 5)

    asyncio.run(play())
