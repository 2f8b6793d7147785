"""`python -m bench [ROW …]`: what Mainstay costs beside a byte relay, haproxy and Envoy, paired in one run.

`rpc` stands for all rows about framed RPC. Rows and what they must reach: bench/rows.py. Method: bench/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.figures import Outcome, Round, judge, medians, verdict
from bench.measure import BenchError, check_cores
from bench.peers import ROOT
from bench.rows import ROWS, RPC_ROWS, Row
from bench.traffic import MOST_OTHERS, Course

GROUPS = {"rpc": tuple(RPC_ROWS)}
"""Rows under one name."""


def run(name: str, row: Row, rounds: int, seconds: float, only: tuple[str, ...]) -> dict[str, Any]:
    """A row's rounds, medians and outcomes, as JSON values; printed as well."""
    print(f"\n{row.title}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder:
        found = list(row.measure(Course(rounds, seconds, only, Path(folder))))
    outcomes = judge(found, row.bars)
    show(row, found, outcomes)
    return {
        "row": name,
        "title": row.title,
        "seconds": seconds,
        "peers": medians(found),
        "bars": [outcome.as_json() for outcome in outcomes],
        "rounds": found,
    }


def show(row: Row, rounds: list[Round], outcomes: list[Outcome]) -> None:
    peers = medians(rounds)
    columns = [name for name in row.columns if any(name in figures for figures in peers.values())]
    widths = {name: max(10, len(name) + 2) for name in columns}
    print(f"  {'':12}" + "".join(f"{name:>{widths[name]}}" for name in columns))
    for peer, figures in peers.items():
        cells = (f"{plain(figures.get(name)):>{widths[name]}}" for name in columns)
        print(f"  {peer:12}" + "".join(cells))
    for outcome in outcomes:
        bar = outcome.bar
        sign = "≥" if bar.at_least else "≤"
        limits = (
            (word, limit) for word, limit in (("must", bar.must), ("aim", bar.aim)) if limit is not None
        )
        told = ", ".join(f"{word} {sign} {limit:g}" for word, limit in limits)
        value = "–" if outcome.value is None else f"{outcome.value:g}"
        beyond = f" + {bar.beyond:g}" if bar.beyond else ""
        print(f"  {bar.label + beyond:32} {value:>8}   {told}: {verdict(outcome)}")
    if any(figures.get("others %", 0) > MOST_OTHERS for figures in peers.values()):
        print(f"  Others used more than {MOST_OTHERS:g} % of the proxy's core: figures of a machine in use.")
    if any(figures.get("failed", 0) > 0 for figures in peers.values()):
        print("  Some requests failed.")
    sys.stdout.flush()


def plain(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 1_000 or value == int(value) else f"{value:.2f}"


def save(results: list[dict[str, Any]]) -> Path:
    """A file of the day; one that is there already is left, with a number behind the new one's name."""
    folder = ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    about = {
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "build": "release wheel" if Path(sys.prefix) == ROOT / ".venvs" / "release" else "make build",
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    day = datetime.date.today().isoformat()
    names = (f"{day}{suffix}.json" for suffix in ("", *(f"-{number}" for number in range(2, 1_000))))
    made = next(path for name in names if not (path := folder / name).exists())
    made.write_text(json.dumps({"about": about, "results": results}, indent=1, ensure_ascii=False) + "\n")
    return made


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def summary(results: list[dict[str, Any]]) -> None:
    """What was missed, once more at the end."""
    bars = [(result["row"], bar) for result in results for bar in result["bars"] if bar["must"] is not None]
    missed = [(row, bar) for row, bar in bars if bar["holds"] is False]
    held = sum(bar["holds"] is True for _, bar in bars)
    print(f"\n{held} of {len(bars)} bars hold.")
    for row, bar in missed:
        print(f"  missed: {row}: {bar['bar']} {bar['value']:g}, must {bar['must']:g}")


def chosen(words: list[str]) -> list[str]:
    """Names of rows: a group's name stands for its rows, no word for all that do not have to be named."""
    if not words:
        return [name for name, row in ROWS.items() if not row.on_request]
    return list(dict.fromkeys(name for word in words for name in GROUPS.get(word, (word,))))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*ROWS, *GROUPS]
    parser.add_argument("rows", nargs="*", choices=[[], *names], metavar="ROW", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default 2)")
    parser.add_argument("--peer", action="append", default=[], help="only this peer (may be repeated)")
    parser.add_argument("--save", action="store_true", help="write bench/results/DATE.json")
    given = parser.parse_args()
    # An end that is asked for ends what was started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    results = []
    try:
        check_cores()
        for name in chosen(given.rows):
            results.append(run(name, ROWS[name], given.rounds, given.seconds, tuple(given.peer)))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    summary(results)
    if given.save:
        print(f"written: {save(results).relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
