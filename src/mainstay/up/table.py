"""The live table of `up`, and plain lines where there is no terminal.

In: pairs of the last second and since the start, events. Out: text. Pure but for `Screen`, which writes.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from typing import TextIO

import msgspec

from mainstay.up.figures import Pair

EVENTS_SHOWN = 6
_HEADINGS = ("SOURCE", "DESTINATION", "PROTOCOL", "RATE/S", "SUCCESS", "P50 MS", "P99 MS", "MTLS", "VERSIONS")


class Row(msgspec.Struct, frozen=True):
    """A pair as shown: its rate over the last second, versions of the last seconds, everything else since the start."""

    pair: Pair
    rate: float
    versions: dict[str, int] = {}

    def cells(self) -> tuple[str, ...]:
        pair = self.pair
        success = (
            "-" if not pair.requests else f"{100 * (pair.requests - pair.failures) / pair.requests:.2f} %"
        )
        mutual = {None: "outside", True: "yes", False: "NO"}[pair.mtls]
        return (
            pair.source,
            pair.destination,
            pair.protocol,
            f"{self.rate:.1f}",
            success,
            _milliseconds(pair, 0.5),
            _milliseconds(pair, 0.99),
            mutual,
            split(self.versions or pair.versions),
        )


def _milliseconds(pair: Pair, share: float) -> str:
    value = pair.duration.quantile(share)
    return "-" if value is None else f"{value:.2f}"


def split(versions: dict[str, int]) -> str:
    """`v1 90 % · v2 10 %`; empty when there is but one version."""
    total = sum(versions.values())
    if len(versions) < 2 or total <= 0:
        return ""
    return " · ".join(f"{name} {100 * count / total:.0f} %" for name, count in sorted(versions.items()))


def render(
    title: str, rows: Sequence[Row], events: Sequence[str], hints: Sequence[str] = (), width: int = 120
) -> str:
    """The whole picture: title, table, latest events, what to try next."""
    lines = [title, "", *table(rows, width), "", *(event[:width] for event in events[-EVENTS_SHOWN:])]
    if hints:
        lines += ["", *(hint[:width] for hint in hints)]
    return "\n".join(lines)


def table(rows: Sequence[Row], width: int = 120) -> list[str]:
    """The table's lines, headings first."""
    cells = [_HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    return [
        "  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip()[:width]
        for line in cells
    ]


def line_of(row: Row) -> str:
    """One pair on one line, for logs."""
    source, destination, protocol, rate, success, median, tail, mutual, versions = row.cells()
    text = f"{source} → {destination} ({protocol}) {rate}/s, success {success}, p50 {median} ms, p99 {tail} ms, mTLS {mutual}"
    return f"{text}, {versions}" if versions else text


class Screen:
    """Redraws the table in place on a terminal; elsewhere writes events as they come and a line per pair every `EVERY` rounds."""

    EVERY = 5

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._open = False
        self._rounds = 0

    def note(self, line: str) -> None:
        """A line by itself; while the table stands it is part of the next picture."""
        if not self._open:
            self._write(line + "\n")

    def open(self) -> None:
        """From here on the table stands."""
        if self._live:
            self._open = True
            self._write("\x1b[2J\x1b[H")

    def show(self, title: str, rows: Sequence[Row], events: Sequence[str], hints: Sequence[str] = ()) -> None:
        """Called each second."""
        if self._open:
            width, height = shutil.get_terminal_size()
            lines = render(title, rows, events, hints, width).split("\n")[: max(1, height - 1)]
            self._write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
            return
        self._rounds += 1
        if self._rounds % self.EVERY == 0:
            self._write("".join(line_of(row) + "\n" for row in rows))

    def close(self) -> None:
        """Leave the last picture where it is; what comes next is written below."""
        self._open = False

    def conclude(self, rows: Sequence[Row]) -> None:
        """The whole run as one table."""
        if rows:
            self._write("\n".join(["", *table(rows, 200), ""]))

    def _write(self, text: str) -> None:
        # A reader that has gone, or a closed terminal, is no reason to leave a mesh half-way.
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()
