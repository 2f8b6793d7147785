"""Looking into a running control plane: where its time goes, how large its collections are, what blocked the
loop.

In: the graph, the running threads. Out: text and numbers. Invariant: costs nothing until asked, but for one
heartbeat a 100 ms. Served on the metrics port, loopback only.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections import Counter
from typing import Any

from mainstay.graph import Derived, Graph
from mainstay.telemetry.log import get_log

log = get_log("loop")

LAG_MS = 100
"""A pass of the loop beyond this logs the stack that held it."""

SAMPLE_MS = 5
MAX_PROFILE_S = 60
MAX_FRAMES = 64


class LagWatch:
    """A thread that sees when the loop stops beating, and says where it is stuck."""

    def __init__(self) -> None:
        self._beat = time.monotonic()
        self._loop_thread = 0
        self._stop = threading.Event()
        self.worst_ms = 0.0
        self.count = 0

    async def run(self) -> None:
        """The heartbeat; runs until cancelled."""
        self._loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, name="lag-watch", daemon=True).start()
        try:
            while True:
                now = time.monotonic()
                late_ms = (now - self._beat) * 1_000 - LAG_MS
                self.worst_ms = max(self.worst_ms, late_ms)
                self._beat = now
                await asyncio.sleep(LAG_MS / 1_000)
        finally:
            self._stop.set()

    def _watch(self) -> None:
        told = 0.0
        while not self._stop.wait(LAG_MS / 1_000):
            beat = self._beat
            if time.monotonic() - beat > 2 * LAG_MS / 1_000 and beat != told:
                told = beat
                self.count += 1
                frame = sys._current_frames().get(self._loop_thread)
                stack = "".join(traceback.format_stack(frame)[-6:]) if frame else "unknown"
                log.warning("loop was held", ms=round((time.monotonic() - beat) * 1_000), stack=stack)


def sample_stacks(seconds: float) -> str:
    """Samples all threads' stacks; one line a stack, frames joined by `;`, then how often: flame graphs'
    folded text. Blocks, so it is called in a thread."""
    own = threading.get_ident()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    counts: Counter[str] = Counter()
    until = time.monotonic() + min(seconds, MAX_PROFILE_S)
    while time.monotonic() < until:
        for ident, frame in sys._current_frames().items():
            if ident != own:
                counts[_fold(names.get(ident, "thread"), frame)] += 1
        time.sleep(SAMPLE_MS / 1_000)
    return "".join(f"{stack} {count}\n" for stack, count in counts.most_common())


def _fold(thread: str, frame: Any) -> str:
    frames: list[str] = []
    while frame is not None and len(frames) < MAX_FRAMES:
        code = frame.f_code
        frames.append(f"{code.co_qualname}")
        frame = frame.f_back
    return ";".join([thread, *reversed(frames)])


def measure_collections(graph: Graph) -> list[dict[str, Any]]:
    """Keys and work of each collection."""
    return [
        {
            "collection": each.name,
            "level": each.level,
            "keys": len(each),
            "recomputes": each.recomputes if isinstance(each, Derived) else 0,
            "suppressed": each.suppressed if isinstance(each, Derived) else 0,
            "seconds": round(each.seconds, 6) if isinstance(each, Derived) else 0.0,
        }
        for each in graph.collections
    ]
