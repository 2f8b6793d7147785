"""Which of several measurements counts."""

from __future__ import annotations

import pytest
from bench.traffic import MOST_OTHERS, TRIES, quietest


@pytest.mark.parametrize(
    ("others", "chosen", "tries"),
    [([1.0, 0.0], 1.0, 1), ([MOST_OTHERS + 1, 3.0], 3.0, 2), ([60.0, 80.0], 60.0, TRIES)],
    ids=["the first that is quiet", "again if it was disturbed", "the least disturbed"],
)
def test_the_quietest_counts(others: list[float], chosen: float, tries: int) -> None:
    made: list[float] = []

    def measure() -> dict[str, float]:
        made.append(others[len(made)])
        return {"others %": made[-1]}

    assert quietest(measure) == {"others %": chosen}
    assert len(made) == tries
