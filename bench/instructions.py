"""`python -m bench.instructions [ROW …]`: user instructions and allocations per request of the engine, function by function.

In: rows about requests. Out: what `mainstay-bare` executes under callgrind in a long run less a short one, divided by the
requests between them: start-up and connections are in neither. Other work on the machine does not disturb these figures, so
that they tell apart what no clock can. They know nothing of the kernel, of caches, or of what an instruction waits for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bench.measure import LOAD_CORE, Drive, Ports, Process, drive, running
from bench.peers import PROGRAMS, Setup, make_peers
from bench.traffic import REQUEST

ROWS = {
    "http1-bare": (Setup("bare", ("bare",)), Drive(32)),
    "http1": (Setup("features", ("bare",)), Drive(32)),
    "http2": (Setup("features", ("bare",), http2=True), Drive(8, streams=16)),
    "tcp": (Setup("tcp", ("bare",)), Drive(32)),
    "rpc": (Setup("rpc", ("bare",), rpc="bolt"), Drive(32, rpc="bolt", body=128)),
    "rpc-16": (Setup("rpc", ("bare",), rpc="bolt"), Drive(32, streams=16, rpc="bolt", body=128)),
    "rpc-16-1k": (Setup("rpc", ("bare",), rpc="bolt"), Drive(32, streams=16, rpc="bolt", body=1024)),
    "rpc-crc": (Setup("rpc", ("bare",), rpc="bolt-crc"), Drive(32, rpc="bolt-crc", body=128)),
    "rpc-dubbo": (Setup("rpc", ("bare",), rpc="dubbo"), Drive(32, rpc="dubbo", body=128)),
}
SHORT_SECONDS, LONG_SECONDS = 0.5, 2.5
BODY = 128
ALLOCATORS = ("malloc", "calloc", "realloc", "memalign")


class Profile(NamedTuple):
    """Instructions of functions alone, with what they call, and by the file their code was written in; calls of functions."""

    requests: int
    alone: Counter[str]
    whole: Counter[str]
    files: Counter[str]
    calls: Counter[str]

    def less(self, other: Profile) -> Profile:
        counters = zip(self[1:], other[1:], strict=True)
        return Profile(self.requests - other.requests, *(mine - theirs for mine, theirs in counters))


def measure(row: str, folder: Path) -> Profile:
    """One row under callgrind."""
    setup, how = ROWS[row]
    ports = Ports()
    port = ports.take()
    head = folder / "head"
    head.write_text(REQUEST)
    upstream = Process((str(PROGRAMS / "upstream"), f"127.0.0.1:{port}", str(BODY)), port)
    out = folder / "callgrind"
    valgrind = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}")
    with running([upstream], LOAD_CORE, folder / "upstream"):
        (peer,) = make_peers(setup, port, ports, folder, ())
        bare = [Process((*valgrind, *each.command), each.port) for each in peer.processes]
        with running(bare, 0, folder / "bare") as pids:

            def run(number: int, seconds: float) -> Profile:
                _control("--zero", pids[0])
                requests = drive(PROGRAMS / "load", peer.port, how, seconds, head, LOAD_CORE).requests
                _control("--dump", pids[0])
                return read_profile(folder / f"callgrind.{number}", requests)

            run(1, SHORT_SECONDS)
            short = run(2, SHORT_SECONDS)
            return run(3, LONG_SECONDS).less(short)


def _control(what: str, pid: int) -> None:
    subprocess.run(["callgrind_control", what, str(pid)], check=True, capture_output=True)


def read_profile(path: Path, requests: int) -> Profile:
    """Callgrind's format: `fn=` opens a function, `fi=` and `fe=` the file of code inlined into it; the line behind `calls=` is
    the callee's."""
    alone, whole, files, calls = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    names: dict[tuple[str, str], str] = {}
    function = file = called = ""
    is_call = False

    def named(space: str, text: str) -> str:
        number, _, name = text.partition(" ")
        return names.setdefault((space, number), name or number)

    for line in path.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "fn":
            function = named("fn", value)
        elif key in ("fl", "fi", "fe"):
            file = named("file", value)
        elif key == "cfn":
            called = named("fn", value)
        elif key in ("cfi", "cfl"):
            named("file", value)
        elif key == "calls":
            calls[called] += int(value.split()[0])
            is_call = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            cost = int(line.split()[1])
            if is_call:
                whole[function] += 0 if called == function else cost
            else:
                alone[function] += cost
                whole[function] += cost
                files[file] += cost
            is_call = False
    return Profile(requests, alone, whole, files, calls)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help="rows; all by default")
    parser.add_argument("--top", type=int, default=30, help="lines of each list (default 30)")
    given = parser.parse_args()
    for row in given.rows or ROWS:
        with tempfile.TemporaryDirectory() as made:
            told = measure(row, Path(made))
        total, mallocs = told.alone.total(), sum(told.calls[name] for name in ALLOCATORS)
        print(
            f"\n{row}: {total / told.requests:,.0f} instructions a request, {mallocs / told.requests:.1f} allocations"
        )
        for title, counts in (
            ("alone", told.alone),
            ("with what it calls", told.whole),
            ("by file", told.files),
        ):
            print(f"\n{title}")
            for name, count in counts.most_common(given.top):
                print(f"{count / told.requests:>9,.0f}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
