"""The log: one line a message, in two forms, never more than a reader can take."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from mainstay.telemetry.log import configure, get_log


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    configure()


def test_text_is_one_line_whatever_the_fields_hold() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    get_log("xds").info("stream opened", node="a b", reason='x\n"y"', count=3, empty="")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.rstrip().endswith(r'info xds stream opened node="a b" reason="x\n\"y\"" count=3 empty=""')


def test_json_keeps_numbers() -> None:
    stream = io.StringIO()
    configure(form="json", stream=stream)
    get_log("xds").warning("refused", count=3, name="x")
    told = json.loads(stream.getvalue())
    assert told.pop("time").endswith("Z")
    assert told == {"level": "warning", "room": "xds", "message": "refused", "count": 3, "name": "x"}


def test_levels_by_room() -> None:
    stream = io.StringIO()
    configure("warning", {"xds": "debug"}, stream=stream)
    get_log("xds").debug("seen")
    get_log("graph").info("not seen")
    configure("info", {"xds": "info"}, stream=stream)
    assert "seen" in stream.getvalue()
    assert "not seen" not in stream.getvalue()
    with pytest.raises(ValueError, match="'loud' is no log level"):
        configure("loud")


def test_repeated_message_is_limited_and_counted() -> None:
    stream, clock = io.StringIO(), Clock()
    configure(stream=stream, clock=clock)
    for _ in range(50):
        get_log("xds").info("again")
    get_log("xds").info("another")
    clock.now = 1.5
    get_log("xds").info("again")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 22
    assert lines[-1].endswith("again left_out=30")


def test_long_field_is_cut() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    get_log("xds").info("long", text="x" * 10_000)
    assert len(stream.getvalue()) < 2_100
