"""Inbound listeners whose address is taken, step by step."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.convert.table import Encoded
from mainstay.sidecar.doors import FIRST_MS, LONGEST_MS, Doors


def listener(name: str = "in", digest: str = "1", inbound: bool = True) -> Encoded:
    return Encoded("listener", name, digest, b"", inbound=inbound)


def nothing(_: Reference) -> str | None:
    return None


def test_only_inbound_listeners_stand_in_the_way() -> None:
    doors = Doors()
    doors.offered(listener("out", inbound=False))
    doors.refused("out", "is taken", 0)
    assert doors.trouble == ""
    assert doors.next_deadline() is None


def test_a_listener_that_turns_outbound_or_goes_is_in_nobodys_way() -> None:
    ends: list[Callable[[Doors], None]] = [
        lambda doors: doors.offered(listener(inbound=False)),
        lambda doors: doors.gone("in"),
    ]
    for end in ends:
        doors = Doors()
        doors.offered(listener())
        doors.refused("in", "is taken", 0)
        assert doors.trouble == "listener in: is taken"
        end(doors)
        assert doors.trouble == ""


def test_what_is_in_force_is_open_again_and_an_older_version_is_not() -> None:
    doors = Doors()
    doors.offered(listener(digest="2"))
    doors.refused("in", "is taken", 0)
    assert not doors.judged(lambda _: "1")
    assert doors.judged(lambda _: "2")
    assert not doors.judged(lambda _: "2"), "told once"
    assert doors.trouble == ""


@given(st.lists(st.integers(0, 40_000), max_size=50))
def test_it_is_tried_again_ever_more_slowly_for_ever(steps: list[int]) -> None:
    doors, now, tried, waits = Doors(), 0, 0, FIRST_MS
    doors.offered(listener())
    doors.refused("in", "is taken", now)
    for step in steps:
        deadline = doors.next_deadline()
        assert deadline is not None
        assert deadline - tried == waits
        now += step
        due = doors.due(now)
        assert bool(due) == (now >= deadline)
        if due:
            assert due == (listener(),)
            tried, waits = now, min(2 * waits, LONGEST_MS)
            doors.refused("in", "is taken still", now)
            assert doors.trouble == "listener in: is taken still"
        assert not doors.judged(nothing)
