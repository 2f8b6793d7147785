"""The arithmetic of the benchmarks: what is paired, what holds, what stays open."""

from __future__ import annotations

import pytest
from bench.figures import Bar, Outcome, added, judge, medians, ratio, verdict
from hypothesis import given
from hypothesis import strategies as st

ROUNDS = [
    {"envoy": {"CPU µs": 100.0, "failed": 0.0}, "mainstay": {"CPU µs": 20.0, "failed": 1.0}},
    {"envoy": {"CPU µs": 50.0, "failed": 0.0}, "mainstay": {"CPU µs": 20.0, "failed": 0.0}},
    {"envoy": {"CPU µs": 80.0, "failed": 0.0}, "mainstay": {"CPU µs": 24.0, "failed": 2.0}},
]


def test_ratios_are_paired_inside_a_round_before_their_median_is_taken() -> None:
    # 0.2, 0.4, 0.3: not the ratio of the medians, 0.25.
    assert ratio(ROUNDS, "CPU µs", "envoy") == 0.3


def test_medians_are_of_what_was_measured_and_failures_are_summed() -> None:
    found = medians([*ROUNDS, {"envoy": {"CPU µs": 90.0}}])
    assert found["envoy"] == {"CPU µs": 85.0, "failed": 0.0}
    assert found["mainstay"] == {"CPU µs": 20.0, "failed": 3.0}


def test_a_peer_that_did_not_run_leaves_its_bar_open() -> None:
    (outcome,) = judge(ROUNDS, [Bar("CPU µs", "haproxy", 1.0)])
    assert (outcome.value, outcome.holds, verdict(outcome)) == (None, None, "not measured")


@pytest.mark.parametrize(
    ("bar", "value", "word"),
    [
        (Bar("CPU µs", "envoy", 0.27, 0.2), 0.3, "MISSED"),
        (Bar("CPU µs", "envoy", 0.3, 0.2), 0.3, "holds"),
        (Bar("CPU µs", "envoy", 0.4, 0.3), 0.3, "holds, aim reached"),
        (Bar("GB/CPU s", "envoy", 1.0, 1.3, at_least=True), 0.9, "MISSED"),
        (Bar("GB/CPU s", "envoy", 1.0, 1.3, at_least=True), 1.2, "holds"),
        (Bar("GB/CPU s", "envoy", 1.0, 1.3, at_least=True), 1.3, "holds, aim reached"),
    ],
)
def test_a_bar_holds_at_its_limit(bar: Bar, value: float, word: str) -> None:
    assert verdict(Outcome(bar, value)) == word


def test_a_bar_without_a_peer_is_about_our_own_figure() -> None:
    (outcome,) = judge(ROUNDS, [Bar("CPU µs", None, 21)])
    assert (outcome.value, outcome.holds) == (20.0, True)


def test_an_allowance_is_added_to_the_peer() -> None:
    rounds = [{"envoy": {"ms": 2.0}, "mainstay": {"ms": 4.0}}]
    assert ratio(rounds, "ms", "envoy") == 2.0
    assert ratio(rounds, "ms", "envoy", beyond=2.0) == 1.0


def test_added_latency_is_what_is_more_than_without_a_proxy() -> None:
    found = added({"direct": {"p50": 10.0}, "a": {"p50": 14.0}, "b": {"p50": 9.0}}, "direct", ("p50",))
    assert found["a"]["added p50"] == 4.0
    assert found["b"]["added p50"] == 0.0, "noise does not make a proxy quicker than none"
    assert "added p50" not in found["direct"]


@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=1, max_size=9))
def test_a_ratio_lies_between_those_of_its_rounds(pairs: list[tuple[float, float]]) -> None:
    rounds = [{"mainstay": {"x": own}, "envoy": {"x": peer}} for own, peer in pairs]
    found = ratio(rounds, "x", "envoy")
    each = [own / peer for own, peer in pairs]
    assert found is not None
    assert min(each) - 0.001 <= found <= max(each) + 0.001
