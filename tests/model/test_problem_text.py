"""Problems as people see them."""

from __future__ import annotations

import pytest

from mainstay.model.problem_text import describe_problem


def shown(text: str, column: int) -> tuple[str, str]:
    """The quoted line, and the character that the mark stands below."""
    problem = {"code": "MS1001", "reason": "wrong", "file": "a.yaml", "line": 1, "column": column}
    *_, line, mark = describe_problem(problem, {"a.yaml": text}, coloured=False).splitlines()
    return line.removeprefix("  1 | "), line[mark.index("^")]


def test_the_mark_stands_below_its_place() -> None:
    assert shown("kind: Protokol", 7) == ("kind: Protokol", "P")


@pytest.mark.parametrize("column", [1, 70, 500, 1_000])
def test_of_a_long_line_the_place_is_shown(column: int) -> None:
    text = "x" * (column - 1) + "!" + "y" * (1_000 - column)
    line, marked = shown(text, column)
    assert marked == "!"
    assert len(line) < 170
    assert line.startswith("… ") == (column > 80)
    assert line.endswith(" …") == (column < 900)
