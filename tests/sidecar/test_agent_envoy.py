"""An Envoy beside an agent, as a transcript: when it starts, is ready, drains, and is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstay.sidecar.agent.envoy import (
    LOOK_MS,
    PATIENCE,
    STEADY_MS,
    BeginDrain,
    CountActive,
    Counted,
    DrainAsked,
    DrainEnded,
    Envoy,
    Event,
    FilesKept,
    Looked,
    LookReady,
    ReadyChanged,
    StopAsked,
    TimePassed,
)
from mainstay.supervise.child import (
    CouldNotStart,
    Crashed,
    Ended,
    Exited,
    Kill,
    Start,
    Terminate,
)


def running() -> Envoy:
    machine = Envoy()
    assert machine.handle(FilesKept(), 0) == [Start()]
    return machine


def ready(now: int = LOOK_MS) -> Envoy:
    machine = running()
    assert machine.handle(TimePassed(), now) == [LookReady()]
    assert machine.handle(Looked(True), now) == [ReadyChanged(True)]
    return machine


def test_it_starts_once_however_many_leaves_come() -> None:
    machine = running()
    assert machine.handle(FilesKept(), 5) == []
    assert machine.starts == 1


def test_it_is_looked_at_often_until_it_is_ready_and_seldom_then() -> None:
    machine = running()
    assert machine.next_deadline() == LOOK_MS
    machine.handle(TimePassed(), LOOK_MS)
    assert machine.handle(Looked(False), LOOK_MS) == []
    assert machine.next_deadline() == 2 * LOOK_MS
    machine.handle(TimePassed(), 2 * LOOK_MS)
    assert machine.handle(Looked(True), 2 * LOOK_MS) == [ReadyChanged(True)]
    assert machine.next_deadline() == 2 * LOOK_MS + STEADY_MS


def test_one_look_in_vain_is_no_failure() -> None:
    machine = ready()
    for _ in range(PATIENCE - 1):
        assert machine.handle(Looked(False), 1_000) == []
    assert machine.handle(Looked(False), 1_000) == [ReadyChanged(False)]


def test_after_a_crash_it_is_not_ready_and_starts_again_with_back_off() -> None:
    machine = ready()
    told = machine.handle(Exited(-11), 20_000)
    assert told == [ReadyChanged(False), Crashed("signal 11", 200)]
    assert machine.handle(TimePassed(), 20_100) == []
    assert machine.handle(TimePassed(), 20_200) == [Start()]
    assert machine.handle(CouldNotStart("no memory"), 20_200) == [Crashed("no memory", 400)]


def test_a_drain_ends_when_nothing_is_under_way_but_not_before_its_least_time() -> None:
    machine = ready()
    assert machine.handle(DrainAsked("inbound", 5_000, 45_000), 1_000) == [BeginDrain("inbound")]
    assert machine.handle(TimePassed(), 5_999) == []
    assert machine.handle(TimePassed(), 6_000) == [CountActive("inbound")]
    assert machine.handle(Counted(3), 6_000) == []
    assert machine.handle(TimePassed(), 6_000 + LOOK_MS) == [CountActive("inbound")]
    assert machine.handle(Counted(0), 6_200) == [DrainEnded(0)]
    assert machine.next_deadline() is None


def test_a_drain_is_cut_at_its_latest() -> None:
    machine = ready()
    machine.handle(DrainAsked("process", 0, 1_000), 0)
    assert machine.handle(Counted(None), 900) == []
    assert machine.next_deadline() == 1_000
    assert machine.handle(TimePassed(), 1_000) == [CountActive("process")]
    assert machine.handle(Counted(2), 1_000) == [DrainEnded(2)]


def test_what_goes_while_it_drains_stays_away() -> None:
    machine = ready()
    machine.handle(DrainAsked("inbound", 5_000, 45_000), 0)
    assert machine.handle(Exited(0), 100) == [
        ReadyChanged(False),
        DrainEnded(0),
        Crashed("exit status 0", 200),
    ]
    assert machine.next_deadline() is None
    assert machine.handle(StopAsked(), 200) == [Ended()]


def test_nothing_that_never_ran_has_to_be_seen_off() -> None:
    machine = Envoy()
    assert DrainEnded(0) in machine.handle(DrainAsked("inbound", 5_000, 45_000), 0)
    assert machine.handle(StopAsked(), 0) == [Ended()]
    assert machine.handle(FilesKept(), 1) == []


def test_it_is_asked_to_end_and_forced_after_its_grace() -> None:
    machine = ready()
    assert machine.handle(StopAsked(), 1_000) == [Terminate()]
    deadline = machine.next_deadline()
    assert deadline is not None
    assert machine.handle(TimePassed(), deadline) == [Kill()]
    assert Ended() in machine.handle(Exited(-9), deadline)


EVENTS: list[Event] = [
    FilesKept(),
    Exited(1),
    CouldNotStart("x"),
    Looked(True),
    Looked(False),
    Counted(0),
    Counted(4),
    Counted(None),
    DrainAsked("inbound", 1_000, 5_000),
    DrainAsked("process", 0, 5_000),
    StopAsked(),
    TimePassed(),
]


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 10_000)), max_size=60))
def test_at_most_one_process_runs_and_a_stop_is_final(steps: list[tuple[Event, int]]) -> None:
    machine, now, alive, stopped = Envoy(), 0, False, False
    for event, later in steps:
        if isinstance(event, Exited | CouldNotStart) and not alive:
            continue
        now += later
        if isinstance(event, Exited | CouldNotStart):
            alive = False
        stopped = stopped or isinstance(event, StopAsked)
        for command in machine.handle(event, now):
            if isinstance(command, Start):
                assert not alive
                assert not stopped
                alive = True
            if isinstance(command, Ended):
                assert not alive or isinstance(event, DrainAsked)
    if not alive:
        assert not machine.ready
