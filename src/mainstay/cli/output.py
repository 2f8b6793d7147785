"""How results and problems are shown.

In: JSON-like values, column names, problems. Out: text. Invariant: data goes to stdout in the form that was
asked for, everything else to stderr; colour only on a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
import yaml


def show_data(value: Any, form: str) -> None:
    """Writes a value as JSON or YAML."""
    if form == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110).rstrip())


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "") -> None:
    """Writes aligned columns; `empty` goes to stderr if there is no row."""
    if not rows:
        click.echo(empty or "nothing found", err=True)
        return
    cells = [[str(cell) if cell not in (None, "") else "-" for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [list(columns), *cells]) for at in range(len(columns))]
    for row in [list(columns), *cells]:
        line = "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def show_problems(problems: Sequence[dict[str, Any]], texts: dict[str, str]) -> None:
    """Writes problems to stderr: what, where with the line itself, what to do. `texts` are files'
    contents."""
    for problem in problems:
        click.echo(describe_problem(problem, texts), err=True)


def describe_problem(problem: dict[str, Any], texts: dict[str, str]) -> str:
    """One problem in several lines, as compilers do it."""
    severity = problem.get("severity", "error")
    colour = {"error": "red", "warning": "yellow"}.get(severity, "cyan")
    path = problem.get("path", "")
    heading = click.style(f"{severity}[{problem.get('code', '')}]", fg=colour, bold=True)
    said = f"{path}: {problem.get('reason', '')}" if path else problem.get("reason", "")
    lines = [f"{heading}: {said}"]
    file, line, column = problem.get("file", ""), problem.get("line", 0), problem.get("column", 0)
    if file:
        place = ":".join([file, *(str(number) for number in (line, column) if number)])
        lines.append(f"  --> {place}")
        source = texts.get(file, "").splitlines()
        if 0 < line <= len(source):
            margin = " " * len(str(line))
            lines.append(f"  {margin} |")
            lines.append(f"  {line} | {source[line - 1]}")
            if column:
                lines.append(f"  {margin} | {' ' * (column - 1)}^")
    if problem.get("object"):
        lines.append(f"  in {problem['object']}")
    if problem.get("remedy"):
        lines.append(f"  {click.style('help', bold=True)}: {problem['remedy']}")
    return "\n".join(lines) + "\n"


def count(number: int, noun: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
