"""Runs one supervised child on the asyncio loop: the machine of `supervise.child` with real processes and timers.

In: how to make its program, each time anew. Out: a running process, events for people. Invariants: the reaper knows every
group that lives; what is awaited ends, since the machine forces what does not end by itself. Owned by `run`, which stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from mainstay.supervise import BackOff, Child, Process, Program, Reaper, child, spawn
from mainstay.up.events import Events

GRACE_MS = 10_000
"""What a child gets between being asked to end and being ended."""

PATIENCE = BackOff(attempts=10)
ONCE = BackOff(attempts=1)
"""For what is not started again."""

_LOG_TAIL = 4_096


class Supervised:
    """One child by name. `make` gives its program for each start; `on_start` is called before each."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Program],
        reaper: Reaper,
        events: Events,
        *,
        back_off: BackOff = PATIENCE,
        grace: int = GRACE_MS,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.starts = 0
        self.gave_up = False
        self.ended = asyncio.Event()
        self.process: Process | None = None
        self._make, self._reaper, self._events, self._on_start = make, reaper, events, on_start
        self._machine = Child(back_off, grace)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._log = ""

    def start(self) -> None:
        """Let it run, until `stop`."""
        self._handle(child.StartAsked())

    async def stop(self) -> None:
        """End it for good, by force if it takes longer than its grace."""
        if self._machine.state == "idle":
            self.ended.set()
        self._handle(child.StopAsked())
        await self.ended.wait()

    def force(self) -> None:
        """End its group now."""
        self._handle(child.StopAsked())
        if self.process is not None:
            self.process.kill_group()

    def last_line(self) -> str:
        """What it said last."""
        with contextlib.suppress(OSError):
            tail = Path(self._log).read_bytes()[-_LOG_TAIL:].decode(errors="replace")
            lines = [line.strip() for line in tail.splitlines() if line.strip()]
            return lines[-1] if lines else ""
        return ""

    def _now(self) -> int:
        return int(self._loop.time() * 1_000)

    def _handle(self, event: child.Event) -> None:
        for command in self._machine.handle(event, self._now()):
            self._perform(command)

    def _perform(self, command: child.Command) -> None:
        match command:
            case child.Start():
                self._start_process()
            case child.Terminate():
                if self.process is not None:
                    self.process.terminate()
            case child.Kill():
                if self.process is not None:
                    self.process.kill_group()
            case child.SetTimer(at):
                self._set_timer(at)
            case child.Crashed(reason, delay):
                said = self.last_line()
                text = f"ended by itself ({reason}), starts again in {delay} ms" + (
                    f"; it said: {said}" if said else ""
                )
                self._events.tell("crashed", self.name, text, reason=reason)
            case child.GaveUp(reason):
                self.gave_up = True
                said = self.last_line()
                text = f"failed too often ({reason})" + (f"; it said: {said}" if said else "")
                self._events.tell("gave up", self.name, text, reason=reason)
            case child.Ended():
                self.ended.set()

    def _start_process(self) -> None:
        self._on_start()
        program = self._make()
        self._log = program.output
        self.starts += 1
        try:
            process = spawn(program)
        except OSError as error:
            reason = f"{error.strerror}: {error.filename or program.command[0]}"
            self._loop.call_soon(self._handle, child.CouldNotStart(reason))
            return
        self._reaper.tell(process.pid)
        self.process = process
        threading.Thread(target=self._watch, args=(process,), name=f"wait {self.name}", daemon=True).start()
        if self.starts > 1:
            self._events.tell("restarted", self.name, "started again")

    def _watch(self, process: Process) -> None:
        """On a thread of its own: waits for the process."""
        status = process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended before it
            self._loop.call_soon_threadsafe(self._gone, process, status)

    def _gone(self, process: Process, status: int) -> None:
        self._reaper.forget(process.pid)
        self.process = None
        self._handle(child.Exited(status))

    def _set_timer(self, at: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at / 1_000, self._handle, child.TimerFired())
