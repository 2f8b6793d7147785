"""The peers' programs as processes: providers that say when they listen, and clients that take a command a line."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlencode

import pytest

from ports import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / ".venvs"
LOOPBACK = "127.0.0.1"
PATIENCE = 60.0
"""Seconds after which a program that says nothing has failed; starting a virtual machine on a busy machine takes a few."""

_JAVA = (
    # One small machine each: several run beside each other.
    *("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=256m"),
    # What hessian reads of Java's own exceptions.
    *(
        flag
        for package in ("java.lang", "java.util")
        for flag in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")
    ),
    "-Dcom.alipay.sofa.rpc.log.disable=true",
    f"-Dlogging.path={INSTALLED / 'rpc-java/logs'}",
    "-Dinvoke.baggage.enable=true",
    "-Dtransport.payload.max=8519680",
    "-Ddubbo.application.logger=slf4j",
)


class Answer(NamedTuple):
    """What a client got: a value, or an error by the name of its class."""

    value: str | None
    error: str
    message: str


class Runtime(NamedTuple):
    """What a family of programs runs on, and where the set-up puts its packages."""

    name: str
    command: tuple[str, ...]
    packages: Path
    environment: dict[str, str]

    def argv(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        executable = shutil.which(self.command[0])
        assert executable, f"{self.name} is not on this machine: the RPC peers need it (CONTRIBUTING.md)"
        assert self.packages.exists(), (
            f"{self.packages} is missing: run `make test-rpc`, which installs the peers"
        )
        return ["nice", executable, *self.command[1:], *options, *arguments]


def _java(family: str) -> Runtime:
    folder = INSTALLED / "rpc-java" / family
    path = f"{folder / 'classes'}:{folder / 'lib'}/*"
    return Runtime("a JDK", ("java", *_JAVA, "-cp", path), folder / "classes", {})


SOFA, DUBBO = _java("sofa"), _java("dubbo")
NODE = Runtime(
    "Node",
    ("node",),
    INSTALLED / "rpc-node/node_modules",
    {"NODE_PATH": str(INSTALLED / "rpc-node/node_modules"), "CI": "1"},
)
_PYTHON = INSTALLED / "rpc-python/bin/python"
PYTHON = Runtime("Python", (str(_PYTHON),), _PYTHON, {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "upb"})


class Program:
    """A process whose first line is `ready`; its error output is told when it fails."""

    def __init__(self, runtime: Runtime, *arguments: str, options: Sequence[str] = ()) -> None:
        self._argv = runtime.argv(*arguments, options=options)
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **runtime.environment},
            text=True,
        )
        assert self._process.stdout
        assert self._process.stderr
        self._said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()
        threading.Thread(target=self._drain, args=(self._process.stderr,), daemon=True).start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _drain(self, stream: IO[str]) -> None:
        for line in stream:
            self._said.append(line)
            del self._said[:-200]

    def ready(self) -> None:
        assert self.line() == "ready", self.said()

    def line(self) -> str:
        with contextlib.suppress(queue.Empty):
            line = self._lines.get(timeout=PATIENCE)
            if line is not None:
                return line
        pytest.fail(f"{' '.join(self._argv[-6:])} said nothing more:\n{self.said()}")

    def write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def said(self) -> str:
        return "".join(self._said)

    def kill(self) -> None:
        """As a machine dies: nothing is said to anybody."""
        self._process.kill()
        self._process.wait(PATIENCE)

    close = kill


class Family(NamedTuple):
    """Programs of one make: a provider that listens for several protocols, and a client that speaks them."""

    name: str
    runtime: Runtime
    program: tuple[str, ...]
    protocols: tuple[str, ...]


_JAVA_MAIN = ("Peer",)
FAMILIES = {
    family.name: family
    for family in (
        Family("sofa-java", SOFA, _JAVA_MAIN, ("sofa", "bolt")),
        Family("dubbo-java", DUBBO, _JAVA_MAIN, ("dubbo", "tri")),
        Family("node", NODE, (str(PROGRAMS / "node/peer.js"),), ("bolt", "dubbo")),
        Family("anthunder", PYTHON, (str(PROGRAMS / "python/sofa.py"),), ("bolt",)),
        Family("thrift", PYTHON, (str(PROGRAMS / "python/thrift_peer.py"),), ("thrift", "thrift-compact")),
    )
}


class Provider:
    """The service under a name, on ports that stay its own when it is killed and started again."""

    def __init__(self, family: Family, name: str, *, options: Sequence[str] = ()) -> None:
        self.name, self._family, self._options = name, family, options
        self.ports = {protocol: free_port() for protocol in family.protocols}
        self._program: Program | None = None
        self.begin()

    def begin(self) -> None:
        """Starts the process; `ready` waits for it, so that several may start together."""
        listening = [word for protocol, port in self.ports.items() for word in (protocol, str(port))]
        arguments = (*self._family.program, "serve", self.name, *listening)
        self._program = Program(self._family.runtime, *arguments, options=self._options)

    def ready(self) -> None:
        assert self._program
        self._program.ready()

    def at(self, protocol: str) -> str:
        return f"{LOOPBACK}:{self.ports[protocol]}"

    def said(self) -> str:
        return self._program.said() if self._program else ""

    def kill(self) -> None:
        if self._program:
            self._program.kill()
            self._program = None

    close = kill


class Client(Program):
    """A peer that calls as it is told."""

    def call(self, at: str, method: str = "echo", text: str = "", **options: str | int) -> Answer:
        self.write(urlencode({"at": at, "method": method, "text": text, **options}))
        return self.answer()

    def begin(self, at: str, method: str = "echo", text: str = "", **options: str | int) -> None:
        """A call whose answer is read later."""
        self.write(urlencode({"at": at, "method": method, "text": text, **options}))

    def answer(self) -> Answer:
        fields = dict(parse_qsl(self.line(), keep_blank_values=True))
        return Answer(fields.get("value"), fields.get("error", ""), fields.get("message", ""))
