"""Rows about traffic: CPU per request, latency, bytes per CPU-second.

In: a row's `Traffic`. Out: one round of figures per peer. Method: the proxy alone on core 0, load and upstream on core 1; peers
take turns inside a round, so that drift of the machine hits all alike; a measurement that others disturbed is repeated.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.figures import Round, added
from bench.measure import (
    LOAD_CORE,
    PROXY_CORE,
    Drive,
    Ports,
    Process,
    core_busy_s,
    cpu_ns,
    drive,
    resident_kib,
    running,
)
from bench.peers import PROGRAMS, Peer, Setup, make_peers
from bench.rpc import spoken_by

REQUEST = (
    "GET /items/50?page=2 HTTP/1.1\r\nhost: upstream.example\r\nuser-agent: bench\r\naccept: */*\r\n"
    "x-route: r50\r\nx-tenant: blue\r\n\r\n"
)
WARM_UP_SECONDS = 0.5
MOST_OTHERS = 25.0
"""Percent of the proxy's core that others may use; a measurement with more is made again."""
TRIES = 2


class Traffic(NamedTuple):
    """`body`: bytes of an answer, and of a call if it is RPC. `one_core`: proxy, load and upstream share a core, which spares
    wake-ups across cores."""

    setup: Setup
    drive: Drive
    body: int = 128
    one_core: bool = False


class Course(NamedTuple):
    """How a row is run."""

    rounds: int
    seconds: float
    only: tuple[str, ...]
    folder: Path


def rounds_of(traffic: Traffic, course: Course) -> Iterator[Round]:
    """Each round with every peer once, in order."""
    folder = course.folder
    head = folder / "head"
    head.write_text(REQUEST)
    ports = Ports()
    port = ports.take()
    upstream = Process((str(PROGRAMS / "upstream"), f"127.0.0.1:{port}", str(traffic.body)), port)
    core = PROXY_CORE if traffic.one_core else LOAD_CORE
    with running([upstream], core, folder / "upstream") as upstream_pids:
        peers = make_peers(traffic.setup, port, ports, folder, course.only)
        for _ in range(course.rounds):
            found = {
                peer.name: quietest(
                    partial(_measure, traffic, peer, course.seconds, head, folder, upstream_pids)
                )
                for peer in peers
            }
            yield added(found, "direct", ("p50 µs", "p99 µs"))


def drive_of(traffic: Traffic, peer: str) -> Drive:
    """How a peer is driven: all of a row alike, in what each is to speak."""
    if not traffic.setup.rpc:
        return traffic.drive
    return traffic.drive._replace(rpc=spoken_by(peer, traffic.setup.rpc), body=traffic.body)


def quietest(measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The first measurement that was hardly disturbed (`others %`), or the least disturbed one."""
    found: list[dict[str, float]] = []
    for _ in range(TRIES):
        found.append(measure())
        if found[-1]["others %"] <= MOST_OTHERS:
            break
    return min(found, key=lambda figures: figures["others %"])


def _measure(
    traffic: Traffic, peer: Peer, seconds: float, head: Path, folder: Path, upstream: list[int]
) -> dict[str, float]:
    load_core = PROXY_CORE if traffic.one_core else LOAD_CORE
    program = PROGRAMS / "load"
    how = drive_of(traffic, peer.name)
    with running(peer.processes, PROXY_CORE, folder / peer.name) as pids:
        drive(program, peer.port, how, WARM_UP_SECONDS, head, load_core)
        on_core = [*pids, *upstream] if traffic.one_core else pids
        busy, known, spent = core_busy_s(PROXY_CORE), cpu_ns(on_core) / 1e9, cpu_ns(pids)
        loaded = _children_s()
        load = drive(program, peer.port, how, seconds, head, load_core)
        spent = cpu_ns(pids) - spent
        known = cpu_ns(on_core) / 1e9 - known
        if traffic.one_core:
            known += _children_s() - loaded
        others = (core_busy_s(PROXY_CORE) - busy - known) / load.seconds
        figures = {
            "req/s": load.requests / load.seconds,
            "p50 µs": load.p50_us,
            "p99 µs": load.p99_us,
            "failed": load.failures,
            "others %": max(0.0, 100 * others),
        }
        if pids:
            figures["CPU µs"] = spent / 1e3 / max(1, load.requests)
            figures["GB/CPU s"] = load.requests * traffic.body / max(1, spent)
            figures["RSS MiB"] = resident_kib(pids) / 1024
        return figures


def _children_s() -> float:
    """CPU time of ended children: load runs, of which one ends in each measurement."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
