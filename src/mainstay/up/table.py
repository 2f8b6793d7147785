"""The live table of `up`, and plain lines where there is no terminal.

In: pairs of the last second and since the start, events. Out: text. Pure but for `Screen`, which writes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TextIO

import msgspec

from mainstay.up.figures import Pair

EVENTS_SHOWN = 6
_HEADINGS = ("SOURCE", "DESTINATION", "PROTOCOL", "RATE/S", "SUCCESS", "P50 MS", "P99 MS", "MTLS", "VERSIONS")


class Row(msgspec.Struct, frozen=True):
    """A pair as shown: its rate over the last second, everything else since the start."""

    pair: Pair
    rate: float

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
            split(pair),
        )


def _milliseconds(pair: Pair, share: float) -> str:
    value = pair.duration.quantile(share)
    return "-" if value is None else f"{value:.2f}"


def split(pair: Pair) -> str:
    """`v1 90 % · v2 10 %`; empty when there is but one version."""
    total = sum(pair.versions.values())
    if len(pair.versions) < 2 or total <= 0:
        return ""
    return " · ".join(f"{name} {100 * count / total:.0f} %" for name, count in sorted(pair.versions.items()))


def render(title: str, rows: Sequence[Row], events: Sequence[str], width: int = 120) -> str:
    """The whole picture: title, table, latest events."""
    cells = [_HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    lines = [title, ""]
    for line in cells:
        text = "  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True))
        lines.append(text.rstrip()[:width])
    lines += ["", *(event[:width] for event in events[-EVENTS_SHOWN:])]
    return "\n".join(lines)


def line_of(row: Row) -> str:
    """One pair on one line, for logs."""
    source, destination, protocol, rate, success, median, tail, mutual, versions = row.cells()
    text = f"{source} → {destination} ({protocol}) {rate}/s, success {success}, p50 {median} ms, p99 {tail} ms, mTLS {mutual}"
    return f"{text}, {versions}" if versions else text


class Screen:
    """Redraws the table in place on a terminal; elsewhere writes a line per pair every `EVERY_S` seconds."""

    EVERY_S = 5

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._ticks = 0
        self._shown_events = 0

    def show(self, title: str, rows: Sequence[Row], events: Sequence[str]) -> None:
        """Called each second."""
        if self._live:
            width, height = shutil.get_terminal_size()
            picture = render(title, rows, events, width)
            lines = picture.split("\n")[: max(1, height - 1)]
            self._stream.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        else:
            for event in events[self._shown_events :]:
                self._stream.write(event + "\n")
            self._shown_events = len(events)
            self._ticks += 1
            if self._ticks % self.EVERY_S == 0:
                self._stream.writelines(line_of(row) + "\n" for row in rows)
        self._stream.flush()

    def open(self) -> None:
        if self._live:
            self._stream.write("\x1b[2J\x1b[H")

    def close(self) -> None:
        if self._live:
            self._stream.write("\n")
            self._stream.flush()


def unfinished(rows: Sequence[Row]) -> list[str]:
    """What an operator should look at: pairs inside the mesh without mutual TLS, and pairs with failures."""
    notes = []
    for row in rows:
        pair = row.pair
        if pair.mtls is False:
            notes.append(
                f"{pair.source} → {pair.destination} ({pair.protocol}): not every request was mutual TLS"
            )
        if pair.failures:
            notes.append(
                f"{pair.source} → {pair.destination} ({pair.protocol}): {pair.failures} of {pair.requests} failed"
            )
    return notes
