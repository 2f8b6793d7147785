"""What a run comes to: the JSON report, what did not hold, the exit code, the table."""

from __future__ import annotations

import io

import pytest

from mainstay.up.events import Event
from mainstay.up.figures import OUTSIDE, Histogram, Pair
from mainstay.up.file import Expectation, ExpectedPair
from mainstay.up.load import Count
from mainstay.up.machine import wide_listeners
from mainstay.up.report import LoadResult, build_report, exit_code, unmet
from mainstay.up.table import Row, Screen, render, split

FAST = Histogram({1.0: 50.0, 5.0: 100.0, float("inf"): 100.0})
EDGE = Pair("edge", "front", "http", 100, 0, 100, 0, {"v1": 100}, FAST)
REVIEWS = Pair("front", "reviews", "http", 100, 0, 100, 0, {"v1": 90, "v2": 10}, FAST)
BILL = Pair(OUTSIDE, "front", "http", 3, 0, 0, 3, {"v1": 3}, FAST)
LOAD = LoadResult("edge", Count(sent=100, succeeded=100))


def problems(pairs: list[Pair], expect: Expectation = Expectation(), load: LoadResult = LOAD) -> list[str]:
    return unmet(pairs, [load], expect, whole=True, restarted=False)


def test_a_good_run_has_nothing_to_say() -> None:
    expect = Expectation(
        mtls=True,
        pairs=(
            ExpectedPair("edge", "front", 100, p99=5, mtls=True),
            ExpectedPair("front", "reviews", versions={"v2": 5.0}),
        ),
    )
    assert problems([EDGE, REVIEWS, BILL], expect) == []


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        (Expectation(mtls=False), "edge → front (http): mutual TLS was used"),
        (
            Expectation(pairs=(ExpectedPair("edge", "front", 101),)),
            "edge → front: 100 requests, at least 101 were expected",
        ),
        (
            Expectation(pairs=(ExpectedPair("front", "cart"),)),
            "front → cart: 0 requests, at least 1 were expected",
        ),
        (
            Expectation(pairs=(ExpectedPair("edge", "front", p99=1),)),
            "edge → front: p99 was 4.9 ms, at most 1 ms was expected",
        ),
        (
            Expectation(pairs=(ExpectedPair("front", "reviews", versions={"v2": 50.0}),)),
            "front → reviews: version v2 had 10.0 %, at least 50 % was expected",
        ),
    ],
)
def test_what_does_not_hold_is_said(expect: Expectation, said: str) -> None:
    assert said in problems([EDGE, REVIEWS], expect)


def test_failures_count_whoever_saw_them() -> None:
    failed = Pair("front", "reviews", "http", 100, 2, 100)
    assert problems([EDGE, failed]) == ["front → reviews (http): 2 of 100 failed"]
    assert problems([EDGE, failed], Expectation(failures=2)) == []
    broken = LoadResult("edge", Count(sent=100, succeeded=99, failed=1, last_failure="status 503"))
    assert problems([EDGE], load=broken) == ["load on edge: 1 of 100 failed, the last with: status 503"]


def test_figures_that_disagree_are_said_unless_a_proxy_was_restarted() -> None:
    missing = Pair("edge", "front", "http", 98, 0, 98)
    said = ["load on edge: 100 requests were made, but its proxy reports 98"]
    assert problems([missing]) == said
    assert unmet([missing], [LOAD], Expectation(), whole=True, restarted=True) == []


def test_a_run_that_was_cut_short_is_judged_by_failures_alone() -> None:
    expect = Expectation(pairs=(ExpectedPair("a", "b"),))
    assert unmet([EDGE], [LOAD], expect, whole=False, restarted=False) == []


@pytest.mark.parametrize(
    ("gave_up", "count", "interrupted", "code"),
    [
        (False, 0, False, 0),
        (False, 1, False, 1),
        (True, 1, False, 5),
        (False, 0, True, 130),
        (False, 1, True, 1),
    ],
)
def test_exit_codes(gave_up: bool, count: int, interrupted: bool, code: int) -> None:
    assert exit_code(gave_up=gave_up, unmet_count=count, interrupted=interrupted) == code


def test_the_report_has_the_promised_shape() -> None:
    report = build_report([EDGE, BILL], [LOAD], [Event(7, "ready", "front", "answers")], ["x"])
    assert report["pairs"][0] == {
        "source": "edge",
        "destination": "front",
        "protocol": "http",
        "requests": 100,
        "failures": 0,
        "p50_ms": 1.0,
        "p99_ms": 4.92,
        "mtls": True,
        "versions": {"v1": 100},
    }
    assert report["pairs"][1]["mtls"] is None
    assert report["load"] == [
        {"gateway": "edge", "requests": 100, "succeeded": 100, "failures": 0, "reported": 100}
    ]
    assert report["events"] == [{"at_ms": 7, "what": "ready", "who": "front", "text": "answers"}]
    assert report["unmet"] == ["x"]


def test_the_table_shows_pairs_and_the_split_of_now() -> None:
    row = Row(REVIEWS, 12.5, {"v1": 1, "v2": 3})
    picture = render("title", [row], ["an event"], ["a hint"])
    assert "front" in picture
    assert "12.5" in picture
    assert "v1 25 % · v2 75 %" in picture
    assert picture.splitlines()[-3:] == ["an event", "", "a hint"]
    assert split({"v1": 5}) == ""


def test_without_a_terminal_there_are_plain_lines() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.note("a line")
    screen.open()
    for _ in range(Screen.EVERY):
        screen.show("title", [Row(EDGE, 5.0)], [])
    screen.close()
    assert stream.getvalue().splitlines() == [
        "a line",
        "edge → front (http) 5.0/s, success 100.00 %, p50 1.00 ms, p99 4.92 ms, mTLS yes",
    ]


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4650 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1
   1: 00000000:4651 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1
   2: 00000000:4652 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1
   3: 0A00000A:4653 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 13 1
"""
TABLE6 = """\
  sl  local_address rem_address st
   0: 00000000000000000000000000000000:4654 0:0000 0A 0:0 00:0 0 0 0 14 1
   1: 00000000000000000000000001000000:4655 0:0000 0A 0:0 00:0 0 0 0 15 1
   2: 0000000000000000FFFF00000100007F:4656 0:0000 0A 0:0 00:0 0 0 0 16 1
"""


def test_only_own_listeners_beyond_loopback_are_wide() -> None:
    inodes = {"11", "12", "13", "14", "15", "16"}
    assert wide_listeners([TABLE, TABLE6], inodes) == ["0.0.0.0:18001", "[::]:18004"]
