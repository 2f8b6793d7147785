"""Processes under measurement: started on one core, their CPU time read, load driven from the other.

In: commands. Out: CPU nanoseconds of a process tree, memory, figures of a load run. Invariant: a target is measured only while
its load runs, and the time is the kernel's own (`schedstat`), not a sample of it. What was started is always ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PROXY_CORE = 0
LOAD_CORE = 1
LOWEST_PORT, HIGHEST_PORT = 21_000, 29_999
"""Below the ports that the system gives to clients."""


class Load(NamedTuple):
    """Figures of one load run; latencies in µs."""

    requests: int
    failures: int
    seconds: float
    p50_us: float
    p99_us: float


class Process(NamedTuple):
    """A command that listens on `port` of loopback."""

    command: tuple[str, ...]
    port: int


class BenchError(Exception):
    """Told in one line; the bench ends."""


def check_cores() -> None:
    """Raises if a core is not ours to use."""
    missing = {PROXY_CORE, LOAD_CORE} - os.sched_getaffinity(0)
    if missing:
        raise BenchError(f"core {min(missing)} may not be used here; {PROXY_CORE} and {LOAD_CORE} are needed")


class Ports:
    """Free ports, each given once."""

    def __init__(self) -> None:
        self._next = LOWEST_PORT + os.getpid() % 4_000

    def take(self) -> int:
        while self._next <= HIGHEST_PORT:
            port, self._next = self._next, self._next + 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):
                    probe.bind(("127.0.0.1", port))
                    return port
        raise BenchError(f"no port is free between {LOWEST_PORT} and {HIGHEST_PORT}")


def start(command: Sequence[str], core: int, log: Path) -> subprocess.Popen[bytes]:
    """A process pinned to a core, in a group of its own; its output goes to `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            process_group=0,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """At once: nobody waits for what a proxy still has to do, and a drain would take seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 20) -> None:
    """Returns once the port takes connections; raises with the process's last words if it never does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    name = " ".join(str(word) for word in process.args[3:6])  # type: ignore[index]
    raise BenchError(f"{name} … does not listen on {port}:\n{log.read_text(errors='replace')[-2_000:]}")


def tree_of(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in (task / "children").read_text().split())
    return found


def cpu_ns(pids: Sequence[int]) -> int:
    """CPU time of processes, all their threads, in ns."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def core_busy_s(core: int) -> float:
    """Time that anybody has spent on a core, seconds (in steps of the kernel's clock, mostly 10 ms)."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    raise BenchError(f"this machine has no core {core}")


def resident_kib(pids: Sequence[int]) -> int:
    """Resident memory of processes, KiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    total += int(line.split()[1])
    return total


@contextlib.contextmanager
def running(processes: Sequence[Process], core: int, log: Path) -> Iterator[list[int]]:
    """Processes that listen, for as long as the block lasts, the last started first; gives all their pids."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, process in enumerate(reversed(processes)):
            own_log = log.with_suffix(f".{number}.log")
            started.append(start(process.command, core, own_log))
            wait_for(process.port, started[-1], own_log)
        yield [pid for each in started for pid in tree_of(each.pid)]
    finally:
        for each in started:
            stop(each)


class Drive(NamedTuple):
    """How load is put on: see `load` in bench/programs."""

    connections: int
    rate: float = 0
    streams: int = 0
    life: int = 0
    rpc: str = ""
    body: int = 0


def drive(program: Path, port: int, how: Drive, seconds: float, head: Path, core: int) -> Load:
    """One run of the load generator against a port of loopback."""
    values = [f"{name}={value}" for name, value in how._asdict().items()]
    done = subprocess.run(
        [
            *("taskset", "-c", str(core), str(program), f"127.0.0.1:{port}", str(head)),
            *(*values, f"seconds={seconds}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"load ended with {done.returncode}: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    return Load(told["requests"], told["failures"], told["seconds"], told["p50_us"], told["p99_us"])
