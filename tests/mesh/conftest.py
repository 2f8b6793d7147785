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

sys.path.insert(0, str(Path(__file__).parent))

from mesh_objects import Application

from mainstay.up.load import Count
from mainstay.up.plane import ControlPlane, Unanswered, read_count
from waiting import until

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

WAIT_S = 100
"""For what must come, on a machine that may be busy with other things."""
ANY_PORTS = ("--metrics-port", "0")


class RunningMesh:
    """One `mainstay up`, from its start to its report."""

    def __init__(self, file: Path, state: Path, flags: tuple[str, ...] = ()) -> None:
        self.state = state
        self.lines: list[str] = []
        self._ended = False
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
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def wait_for(self, text: str, count: int = 1, seconds: float = WAIT_S) -> None:
        """Until so many lines of progress hold a text."""
        until = time.monotonic() + seconds
        with self._heard:
            while sum(text in line for line in self.lines) < count:
                left = until - time.monotonic()
                told = f"no {text!r} in:\n" + "\n".join(self.lines)
                assert left > 0, told
                assert not self._ended, told
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

    def application(self, instance: str) -> int:
        return self.pid_of(f"\nINSTANCE={instance}\n")

    def sidecar(self, name: str) -> int:
        return self.pid_of(" sidecar ", f"--workload {name} ")

    def control_plane(self) -> int:
        return self.pid_of(" serve ")

    def environment(self, instance: str) -> dict[str, str]:
        """What an application was given."""
        lines = Path(f"/proc/{self.application(instance)}/environ").read_bytes().decode().split("\0")
        return dict(line.partition("=")[::2] for line in lines if line)

    def endpoints(self, caller: str, service: str) -> set[str]:
        """Addresses of a service that a caller's proxy has in force."""
        api = ControlPlane.from_context(self.state / "context.json")
        [node] = [node for node in api.nodes() if node.split("~")[2].rpartition(".")[0] == caller]
        return {
            address
            for cluster, addresses in api.endpoints(node).items()
            if f"|{service}." in cluster
            for address in addresses
        }

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """A command of an operator of this mesh."""
        return subprocess.run(
            [sys.executable, "-m", "mainstay", *arguments],
            env={**os.environ, "MAINSTAY_CONTEXT": str(self.state / "context.json")},
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def count(self) -> Count:
        """What the load generator has counted up to the last whole second."""
        return read_count(self.state / "logs" / "load-1.log")

    def until(self, holds: Callable[[], object], what: str, seconds: float = WAIT_S) -> None:
        """Looks until something holds. Who does not answer, or is not there, lets nothing hold."""

        def holds_now() -> bool:
            with contextlib.suppress(Unanswered, OSError, ValueError, AssertionError):
                return bool(holds())
            assert not self._ended, "\n".join(self.lines)
            return False

        until(holds_now, lambda: "\n".join((what, *self.lines)), seconds)

    def carry(self, requests: int) -> None:
        """Until so many more requests have been answered, well or not."""
        before = self.count()
        done = before.succeeded + before.failed + requests
        self.until(lambda: self.count().succeeded + self.count().failed >= done, f"{requests} more requests")

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


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Starts a mesh from YAML text (or a name), with further flags; it lives at most as long as the module's tests."""
    folder = tmp_path_factory.mktemp("meshes")
    started: list[RunningMesh] = []

    def run(mesh: str, *flags: str) -> RunningMesh:
        state = folder / f"mesh-{len(started)}-"
        if "\n" in mesh:
            file = folder / f"mesh-{len(started)}.yaml"
            file.write_text(textwrap.dedent(mesh))
        else:
            file = Path(mesh)
        started.append(RunningMesh(file, state, flags))
        return started[-1]

    yield run
    for each in started:
        each.end()


class Operator:
    """Somebody at a shell: starts programs, applies files, looks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._flags: dict[str, tuple[str, ...]] = {}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}
        self._environment = kept | {"MAINSTAY_CONTEXT": str(folder / "context.json")}

    def start(self, name: str, *flags: str) -> dict[str, Any]:
        """Starts a program; returns what it tells when it is ready."""
        self.launch(name, *flags)
        return self.await_ready(name)

    def launch(self, name: str, *flags: str) -> None:
        """Starts a program, and waits for nothing."""
        self._flags[name] = flags
        ready = self.folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "mainstay", *flags, "--ready-file", str(ready)]
            process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        self._running[name] = process

    def start_again(self, name: str) -> dict[str, Any]:
        """As it was started before."""
        return self.start(name, *self._flags[name])

    def await_ready(self, name: str) -> dict[str, Any]:
        process, ready = self._running[name], self.folder / f"{name}.ready"
        self.wait(lambda: ready.exists() or process.poll() is not None)
        assert process.poll() is None, (self.folder / f"{name}.log").read_text()
        told: dict[str, Any] = json.loads(ready.read_bytes())
        return told

    def run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "mainstay", *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, timeout=WAIT_S
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, text: str) -> None:
        path = self.folder / "objects.yaml"
        path.write_text(text)
        self.run("apply", "-f", str(path))

    def wait(self, holds: Callable[[], object]) -> None:
        until(holds, "it takes too long", WAIT_S)

    def start_control_plane(self, *flags: str) -> int:
        """Returns the port of xDS and joining."""
        files = ("--state", str(self.folder / "state"), "--api-context", str(self.folder / "context.json"))
        told = self.start(
            "control", "serve", *files, *ANY_PORTS, "--api-port", "0", "--xds-port", "0", *flags
        )
        return int(told["xds"])

    def start_proxy(self, verb: str, name: str, account: str, xds: int, *flags: str, group: str = "") -> Any:
        """Makes a token, and starts a proxy of the namespace `shop` with it."""
        self.launch_proxy(verb, name, account, xds, *flags, group=group)
        return self.await_ready(name)

    def launch_proxy(
        self, verb: str, name: str, account: str, xds: int, *flags: str, group: str = ""
    ) -> None:
        token = self.folder / f"{name}.token"
        made = self.run("join-token", "create", "-n", "shop", "--account", account, "--group", group)
        token.write_text(made)
        self.launch(
            name,
            *(verb, "--workload", name, "--namespace", "shop", "--data", str(self.folder / f"{name}.data")),
            *("--control-plane-address", f"127.0.0.1:{xds}", "--control-plane-join-token-file", str(token)),
            *("--admin-port", "0", "--health-port", "0", *ANY_PORTS, *flags),
        )

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """Ends a program; returns its exit code."""
        process = self._running.pop(name)
        process.send_signal(number)
        return process.wait(WAIT_S)

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


@pytest.fixture
def applications() -> Iterator[list[Application]]:
    made = [Application(), Application()]
    yield made
    for each in made:
        each.close()


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    made = Operator(tmp_path)
    yield made
    made.end()
