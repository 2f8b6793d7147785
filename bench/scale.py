"""Rows about scale: loading a mesh from a control plane, one change in force, and what it weighs.

In: clusters. Out: one round of figures per peer. Method: the same scripted control plane for all (`discovery`), on core 1 with
the upstreams; the proxy alone on core 0. *All in force*: the last response acknowledged, and a request answered through the last
cluster. *A change in force*: from the push of one service's endpoints to the first answer from the new ones.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import string
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.discovery import ASSIGNMENT_URL, Discovery, Mesh, Resource, assignment, cluster_name
from bench.figures import Round
from bench.measure import (
    LOAD_CORE,
    PROXY_CORE,
    BenchError,
    Ports,
    Process,
    core_busy_s,
    cpu_ns,
    resident_kib,
    running,
    start,
    stop,
    tree_of,
)
from bench.peers import CONFIGS, MISSING, PROGRAMS, envoy, is_there, mainstay
from bench.traffic import Course, quietest
from mainstay.xds.types import Variant

PEERS = ("envoy", "mainstay")
API_TYPES: dict[Variant, str] = {"sotw": "GRPC", "delta": "DELTA_GRPC"}
LONGEST_LOAD_SECONDS = 60.0
CHANGES = 20
SETTLE_SECONDS = 0.5
BODIES = (128, 129)
"""Bytes of the answers of the two upstreams, which tell them apart."""


class Scale(NamedTuple):
    """See the module."""

    clusters: int
    variant: Variant = "delta"


def rounds_of(scale: Scale, course: Course) -> Iterator[Round]:
    """Each round with every peer once, in order."""
    ports = Ports()
    upstreams = [ports.take() for _ in BODIES]
    programs = [
        Process((str(PROGRAMS / "upstream"), f"127.0.0.1:{port}", str(body)), port)
        for port, body in zip(upstreams, BODIES, strict=True)
    ]
    for peer in PEERS:
        if not is_there(peer):
            raise BenchError(MISSING[peer])
    with running(programs, LOAD_CORE, course.folder / "upstreams"), on_core(LOAD_CORE):
        for _ in range(course.rounds):
            yield {
                peer: quietest(partial(_measure, peer, scale, upstreams, ports, course.folder))
                for peer in PEERS
                if not course.only or peer in course.only
            }


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process, which is control plane and client here, keeps off the proxy's core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _measure(peer: str, scale: Scale, upstreams: list[int], ports: Ports, folder: Path) -> dict[str, float]:
    control, front = ports.take(), ports.take()
    config = folder / f"{peer}.ads.yaml"
    template = string.Template((CONFIGS / "ads.envoy.yaml").read_text())
    config.write_text(template.substitute(api_type=API_TYPES[scale.variant], control=control))
    mesh = Mesh.make(scale.clusters, upstreams[0], front)
    discovery = Discovery(mesh, scale.variant, control)
    del mesh
    log = folder / f"{peer}.log"
    busy, started = core_busy_s(PROXY_CORE), time.monotonic()
    process = start(envoy(config) if peer == "envoy" else mainstay(config), PROXY_CORE, log)
    try:
        acknowledged = discovery.wait(LONGEST_LOAD_SECONDS)
        probe = Probe(front)
        answered = probe.until(BODIES[0], LONGEST_LOAD_SECONDS)
        pids = tree_of(process.pid)
        spent = cpu_ns(pids) / 1e9
        others = max(0.0, core_busy_s(PROXY_CORE) - busy - spent) / (time.monotonic() - started)
        figures = {"load ms": (max(acknowledged, answered) - discovery.connected) * 1e3}
        figures |= {"load CPU ms": spent * 1e3, "others %": 100 * others}
        time.sleep(SETTLE_SECONDS)
        figures["RSS MiB"] = resident_kib(pids) / 1024
        figures |= _change(scale, discovery, probe, upstreams, pids)
    except BenchError as error:
        raise BenchError(f"{peer}: {error}\n{log.read_text(errors='replace')[-2_000:]}") from None
    finally:
        stop(process)
        discovery.stop()
    return figures


def _change(
    scale: Scale, discovery: Discovery, probe: Probe, upstreams: list[int], pids: list[int]
) -> dict[str, float]:
    """Endpoints of the last cluster go from one upstream to the other and back."""
    number = scale.clusters - 1
    times = []
    spent = cpu_ns(pids)
    for turn in range(CHANGES):
        new = (turn + 1) % 2
        resource = Resource(cluster_name(number), assignment(number, upstreams[new]))
        pushed = discovery.push(ASSIGNMENT_URL, resource)
        times.append((probe.until(BODIES[new], 10.0) - pushed) * 1e3)
        discovery.wait(10.0)
        # What a change leaves to be done must not be counted with the next.
        time.sleep(0.02)
    cpu = (cpu_ns(pids) - spent) / 1e6 / CHANGES
    return {"change ms": statistics.median(times), "slowest ms": max(times), "change CPU ms": cpu}


class Probe:
    """Asks the proxy again and again, on one connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def until(self, body: int, seconds: float) -> float:
        """When the first answer with a body of that size came, monotonic."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if self._ask() == body:
                return time.monotonic()
            time.sleep(max(0.0, 0.0001 - (time.monotonic() - now)))
        raise BenchError(f"no answer from the wanted upstream within {seconds:.0f} s")

    def _ask(self) -> int:
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            self._connection.request("GET", "/")
            answer = self._connection.getresponse()
            found = len(answer.read())
            return found if answer.status == 200 else -1
        except (OSError, http.client.HTTPException):
            self._connection = None
            return -1
