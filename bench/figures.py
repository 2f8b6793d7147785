"""Arithmetic of the benchmarks: medians, ratios paired inside a round, bars and whether they hold.

In: rounds (figures of each peer, by name). Out: plain values. Pure.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Figures = Mapping[str, float]
Round = Mapping[str, Figures]
"""One round: each peer's figures, by peer and by name."""
OWN = "mainstay"


class Bar(NamedTuple):
    """What a figure must reach: at most `must` times that of `peer`, or at least so much of it; without a peer, so much itself.

    `must` None: there is only an aim. `beyond`: what the peer's figure is raised by before, in its own unit.
    """

    metric: str
    peer: str | None
    must: float | None
    aim: float | None = None
    at_least: bool = False
    beyond: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.metric} × {self.peer}" if self.peer else self.metric

    def reached(self, value: float, limit: float) -> bool:
        return value >= limit if self.at_least else value <= limit


class Outcome(NamedTuple):
    """`value` None: the peer, or the figure, is not there, and the bar is open."""

    bar: Bar
    value: float | None

    @property
    def holds(self) -> bool | None:
        if self.value is None or self.bar.must is None:
            return None
        return self.bar.reached(self.value, self.bar.must)

    @property
    def reaches_aim(self) -> bool | None:
        if self.value is None or self.bar.aim is None:
            return None
        return self.bar.reached(self.value, self.bar.aim)

    def as_json(self) -> dict[str, Any]:
        bar = self.bar
        told = {"bar": bar.label, "value": self.value, "must": bar.must, "holds": self.holds}
        if bar.aim is not None:
            told |= {"aim": bar.aim, "reaches_aim": self.reaches_aim}
        return told


def medians(rounds: Sequence[Round]) -> dict[str, dict[str, float]]:
    """Of each figure of each peer over the rounds that have it; sums for `failed`, which no round may hide."""
    found: dict[str, dict[str, float]] = {}
    for peer in dict.fromkeys(peer for each in rounds for peer in each):
        own = [each[peer] for each in rounds if peer in each]
        found[peer] = {}
        for name in dict.fromkeys(name for figures in own for name in figures):
            values = [figures[name] for figures in own if name in figures]
            found[peer][name] = sum(values) if name == "failed" else round(statistics.median(values), 3)
    return found


def ratio(rounds: Sequence[Round], metric: str, peer: str, beyond: float = 0.0) -> float | None:
    """Median of ours by the peer's, paired round by round; None where either is missing or the peer's is nothing."""
    pairs = [
        each[OWN][metric] / (each[peer][metric] + beyond)
        for each in rounds
        if metric in each.get(OWN, {}) and each.get(peer, {}).get(metric, 0.0) + beyond > 0
    ]
    return round(statistics.median(pairs), 3) if pairs else None


def judge(rounds: Sequence[Round], bars: Sequence[Bar]) -> list[Outcome]:
    """Each bar against these rounds."""
    outcomes = []
    for bar in bars:
        if bar.peer is not None:
            outcomes.append(Outcome(bar, ratio(rounds, bar.metric, bar.peer, bar.beyond)))
        else:
            outcomes.append(Outcome(bar, medians(rounds).get(OWN, {}).get(bar.metric)))
    return outcomes


def verdict(outcome: Outcome) -> str:
    """A word or a few."""
    if outcome.value is None:
        return "not measured"
    match outcome.holds, outcome.reaches_aim:
        case None, reached:
            return "aim reached" if reached else "aim missed"
        case True, True:
            return "holds, aim reached"
        case True, _:
            return "holds"
        case _:
            return "MISSED"


def added(round_: Round, direct: str, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """The round with `added NAME` for each latency: what is more than without a proxy, at least nothing."""
    if direct not in round_:
        return {peer: dict(figures) for peer, figures in round_.items()}
    return {
        peer: dict(figures)
        | {
            f"added {name}": max(0.0, figures[name] - round_[direct][name])
            for name in names
            if peer != direct and name in figures
        }
        for peer, figures in round_.items()
    }
