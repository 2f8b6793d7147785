"""Whole meshes as processes: `mainstay up` on a file, watched and disturbed from outside as an operator would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 60


class RunningMesh:
    """One `mainstay up`, from its start to its report."""

    def __init__(self, file: Path, state: Path, flags: tuple[str, ...] = ()) -> None:
        self.state = state
        self.lines: list[str] = []
        self._heard = threading.Condition()
        command = [sys.executable, "-m", "mainstay", "up", str(file), "--state", str(state)]
        self._process = subprocess.Popen(
            [*command, "--output", "json", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._heard:
                self.lines.append(line.rstrip())
                self._heard.notify_all()

    def wait_for(self, text: str, count: int = 1, seconds: float = WAIT_S) -> None:
        """Until so many lines of progress hold a text."""
        until = time.monotonic() + seconds
        with self._heard:
            while sum(text in line for line in self.lines) < count:
                left = until - time.monotonic()
                assert left > 0, f"no {text!r} in:\n" + "\n".join(self.lines)
                assert self._process.poll() is None or self._reading.is_alive(), "\n".join(self.lines)
                self._heard.wait(left)

    def report(self, seconds: float = 120) -> dict[str, Any]:
        """Waits for its end; the exit code is under `code`."""
        assert self._process.stdout is not None
        out = self._process.stdout.read()
        code = self._process.wait(seconds)
        self._reading.join(10)
        told: dict[str, Any] = json.loads(out) if out.strip() else {}
        return {**told, "code": code, "progress": "\n".join(self.lines)}

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def pids(self, *parts: str) -> list[int]:
        """Processes of this mesh whose command line or environment holds all of these texts."""
        return [pid for pid, told in self._processes() if all(part in told for part in parts)]

    def pid_of(self, *parts: str) -> int:
        found = self.pids(*parts)
        assert len(found) == 1, (parts, found)
        return found[0]

    def _processes(self) -> Iterator[tuple[int, str]]:
        mark = str(self.state)
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                environment = (
                    (folder / "environ").read_bytes().replace(b"\0", b"\n").decode("utf-8", "replace")
                )
                told = f"{command}\n{environment}"
                if mark in told and int(folder.name) not in (os.getpid(), self._process.pid):
                    yield int(folder.name), told

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


Up = Callable[..., RunningMesh]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Starts a mesh from YAML text (or a name), with further flags."""
    started: list[RunningMesh] = []

    def run(mesh: str, *flags: str) -> RunningMesh:
        state = tmp_path / f"mesh-{len(started)}"
        if "\n" in mesh:
            file = tmp_path / f"mesh-{len(started)}.yaml"
            file.write_text(textwrap.dedent(mesh))
        else:
            file = Path(mesh)
        started.append(RunningMesh(file, state, flags))
        return started[-1]

    yield run
    for each in started:
        each.end()
