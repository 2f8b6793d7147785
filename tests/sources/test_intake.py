"""The intake: coalescing, epochs, the guard against vanishing registries, turns, back-pressure."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from mainstay.sources import Batch, Change, Intake, Refuse, Remove, Upsert
from mainstay.sources.intake import MAX_UNREAD, TURN_CHANGES
from mainstay.sources.keep import backoff_ms


class Clock:
    def __init__(self) -> None:
        self.time = 0

    def now(self) -> int:
        return self.time

    async def sleep(self, ms: int) -> None:
        raise AssertionError(f"the intake never sleeps, not for {ms} ms")


def build(*sources: str, clock: Clock | None = None) -> Intake:
    return Intake(
        sources or ("s",), clock or Clock(), lambda: None, group_of=lambda _source, key: str(key)[0]
    )


def offer(intake: Intake, *changes: Change, epoch: int = 1, synced: bool = False, source: str = "s") -> None:
    intake.take_in(Batch(source, epoch, changes, synced=synced))


def take(intake: Intake) -> dict[object, object]:
    return {
        each.change.place if isinstance(each.change, Refuse) else each.change.key: each.change
        for each in intake.take()
    }


def test_newer_change_of_a_key_replaces_the_unread_one() -> None:
    intake = build()
    for number in range(5):
        offer(intake, Upsert("a1", number))
    assert take(intake) == {"a1": Upsert("a1", 4)}
    offer(intake, Upsert("a1", 5), Remove("a1"))
    assert take(intake) == {"a1": Remove("a1")}


def test_keys_missing_from_a_listing_go_when_it_is_complete_and_never_before() -> None:
    intake = build()
    offer(intake, Upsert("a1", 1), Upsert("b1", 1), synced=True)
    take(intake)
    offer(intake, Upsert("a1", 1), epoch=2)
    assert take(intake) == {"a1": Upsert("a1", 1)}
    offer(intake, epoch=2, synced=True)
    assert take(intake) == {"b1": Remove("b1")}


def test_late_batch_of_an_old_listing_is_ignored() -> None:
    intake = build()
    offer(intake, Upsert("a1", 2), epoch=2, synced=True)
    offer(intake, Upsert("a1", 1), epoch=1)
    assert take(intake) == {"a1": Upsert("a1", 2)}


def test_listing_that_empties_a_group_is_held() -> None:
    clock = Clock()
    intake = build(clock=clock)
    offer(intake, *(Upsert(f"a{number}", 1) for number in range(4)), Upsert("b1", 1), synced=True)
    take(intake)
    offer(intake, Upsert("a0", 1), epoch=2, synced=True)
    assert take(intake) == {"a0": Upsert("a0", 1), "b1": Remove("b1")}, "small groups are not held"
    assert intake.held_keys("s") == ["a1", "a2", "a3"]
    assert intake.next_deadline() == 30_000
    offer(intake, Upsert("a1", 1), Remove("a2"), epoch=2)
    assert take(intake) == {"a1": Upsert("a1", 1), "a2": Remove("a2")}, "explicit removals are not held"
    clock.time = 30_000
    assert take(intake) == {"a3": Remove("a3")}
    assert intake.holds == 3


def test_half_of_a_group_may_go_at_once() -> None:
    intake = build()
    offer(intake, *(Upsert(f"a{number}", 1) for number in range(4)), synced=True)
    take(intake)
    offer(intake, Upsert("a0", 1), Upsert("a1", 1), epoch=2, synced=True)
    assert {key for key, change in take(intake).items() if isinstance(change, Remove)} == {"a2", "a3"}


def test_refusals_are_cleared_by_a_good_change_and_by_a_listing_without_them() -> None:
    intake = build()
    offer(intake, Refuse("a1", ("odd",)), Refuse("b1", ("odd",)), synced=True)
    take(intake)
    offer(intake, Upsert("a1", 1))
    assert [each.change for each in intake.take()] == [Refuse("a1", ()), Upsert("a1", 1)]
    offer(intake, Upsert("a1", 1), epoch=2, synced=True)
    assert Refuse("b1", ()) in [each.change for each in intake.take()]


def test_sources_take_turns() -> None:
    intake = build("s", "t")
    offer(intake, *(Upsert(f"a{number}", 1) for number in range(TURN_CHANGES + 1)))
    offer(intake, Upsert("b", 1), source="t")
    first = intake.take()
    assert {each.source for each in first} == {"s", "t"}
    assert len(first) == TURN_CHANGES + 1
    assert intake.has_unread


def test_full_source_waits_and_others_do_not() -> None:
    async def play() -> None:
        intake = build("s", "t")
        await intake.put(Batch("s", 1, tuple(Upsert(f"a{number}", 1) for number in range(MAX_UNREAD + 1))))
        waiting = asyncio.create_task(intake.put(Batch("s", 1, (Upsert("b", 1),))))
        await intake.put(Batch("t", 1, (Upsert("c", 1),)))
        await asyncio.sleep(0)
        assert not waiting.done()
        intake.take()
        await waiting

    asyncio.run(play())


def test_nothing_is_synced_before_every_source_was_read() -> None:
    intake = build("s", "t")
    offer(intake, Upsert("a", 1), synced=True)
    intake.take()
    assert not intake.is_synced()
    offer(intake, Upsert("b", 1), synced=True, source="t")
    assert not intake.is_synced()
    intake.take()
    assert intake.is_synced()
    assert [health.state for health in intake.health()] == ["synced", "synced"]
    offer(intake, Upsert("c", 1))
    assert intake.is_synced()  # a change on its way takes nothing back
    intake.set_state("s", "failed", "down")
    assert intake.is_synced()
    assert intake.health()[0].state == "stale"


@given(st.integers(1, 1_000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_within_its_limits(failures: int, random: float) -> None:
    assert 250 <= backoff_ms(failures, random) <= 30_000


KEYS = st.sampled_from(["a1", "a2", "b1"])
CHANGES = st.one_of(st.builds(Upsert, KEYS, st.integers(0, 3)), st.builds(Remove, KEYS))


@given(st.lists(st.tuples(st.lists(CHANGES, max_size=4), st.booleans(), st.booleans()), max_size=20))
def test_reading_at_any_time_ends_with_the_registrys_content(
    batches: list[tuple[list[Change], bool, bool]],
) -> None:
    intake = build()
    registry: dict[object, object] = {}
    facts: dict[object, object] = {}
    epoch = 1
    offer(intake, synced=True)

    def drain() -> None:
        for each in intake.take():
            if isinstance(each.change, Upsert):
                facts[each.change.key] = each.change.fact
            elif isinstance(each.change, Remove):
                facts.pop(each.change.key, None)

    for changes, listing, read in batches:
        for change in changes:
            if isinstance(change, Upsert):
                registry[change.key] = change.fact
            elif isinstance(change, Remove):
                registry.pop(change.key, None)
        if listing:
            epoch += 1
            offer(intake, *(Upsert(key, fact) for key, fact in registry.items()), epoch=epoch, synced=True)
        else:
            offer(intake, *changes, epoch=epoch)
        if read:
            drain()
    drain()
    assert facts == registry
