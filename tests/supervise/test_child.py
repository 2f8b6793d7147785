"""A child's machine: transcripts of what happens and what is done about it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstay.supervise.child import (
    Child,
    Event,
    Exited,
    Kill,
    Policy,
    Report,
    SetTimer,
    Spawn,
    SpawnFailed,
    Start,
    Stop,
    Terminate,
    TimerFired,
    describe_status,
)


def test_crash_is_followed_by_a_restart_after_a_growing_wait() -> None:
    child = Child(Policy(first_backoff_ms=200, last_backoff_ms=500))
    assert child.handle(Start(), 0) == [Spawn(), Report("started")]
    waits = []
    now = 10
    for _ in range(4):
        report, timer = child.handle(Exited(-9), now)
        assert isinstance(report, Report)
        assert "ended by SIGKILL" in report.reason
        assert isinstance(timer, SetTimer)
        waits.append(timer.at - now)
        now = timer.at
        assert child.handle(TimerFired(), now)[0] == Spawn()
    assert waits == [200, 400, 500, 500]


def test_long_life_forgives_earlier_failures() -> None:
    child = Child(Policy(first_backoff_ms=100, stable_ms=1_000))
    child.handle(Start(), 0)
    child.handle(Exited(1), 1)
    child.handle(TimerFired(), 101)
    _, timer = child.handle(Exited(1), 1_101)
    assert timer == SetTimer(1_201)


def test_too_many_failures_in_a_row_are_final() -> None:
    child = Child(Policy(restarts=1))
    child.handle(Start(), 0)
    child.handle(SpawnFailed("cannot start x: No such file"), 0)
    child.handle(TimerFired(), 200)
    (report,) = child.handle(Exited(1), 201)
    assert report == Report("given up", "exit status 1, 2 times in a row")
    assert child.handle(TimerFired(), 10_000) == []


def test_who_does_not_end_in_time_is_killed() -> None:
    child = Child(Policy(stop_ms=5_000))
    child.handle(Start(), 0)
    assert child.handle(Stop(), 100) == [Terminate(), SetTimer(5_100)]
    assert child.handle(TimerFired(), 5_100) == [Kill()]
    assert child.handle(Exited(-9), 5_101) == [Report("exited", "ended by SIGKILL")]
    assert child.state == "ended"


def test_without_restart_the_end_is_final() -> None:
    child = Child(Policy(restart=False))
    child.handle(Start(), 0)
    assert child.handle(Exited(0), 5) == [Report("exited", "exit status 0")]
    assert child.state == "ended"


def test_status_in_words() -> None:
    assert describe_status(3) == "exit status 3"
    assert describe_status(-15) == "ended by SIGTERM"
    assert describe_status(-200) == "ended by signal 200"


EVENTS = st.sampled_from([Start(), Exited(1), Exited(-9), SpawnFailed("x"), TimerFired(), Stop()])


@given(st.lists(EVENTS, max_size=60))
def test_never_two_processes_and_none_after_stop(events: list[Event]) -> None:
    child, running, stopped = Child(Policy(restarts=3)), 0, False
    for now, event in enumerate(events):
        if isinstance(event, (Exited, SpawnFailed)):
            if running == 0:
                continue
            running = 0
        stopped = stopped or isinstance(event, Stop)
        for command in child.handle(event, now):
            if isinstance(command, Spawn):
                running += 1
                assert not stopped
        assert running <= 1
