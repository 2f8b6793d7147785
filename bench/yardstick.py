"""The described codec beside one that was written by hand for Bolt alone: CPU time a frame.

In: rounds. Out: a round's medians of both. Method: one program has both, and lets them take turns on the same frames (`yardstick`
in `programs/`); it counts its own CPU time, so that it may run on a machine in use.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from bench.figures import OWN, Round
from bench.measure import PROXY_CORE, BenchError
from bench.peers import PROGRAMS
from bench.traffic import Course

FRAME = "ns a frame"
HAND = "by hand"
TURNS_PER_SECOND = 60
"""About: a turn is 16,000 frames of each."""


def rounds_of(course: Course) -> Iterator[Round]:
    """Nobody else is measured, so that `course.only` does not matter."""
    turns = max(5, round(course.seconds * TURNS_PER_SECOND))
    command = ["taskset", "-c", str(PROXY_CORE), str(PROGRAMS / "yardstick"), str(turns)]
    for _ in range(course.rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"yardstick ended with {done.returncode}: {done.stderr.strip()}")
        told = json.loads(done.stdout)
        yield {HAND: {FRAME: told["by_hand_ns"]}, OWN: {FRAME: told["described_ns"]}}
