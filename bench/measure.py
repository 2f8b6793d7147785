"""Processes under measurement: started on one core, their CPU time read, load driven from the other.

In: commands. Out: CPU nanoseconds of a process tree, figures of a load run. Invariant: a target is measured only while its load
runs, and the time is the kernel's own (`schedstat`), not a sample of it.
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


class Load(NamedTuple):
    """Figures of one load run; latencies in µs."""

    requests: int
    failures: int
    seconds: float
    p50_us: float
    p99_us: float


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
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 20) -> None:
    """Returns once the port takes connections; raises with the process's last words if it never does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise RuntimeError(
        f"{' '.join(map(str, process.args))} does not listen on {port}:\n{log.read_text()[-2_000:]}"
    )  # type: ignore[arg-type]


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


def resident_kib(pids: Sequence[int]) -> int:
    """Proportional share of resident memory of processes (PSS), KiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    total += int(line.split()[1])
    return total


@contextlib.contextmanager
def running(command: Sequence[str], core: int, port: int, log: Path) -> Iterator[int]:
    """A process that listens on `port`, for as long as the block lasts; gives its pid."""
    process = start(command, core, log)
    try:
        wait_for(port, process, log)
        yield process.pid
    finally:
        stop(process)


def drive(
    program: Path, port: int, connections: int, seconds: float, rate: float, head: Path, core: int
) -> Load:
    """One run of the load generator against a port of loopback."""
    done = subprocess.run(
        [
            *("taskset", "-c", str(core), str(program), f"127.0.0.1:{port}"),
            *(str(connections), str(seconds), str(rate), str(head)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    return Load(told["requests"], told["failures"], told["seconds"], told["p50_us"], told["p99_us"])
