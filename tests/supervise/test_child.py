"""A child starts, crashes, waits, restarts and ends, as events and commands."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mainstay.supervise import child as c
from mainstay.supervise.child import BackOff, Child

GRACE = 1_000


def started(back_off: BackOff | None = None) -> Child:
    child = Child(back_off or BackOff(), GRACE)
    assert child.handle(c.StartAsked(), 0) == [c.Start()]
    return child


def test_a_crash_is_told_and_followed_by_a_restart() -> None:
    child = started()
    assert child.handle(c.Exited(-9), 50) == [c.Crashed("signal 9", 200), c.SetTimer(250)]
    assert child.handle(c.TimerFired(), 250) == [c.Start()]


def test_waits_double_up_to_the_last() -> None:
    child, now, delays = started(), 0, []
    for _ in range(8):
        [crashed, timer] = child.handle(c.Exited(1), now)
        assert isinstance(crashed, c.Crashed)
        assert isinstance(timer, c.SetTimer)
        delays.append(crashed.delay)
        now = timer.at
        child.handle(c.TimerFired(), now)
    assert delays == [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]


def test_a_child_that_ran_long_starts_again_soon() -> None:
    child = started()
    child.handle(c.Exited(1), 0)
    child.handle(c.TimerFired(), 200)
    assert child.handle(c.Exited(1), 10_200)[0] == c.Crashed("exit status 1", 200)


def test_a_child_that_always_fails_is_given_up() -> None:
    child = started(BackOff(attempts=2))
    child.handle(c.CouldNotStart("no such program"), 0)
    child.handle(c.TimerFired(), 200)
    assert child.handle(c.CouldNotStart("no such program"), 200) == [
        c.GaveUp("no such program"),
        c.Ended(),
    ]


def test_a_stop_is_asked_for_then_forced() -> None:
    child = started()
    assert child.handle(c.StopAsked(), 10) == [c.Terminate(), c.SetTimer(10 + GRACE)]
    assert child.handle(c.TimerFired(), 10 + GRACE) == [c.Kill()]
    assert child.handle(c.Exited(-9), 1_100) == [c.Ended()]


def test_a_second_stop_forces_at_once() -> None:
    child = started()
    child.handle(c.StopAsked(), 10)
    assert child.handle(c.StopAsked(), 11) == [c.Kill()]


def test_a_restart_is_nobodys_failure() -> None:
    child = started()
    assert child.handle(c.RestartAsked(), 10) == [c.Terminate(), c.SetTimer(10 + GRACE)]
    assert child.handle(c.Exited(0), 20) == [c.Start()]
    assert child.handle(c.Exited(1), 30)[0] == c.Crashed("exit status 1", 200)


def test_a_stop_during_a_restart_ends_it() -> None:
    child = started()
    child.handle(c.RestartAsked(), 10)
    assert child.handle(c.StopAsked(), 15) == []
    assert child.handle(c.Exited(0), 20) == [c.Ended()]


@pytest.mark.parametrize("before", [[], [c.StartAsked(), c.Exited(1)]])
def test_who_does_not_run_ends_at_once(before: list[c.Event]) -> None:
    child = Child(BackOff(), GRACE)
    for event in before:
        child.handle(event, 0)
    assert child.handle(c.StopAsked(), 1) == [c.Ended()]


class AnyOrder(RuleBasedStateMachine):
    """Events in any order a world can bring them."""

    def __init__(self) -> None:
        super().__init__()
        self.child = Child(BackOff(attempts=5), GRACE)
        self.now, self.running, self.timer = 0, 0, -1
        self.ended = self.stopped = False
        self.killed = False

    def perform(self, event: c.Event) -> None:
        for command in self.child.handle(event, self.now):
            match command:
                case c.Start():
                    assert not self.ended
                    self.running, self.killed = self.running + 1, False
                case c.SetTimer(at):
                    assert at >= self.now
                    self.timer = at
                case c.Kill():
                    self.killed = True
                case c.Ended():
                    assert not self.ended, "ends once"
                    self.ended = True

    @rule(event=st.sampled_from([c.StartAsked(), c.RestartAsked()]))
    def ask(self, event: c.Event) -> None:
        self.perform(event)

    @rule()
    def stop(self) -> None:
        self.stopped = True
        self.perform(c.StopAsked())

    @rule(status=st.integers(-9, 3))
    def exit(self, status: int) -> None:
        if self.running:
            self.running -= 1
            self.perform(c.Exited(status))

    @rule(wait=st.integers(0, 20_000))
    def wait(self, wait: int) -> None:
        self.now += wait
        if 0 <= self.timer <= self.now:
            self.timer = -1
            self.perform(c.TimerFired())

    @invariant()
    def at_most_one_runs(self) -> None:
        assert self.running <= 1

    @invariant()
    def a_stop_leads_to_an_end(self) -> None:
        if self.stopped and not self.ended:
            assert self.running
            assert self.timer >= 0 or self.killed


TestAnyOrder = AnyOrder.TestCase
