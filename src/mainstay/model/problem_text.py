"""How a problem is shown to people: what, where with the line itself, what to do, as compilers do it.

In: problems as mappings (`Problem`, or what the REST API says of one) and the texts of files. Out: lines for a terminal.
Called by every verb and by `up`. Invariant: what a file holds moves no cursor and colours nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_COLOURS = {"error": 31, "warning": 33}
_OTHER_COLOUR = 36
_SHOWN = 160
"""Characters of a line."""
MOST_SHOWN = 100
"""Problems. Who has more has one mistake many times, and a terminal that scrolled past the first."""


def describe_problems(
    problems: Sequence[Mapping[str, Any]], texts: Mapping[str, str], *, coloured: bool
) -> Iterator[str]:
    """The first `MOST_SHOWN` problems, errors before others if not all can be shown, each in several lines; then how many more
    there are. `texts` are files' contents, by the names that problems give them."""
    shown = problems
    if len(problems) > MOST_SHOWN:
        shown = sorted(problems, key=lambda problem: problem.get("severity", "error") != "error")[:MOST_SHOWN]
    lines: dict[str, list[str]] = {}
    for problem in shown:
        file = problem.get("file", "")
        if file not in lines:
            lines[file] = texts.get(file, "").splitlines()
        yield _describe(problem, lines[file], coloured)
    if more := len(problems) - len(shown):
        yield f"… and {count(more, 'problem')} more\n"


def _describe(problem: Mapping[str, Any], source: Sequence[str], coloured: bool) -> str:
    severity = problem.get("severity", "error")
    path, reason = problem.get("path", ""), problem.get("reason", "")
    heading = f"{severity}[{problem.get('code', '')}]"
    if coloured:
        heading = _bold(heading, _COLOURS.get(severity, _OTHER_COLOUR))
    lines = [f"{heading}: {path}: {reason}" if path else f"{heading}: {reason}"]
    file, line, column = problem.get("file", ""), problem.get("line", 0), problem.get("column", 0)
    if file:
        place = ":".join([file, *(str(number) for number in (line, column) if number)])
        lines.append(f"  --> {place}")
        lines += _quoted(source, line, column)
    if problem.get("object"):
        lines.append(f"  in {problem['object']}")
    if problem.get("remedy"):
        lines.append(f"  {_bold('help') if coloured else 'help'}: {problem['remedy']}")
    return "\n".join(lines) + "\n"


def _quoted(source: Sequence[str], line: int, column: int) -> list[str]:
    if not 0 < line <= len(source):
        return []
    margin = " " * len(str(line))
    shown, place = source[line - 1].rstrip(), max(column - 1, 0)
    shown = "".join(character if character.isprintable() else " " for character in shown)
    if len(shown) > _SHOWN:
        # Of a document on one line the place is what matters.
        start = max(place - _SHOWN // 2, 0)
        before, behind = "… " if start else "", " …" if start + _SHOWN < len(shown) else ""
        shown, place = before + shown[start : start + _SHOWN] + behind, place - start + len(before)
    quoted = [f"  {margin} |", f"  {line} | {shown}"]
    if column:
        quoted.append(f"  {margin} | {' ' * place}^")
    return quoted


def _bold(text: str, colour: int | None = None) -> str:
    codes = "1" if colour is None else f"1;{colour}"
    return f"\x1b[{codes}m{text}\x1b[0m"


def count(number: int, noun: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
