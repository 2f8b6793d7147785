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

from mainstay.model.problem_text import describe_problems


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
    for text in describe_problems(problems, texts, coloured=True):
        # Click takes the colours away where it is no terminal that reads.
        click.echo(text, err=True)
