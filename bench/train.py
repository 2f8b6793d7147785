"""`python -m bench.train`: load that tells the compiler what runs, for a build of the engine that counts (see `make wheel`).

In: an engine that was built with `-Cprofile-generate`, under the Python that runs this. Out: what its processes write when they
end. It is the benchmark's own traffic for a second or two a row, and the shop for the control plane, discovery and mutual
TLS: what is not run here is held to be rare, and is made small instead of quick.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import (
    LOAD_CORE,
    PROXY_CORE,
    BenchError,
    Drive,
    Ports,
    Process,
    drive,
    running,
    start,
    wait_for,
)
from bench.peers import PROGRAMS, Setup, make_peers
from bench.traffic import REQUEST

ROWS = (
    (Setup("features"), Drive(64)),
    (Setup("features", http2=True), Drive(8, streams=16)),
    (Setup("features", pair=True), Drive(64)),
    (Setup("tcp"), Drive(64)),
    (Setup("tcp"), Drive(16, life=1)),
    (Setup("rpc", rpc="bolt"), Drive(64, streams=4, rpc="bolt", body=128)),
    (Setup("rpc", rpc="bolt"), Drive(64, rate=2_000, streams=1, rpc="bolt", body=1_024)),
    (Setup("rpc", rpc="bolt-crc"), Drive(64, streams=1, rpc="bolt-crc", body=128)),
    (Setup("rpc", rpc="dubbo"), Drive(64, streams=1, rpc="dubbo", body=128)),
    (Setup("rpc", rpc="bolt", pair=True), Drive(64, streams=4, rpc="bolt", body=1_024)),
)
SECONDS = 1.5
SHOP_SECONDS = 15
BODY = 128
END_SECONDS = 60
"""How long a proxy may take to end once it is told to."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="mainstay-train-") as made:
        for number, (setup, how) in enumerate(ROWS):
            folder = Path(made) / str(number)
            folder.mkdir()
            _run(setup, how, folder)
    shop = [sys.executable, "-m", "mainstay", "up", "shop", "--for", f"{SHOP_SECONDS}s", "--output", "json"]
    subprocess.run(shop, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return 0


def _run(setup: Setup, how: Drive, folder: Path) -> None:
    head = folder / "head"
    head.write_text(REQUEST)
    ports = Ports()
    port = ports.take()
    upstream = Process((str(PROGRAMS / "upstream"), f"127.0.0.1:{port}", str(BODY)), port)
    with running([upstream], LOAD_CORE, folder / "upstream"):
        (peer,) = make_peers(setup, port, ports, folder, ("mainstay",))
        with contextlib.ExitStack() as stack:
            for number, process in enumerate(reversed(peer.processes)):
                log = folder / f"proxy-{number}.log"
                started = start(process.command, PROXY_CORE, log)
                stack.callback(_end, started)
                wait_for(process.port, started, log)
            told = drive(PROGRAMS / "load", peer.port, how, SECONDS, head, LOAD_CORE)
    if told.failures or not told.requests:
        raise BenchError(f"{setup.template}: {told.failures} of {told.requests} requests failed")


def _end(process: subprocess.Popen[bytes]) -> None:
    """In order: only a process that ends by itself writes what it has counted."""
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(END_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
