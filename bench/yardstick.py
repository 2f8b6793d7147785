"""The described codec beside one that was written by hand for Bolt alone: CPU time a frame, and instructions.

In: rounds. Out: a round's medians of both, with the instructions of a frame where valgrind is installed. Method: one program has
both, and lets them take turns on the same frames (`yardstick` in `programs/`); it counts its own CPU time, so that it may run on
a machine in use. Instructions are those of a long run less a short one, and the same in each round: they are counted once.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

from bench.figures import OWN, Round
from bench.measure import PROXY_CORE, BenchError
from bench.peers import PROGRAMS
from bench.traffic import Course

FRAME = "ns a frame"
INSTRUCTIONS = "instr a frame"
HAND = "by hand"
TURNS_PER_SECOND = 150
"""About: a turn is 6,400 frames of each."""
_SHORT_PASSES, _LONG_PASSES = 100, 600
_FRAMES = 32
"""Of a pass."""
_PROGRAM = PROGRAMS / "yardstick"


def rounds_of(course: Course) -> Iterator[Round]:
    """Nobody else is measured, so that `course.only` does not matter."""
    turns = max(5, round(course.seconds * TURNS_PER_SECOND))
    counted = {OWN: _instructions("described"), HAND: _instructions("by-hand")}
    for _ in range(course.rounds):
        told = json.loads(_run("taskset", "-c", str(PROXY_CORE), str(_PROGRAM), str(turns)).stdout)
        yield {
            HAND: {FRAME: told["by_hand_ns"], **counted[HAND]},
            OWN: {FRAME: told["described_ns"], **counted[OWN]},
        }


def _instructions(which: str) -> dict[str, float]:
    if shutil.which("valgrind") is None:
        return {}
    few, many = (_count(which, passes) for passes in (_SHORT_PASSES, _LONG_PASSES))
    return {INSTRUCTIONS: (many - few) / ((_LONG_PASSES - _SHORT_PASSES) * _FRAMES)}


def _count(which: str, passes: int) -> int:
    callgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    told = _run(*callgrind, str(_PROGRAM), "run", which, str(passes)).stderr
    found = re.search(r"Collected : (\d+)", told)
    if found is None:
        raise BenchError("valgrind does not say how many instructions it saw")
    return int(found[1])


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"yardstick ended with {done.returncode}: {done.stderr.strip()}")
    return done
