"""Readiness, and the order in which a sidecar stops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstay.sidecar.lifecycle import (
    LINGER_MS,
    Command,
    Configured,
    Drain,
    DrainAsked,
    DrainEnded,
    Ended,
    EngineStopped,
    Event,
    IdentityHeld,
    Lifecycle,
    SetReady,
    Shutdown,
    StopAsked,
    TellDraining,
)


def machine(needs_identity: bool = True) -> Lifecycle:
    return Lifecycle(5_000, 45_000, needs_identity)


def ready() -> Lifecycle:
    found = machine(needs_identity=False)
    found.handle(Configured(), 0)
    return found


def test_it_is_ready_with_configuration_and_leaf() -> None:
    for first, second in ((Configured(), IdentityHeld()), (IdentityHeld(), Configured())):
        lifecycle = machine()
        assert lifecycle.handle(first, 0) == []
        assert lifecycle.handle(second, 0) == [SetReady(True)]


def test_without_an_identity_the_configuration_is_enough() -> None:
    assert machine(needs_identity=False).handle(Configured(), 0) == [SetReady(True)]


def test_it_is_told_ready_once() -> None:
    lifecycle = ready()
    assert lifecycle.handle(Configured(), 1) == []
    assert lifecycle.handle(IdentityHeld(), 1) == []


def test_stopping_drains_inbound_then_everything_then_the_engine() -> None:
    lifecycle = ready()
    assert lifecycle.handle(StopAsked(), 100) == [
        SetReady(False),
        TellDraining(),
        Drain("inbound", 5_000, 45_000),
    ]
    assert lifecycle.handle(DrainEnded(), 6_100) == [Drain("process", 0, 39_000)]
    assert lifecycle.handle(DrainEnded(), 6_200) == [Shutdown(LINGER_MS)]
    assert lifecycle.handle(EngineStopped(), 6_300) == [Ended()]


def test_a_drain_leaves_outbound_traffic_until_the_stop() -> None:
    lifecycle = ready()
    assert Drain("inbound", 5_000, 45_000) in lifecycle.handle(DrainAsked(), 0)
    assert lifecycle.handle(DrainEnded(), 5_000) == []
    assert lifecycle.handle(StopAsked(), 6_000) == [Drain("process", 0, 39_000)]


def test_a_stop_during_a_drain_waits_for_it() -> None:
    lifecycle = ready()
    lifecycle.handle(DrainAsked(), 0)
    assert lifecycle.handle(StopAsked(), 1_000) == []
    assert lifecycle.handle(DrainEnded(), 5_000) == [Drain("process", 0, 40_000)]


def test_a_gateway_sees_everything_off() -> None:
    lifecycle = Lifecycle(5_000, 45_000, needs_identity=False, scope="process")
    lifecycle.handle(Configured(), 0)
    assert Drain("process", 5_000, 45_000) in lifecycle.handle(StopAsked(), 0)


def test_a_second_stop_cuts_short() -> None:
    lifecycle = ready()
    lifecycle.handle(StopAsked(), 0)
    assert lifecycle.handle(StopAsked(), 1_000) == [Drain("process", 0, LINGER_MS)]
    assert lifecycle.handle(StopAsked(), 1_100) == [Shutdown(LINGER_MS)]


def test_who_never_was_ready_need_not_wait() -> None:
    assert Drain("inbound", 0, 45_000) in machine().handle(StopAsked(), 0)


EVENTS = st.sampled_from([Configured(), IdentityHeld(), StopAsked(), DrainAsked(), DrainEnded()])


@given(st.lists(EVENTS, max_size=20), st.booleans())
def test_it_never_becomes_ready_again_and_always_ends(events: list[Event], needs_identity: bool) -> None:
    lifecycle = machine(needs_identity)
    out: list[Command] = []
    for now, event in enumerate(events):
        out += lifecycle.handle(event, now)
    readiness = [command.ready for command in out if isinstance(command, SetReady)]
    assert readiness in ([], [True], [False], [True, False])
    # However it came here, being told to stop and what follows from its own commands ends it.
    out += lifecycle.handle(StopAsked(), 100)
    for now in range(101, 110):
        out += lifecycle.handle(DrainEnded(), now)
    assert any(isinstance(command, Shutdown) for command in out)
    assert lifecycle.handle(EngineStopped(), 200) == [Ended()]


def test_it_says_when_the_application_may_be_stopped() -> None:
    lifecycle = ready()
    lifecycle.handle(DrainAsked(), 10)
    assert lifecycle.shown_state == "draining"
    lifecycle.handle(DrainEnded(), 5_010)
    assert lifecycle.shown_state == "drained"
    lifecycle.handle(StopAsked(), 6_000)
    assert lifecycle.shown_state == "stopping"


def test_a_brain_that_takes_over_drains_anew_for_what_is_left_of_the_time() -> None:
    lifecycle = ready()
    assert lifecycle.resume(0) == [SetReady(True)]
    lifecycle.handle(StopAsked(), 0)
    assert lifecycle.resume(20_000) == [SetReady(False), TellDraining(), Drain("inbound", 0, 25_000)]
    lifecycle.handle(DrainEnded(), 21_000)
    assert lifecycle.resume(22_000) == [SetReady(False), Drain("process", 0, 23_000)]
    lifecycle.handle(DrainEnded(), 23_000)
    assert lifecycle.resume(23_001) == [Shutdown(LINGER_MS)]
    lifecycle.handle(EngineStopped(), 23_100)
    assert lifecycle.resume(23_101) == [Ended()]


def test_a_brain_that_takes_over_leaves_a_drained_workload_as_it_is() -> None:
    lifecycle = ready()
    lifecycle.handle(DrainAsked(), 0)
    lifecycle.handle(DrainEnded(), 5_000)
    assert lifecycle.resume(6_000) == [SetReady(False), TellDraining()]
    assert not lifecycle.is_ending
