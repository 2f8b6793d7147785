"""Registrations of connected workloads: who owns them, how long they stay, what a restart keeps."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mainstay.model.application import Application
from mainstay.model.endpoints import Health
from mainstay.model.key import ObjectKey, WorkloadKey
from mainstay.model.workload import Registration
from mainstay.sources import Batch, Remove, Upsert
from mainstay.sources.workloads import Machine, WorkloadsSource
from mainstay.sources.workloads.machine import REPORT_LIFE_MS
from mainstay.store import MemoryStore

GRACE = 10_000
KEY = WorkloadKey("shop", "cart-1")


def claim(name: str = "cart-1", group: str | None = "cart") -> Registration:
    owner = ObjectKey("shop", group) if group else None
    return Registration(WorkloadKey("shop", name), owner, ("127.0.0.9",), (("app", "cart"),))


def test_member_of_a_group_is_forgotten_a_grace_after_its_stream_ended() -> None:
    machine = Machine(GRACE)
    machine.open_stream("a", claim(), 0)
    machine.report("a", Health.HEALTHY, 5)
    machine.close_stream("a", 1_000)
    machine.pass_time(1_000 + GRACE - 1)
    assert machine.records()[KEY].registration.health is Health.HEALTHY
    machine.pass_time(1_000 + GRACE)
    assert machine.take_changed() == {KEY: None}


def test_newest_stream_owns_and_the_end_of_an_older_one_changes_nothing() -> None:
    machine = Machine(GRACE)
    machine.open_stream("a", claim(), 0)
    machine.report("a", Health.HEALTHY, 1)
    machine.open_stream("b", claim(), 2)
    machine.take_changed()
    machine.report("a", Health.UNHEALTHY, 3)
    machine.close_stream("a", 4)
    machine.pass_time(10 * GRACE)
    assert machine.take_changed() == {}
    assert machine.records()[KEY].registration.health is Health.HEALTHY


def test_what_an_application_registered_outlives_its_stream_and_a_restart() -> None:
    told = Application(published=("com.example.Hello:1.0",), port=12_200)
    serving = msgspec.structs.replace(claim(), application=Application())
    machine = Machine(GRACE)
    machine.open_stream("a", serving, 0)
    machine.tell("a", told, 1)
    machine.close_stream("a", 2)
    again = Machine(GRACE)
    again.restore(list(machine.records().values()), 3)
    again.open_stream("b", serving, 4)
    assert again.records()[KEY].registration.application == told
    again.tell("b", Application(), 5)
    assert again.records()[KEY].registration.application == Application()
    again.tell("a", told, 6)
    assert again.records()[KEY].registration.application == Application(), (
        "the stream is not its own any more"
    )
    # A sidecar that serves no registry API any more has nothing registered.
    again.tell("b", told, 7)
    again.open_stream("c", claim(), 8)
    assert again.records()[KEY].registration.application is None


def test_unhealthy_leaves_at_once_and_comes_back_with_its_report() -> None:
    machine = Machine(GRACE)
    machine.open_stream("a", claim(), 0)
    seen = []
    for now, health in enumerate((Health.HEALTHY, Health.UNHEALTHY, Health.UNHEALTHY, Health.HEALTHY)):
        machine.report("a", health, now)
        seen.append([each.registration.health for each in machine.take_changed().values() if each])
    assert seen == [[Health.HEALTHY], [Health.UNHEALTHY], [], [Health.HEALTHY]]


def test_who_drained_and_left_has_no_grace() -> None:
    machine = Machine(GRACE)
    machine.open_stream("a", claim(), 0)
    machine.report("a", Health.DRAINING, 1)
    machine.close_stream("a", 2)
    machine.pass_time(2)
    assert machine.records() == {}


def test_bad_report_on_a_written_workload_stands_until_a_new_process_comes() -> None:
    machine = Machine(GRACE)
    machine.open_stream("a", claim(group=None), 0)
    machine.report("a", Health.DRAINING, 1)
    machine.close_stream("a", 2)
    machine.pass_time(2 + 100 * GRACE)
    assert machine.records()[KEY].registration.health is Health.DRAINING
    assert machine.next_deadline() == 2 + REPORT_LIFE_MS
    machine.open_stream("b", claim(group=None), 3 + 100 * GRACE)
    assert machine.records()[KEY].registration.health is Health.UNKNOWN


def test_restart_keeps_what_was_there_and_waits_for_who_was_connected() -> None:
    before = Machine(GRACE)
    before.open_stream("a", claim(), 0)
    before.report("a", Health.HEALTHY, 1)
    before.open_stream("b", claim("cart-2"), 2)
    before.close_stream("b", 3)
    after = Machine(GRACE)
    after.restore(list(before.records().values()), 5_000)
    assert after.records()[KEY].registration.health is Health.HEALTHY
    assert after.waits_for_known()
    after.open_stream("c", claim(), 6_000)
    assert not after.waits_for_known()
    after.pass_time(3 + GRACE)
    assert set(after.records()) == {KEY}
    late = Machine(GRACE)
    late.restore(list(before.records().values()), 5_000)
    late.take_changed()
    late.pass_time(5_000 + GRACE)
    assert not late.waits_for_known()
    assert KEY in late.take_changed()  # so that what waited is looked at again


def test_outage_longer_than_the_grace_takes_nobody_out_of_rotation() -> None:
    """A sidecar that backs off comes back within half a minute."""
    before = Machine(GRACE)
    before.open_stream("a", claim(), 0)
    before.report("a", Health.HEALTHY, 1)
    after = Machine(GRACE)
    after.restore(list(before.records().values()), 1_000_000)
    after.pass_time(1_030_000)
    assert after.records()[KEY].registration.health is Health.HEALTHY
    after.open_stream("b", claim(), 1_030_000)
    after.pass_time(2_000_000)
    assert after.records()[KEY].connected
    gone = Machine(GRACE)
    gone.restore(list(before.records().values()), 1_000_000)
    gone.pass_time(1_040_000)
    assert gone.records() == {}


Event = tuple[str, int, int]


@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "report", "close", "pass"]), st.integers(0, 4), st.integers(0, 3))
    )
)
def test_whatever_happens_only_streams_and_time_decide_who_is_known(events: list[Event]) -> None:
    """Model: a workload is known while its newest stream is open, and at most a grace longer."""
    machine, now = Machine(GRACE), 0
    newest: dict[WorkloadKey, str] = {}
    open_streams: set[str] = set()
    for number, (what, who, health) in enumerate(events):
        now += 1_000
        stream = f"s{who}"
        key = WorkloadKey("shop", f"w{who % 3}")
        if what == "open" and stream not in open_streams:
            open_streams.add(stream)
            newest[key] = stream
            machine.open_stream(stream, claim(key.name), now)
        elif what == "report":
            machine.report(stream, Health(health), now)
        elif what == "close":
            open_streams.discard(stream)
            machine.close_stream(stream, now)
        machine.pass_time(now)
        known = machine.records()
        for each, owner in newest.items():
            if owner in open_streams:
                assert each in known, number
    machine.pass_time(now + GRACE)
    assert set(machine.records()) == {key for key, stream in newest.items() if stream in open_streams}


class Sink:
    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.told = asyncio.Event()

    async def put(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.told.set()

    async def next(self) -> Batch:
        while not self.batches:
            self.told.clear()
            await asyncio.wait_for(self.told.wait(), 10)
        return self.batches.pop(0)


def test_source_brings_changes_and_persists_them() -> None:
    async def scenario() -> None:
        store, now = MemoryStore(), [0]
        source = WorkloadsSource("workloads", store, Machine(GRACE), lambda: now[0], "me")
        sink = Sink()
        assert source.waits
        task = asyncio.create_task(source.run(sink, 1))
        assert (await sink.next()).synced
        assert not source.waits
        source.open_stream("a", claim())
        change: Any = (await sink.next()).changes[0]
        assert isinstance(change, Upsert)
        assert change.fact.owner == "me"
        now[0] = 100
        source.report("a", Health.DRAINING)
        source.close_stream("a")
        batch = await sink.next()
        while not isinstance(batch.changes[-1], Remove):
            batch = await sink.next()
        task.cancel()
        again = WorkloadsSource("workloads", store, Machine(GRACE), lambda: now[0])
        task = asyncio.create_task(again.run(sink, 1))
        listing = await sink.next()
        assert all(each.key == KEY for each in listing.changes)
        task.cancel()

    asyncio.run(scenario())
