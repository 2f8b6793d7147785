"""Carries out what `child` decides: starts processes, waits for them, passes on their output line by line.

In: programs with arguments and environment. Out: reports, lines of output. Invariants: each child leads a process group of
its own, told to the reaper before anything else, so that what it starts ends with it; it is started by vfork and exec alone
(no `preexec_fn`), so no Python runs in a forked copy of this process. On the loop of whoever owns it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from mainstay.supervise.child import (
    Child,
    Command,
    Event,
    Exited,
    Kill,
    Policy,
    Report,
    SetTimer,
    Spawn,
    SpawnFailed,
    Start,
    State,
    Stop,
    Terminate,
    TimerFired,
)
from mainstay.supervise.reaper import Reaper

MAX_LINE_BYTES = 64 * 1024
"""A longer line of a child's output is passed on in pieces."""


class Supervised:
    """One child and its process. `ended` is set once no process is left and none will come."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        policy: Policy,
        reaper: Reaper,
        report: Callable[[str, Report], None],
        output: Callable[[str, str], None],
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.ended = asyncio.Event()
        self._command = tuple(command)
        self._environment = dict(environment)
        self._directory = directory
        self._child = Child(policy)
        self._reaper = reaper
        self._report = report
        self._output = output
        self._process: asyncio.subprocess.Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> State:
        return self._child.state

    @property
    def pid(self) -> int | None:
        """Of the present process."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self._handle(Start())

    def stop(self) -> None:
        """Asks it to end; `ended` tells when it has."""
        self._handle(Stop())

    async def stopped(self) -> None:
        """Asks it to end and waits until it has."""
        self.stop()
        await self.ended.wait()

    def _handle(self, event: Event) -> None:
        for command in self._child.handle(event, time.monotonic_ns() // 1_000_000):
            self._do(command)
        if self._child.state in ("ended", "given up"):
            self._cancel_timer()
            self.ended.set()

    def _do(self, command: Command) -> None:
        match command:
            case Spawn():
                self._begin(self._run())
            case Terminate():
                if self._process is not None:
                    with contextlib.suppress(ProcessLookupError):
                        self._process.terminate()
            case Kill():
                if self._process is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(self._process.pid, signal.SIGKILL)
            case SetTimer(at):
                self._cancel_timer()
                delay = max(0, at - time.monotonic_ns() // 1_000_000) / 1_000
                self._timer = asyncio.get_running_loop().call_later(delay, self._handle, TimerFired())
            case Report():
                self._report(self.name, command)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self) -> None:
        """One process from its start to its end."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                cwd=self._directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=MAX_LINE_BYTES,
                process_group=0,
            )
        except OSError as error:
            self._handle(SpawnFailed(f"cannot start {self._command[0]}: {error.strerror or error}"))
            return
        self._process = process
        self._reaper.add(process.pid)
        if self._child.state == "stopping":  # asked to stop while it was being started
            self._do(Terminate())
        assert process.stdout is not None, "was asked for"
        reading = asyncio.get_running_loop().create_task(self._pass_on(process.stdout))
        status = await process.wait()
        # What the process started and left behind ends with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await reading
        self._reaper.remove(process.pid)
        self._process = None
        self._handle(Exited(status))

    async def _pass_on(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                line = error.partial
            except asyncio.LimitOverrunError as error:
                line = await stream.read(error.consumed or MAX_LINE_BYTES)
            if not line:
                return
            self._output(self.name, line.decode("utf-8", "replace").rstrip("\r\n"))


class Spawner:
    """Makes children that share a reaper and an owner's ears."""

    def __init__(
        self, reaper: Reaper, report: Callable[[str, Report], None], output: Callable[[str, str], None]
    ) -> None:
        self._reaper = reaper
        self._report = report
        self._output = output

    def child(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        policy: Policy | None = None,
        directory: Path | None = None,
    ) -> Supervised:
        """A child that is not started yet."""
        return Supervised(
            name,
            command,
            environment,
            policy or Policy(),
            self._reaper,
            self._report,
            self._output,
            directory,
        )
