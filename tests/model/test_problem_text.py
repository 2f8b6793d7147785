"""Problems as people see them."""

from __future__ import annotations

import pytest

from mainstay.model.problem_text import MOST_SHOWN, describe_problems


def shown(text: str, column: int) -> tuple[str, str]:
    """The quoted line, and the character that the mark stands below."""
    problem = {"code": "MS1001", "reason": "wrong", "file": "a.yaml", "line": 1, "column": column}
    (told,) = describe_problems([problem], {"a.yaml": text}, coloured=False)
    *_, line, mark = told.splitlines()
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


def test_what_a_file_holds_does_not_reach_the_terminal_as_a_command() -> None:
    assert shown("kind:\t\x1b[2J\x9b1mx", 13) == ("kind:  [2J 1mx", "m")


def test_of_very_many_problems_the_first_errors_are_shown_and_how_many_more_there_are() -> None:
    warnings = [{"severity": "warning", "reason": f"odd {number}"} for number in range(MOST_SHOWN)]
    errors = [{"severity": "error", "reason": f"wrong {number}"} for number in range(MOST_SHOWN - 1)]
    told = list(describe_problems([*warnings, *errors], {}, coloured=False))
    assert len(told) == MOST_SHOWN + 1
    assert told[0].startswith("error[]: wrong 0")
    assert told[-2].startswith("warning[]: odd 0")
    assert told[-1] == f"… and {MOST_SHOWN - 1} problems more\n"
    few = list(describe_problems([*warnings[:2], *errors[:2]], {}, coloured=False))
    assert [line.split()[1] for line in few] == ["odd", "odd", "wrong", "wrong"]
