"""Real clients call real providers through two sidecars with mutual TLS between them, each pair in every way that it has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Called

pytestmark = pytest.mark.timeout(180)
MEBIBYTES_8 = 8 << 20


def told(called: Called, pattern: str, *arguments: str, **options: Any) -> None:
    """The call fails, and its caller says so in words that match."""
    answer = called.call(*arguments, **options)
    assert answer.value is None, answer
    assert re.search(pattern, f"{answer.error}: {answer.message}"), answer


def test_the_two_understand_each_other_without_a_mesh(called: Called) -> None:
    """What fails here is the peers' own."""
    assert called.call("echo", "hello", at="direct").value == "hello"


def test_a_call_that_waits(called: Called) -> None:
    assert called.call("echo", "wörter, 字").value == "wörter, 字"
    assert called.call("who").value == "plain"


@pytest.mark.capability("one way")
def test_one_way(called: Called) -> None:
    assert called.call("noted").value is not None
    for number in range(3):
        assert called.call("note", f"{number}", how="oneway").value == "sent"
    noted: list[str] = []
    while len(noted) < 3:
        got = called.call("noted").value
        assert got is not None
        noted += [each for each in got.removeprefix("noted:").split(",") if each]
    assert sorted(noted) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=pytest.mark.capability(how)) for how in ("future", "callback")]
)
def test_answers_that_are_fetched_or_delivered(called: Called, how: str) -> None:
    assert called.call("echo", "later", how=how).value == "later"


def test_the_services_exception_reaches_its_caller(called: Called) -> None:
    told(called, called.pair.exception, "fail", "broken")
    assert called.call("echo", "after").value == "after"


def test_the_callers_timeout(called: Called) -> None:
    told(called, called.pair.timeout, "nap", "1200", timeout=300)
    assert called.call("echo", "after").value == "after"


def test_the_sidecars_timeout_is_told_in_the_protocols_words(called: Called) -> None:
    told(called, called.pair.late, "nap", "5000", at="hasty", timeout=30_000)
    assert called.call("echo", "after", at="hasty").value == "after"


def test_bodies_of_8_mebibytes(called: Called) -> None:
    answer = called.call("echo", size=MEBIBYTES_8, how=called.pair.large, timeout=60_000)
    assert answer.value == f"same {MEBIBYTES_8}", answer


def test_a_thousand_calls_at_a_time_on_one_connection(called: Called) -> None:
    burst = called.pair.burst
    for _ in range(1_000 // burst):
        answer = called.call("echo", "call ", count=burst, how=called.pair.together, timeout=60_000)
        assert answer.value == f"{burst}", answer


@pytest.mark.capability("canary by header")
def test_a_header_chooses_the_canary(called: Called) -> None:
    for user, provider in (("kim", "canary"), ("lee", "plain"), ("kim", "canary")):
        assert called.call("who", **{"header.x-user": user}).value == provider


def test_a_provider_dies_and_comes_back(called: Called) -> None:
    assert called.call("who").value == "plain"
    with called.down("plain"):
        failed = called.call("who", timeout=5_000)
        assert failed.value is None, failed
    answers = [called.call("who", timeout=5_000) for _ in range(3)]
    assert [answer.value for answer in answers] == ["plain"] * 3, answers


def test_no_call_is_lost_with_one_of_two_providers(called: Called) -> None:
    assert {called.call("who", at="both").value for _ in range(8)} == {"plain", "canary"}
    burst = called.pair.burst
    called.begin("echo", "call ", at="both", count=burst, how=called.pair.together, timeout=30_000)
    with called.down("canary"):
        answer = called.client.answer()
        assert answer.value == f"{burst}", answer
        assert {called.call("who", at="both").value for _ in range(8)} == {"plain"}
