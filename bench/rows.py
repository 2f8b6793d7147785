"""The rows of the table: what each measures, and what it must reach.

In and out: declarations only. Ratios are Mainstay's figure by the peer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from bench.figures import Bar, Round
from bench.idle import rounds_of as idle_rounds
from bench.measure import Drive
from bench.peers import Setup
from bench.scale import Scale
from bench.scale import rounds_of as scale_rounds
from bench.traffic import Course, Traffic, rounds_of
from bench.yardstick import FRAME, HAND, INSTRUCTIONS
from bench.yardstick import rounds_of as yardstick_rounds

LOAD, CHANGE, RSS, CONNECTION = "load ms", "change ms", "RSS MiB", "KiB/connection"
CPU, RATE, P50, P99, BULK = "CPU µs", "req/s", "p50 µs", "p99 µs", "GB/CPU s"
_COLUMNS = (CPU, RATE, P50, P99, "RSS MiB", "failed", "others %")


class Row(NamedTuple):
    """`columns`: figures that are shown, in order. `on_request`: run only if it is named."""

    title: str
    measure: Callable[[Course], Iterator[Round]]
    bars: tuple[Bar, ...] = ()
    columns: tuple[str, ...] = _COLUMNS
    on_request: bool = False


def _traffic(
    setup: Setup, drive: Drive, body: int = 128, *, one_core: bool = False
) -> Callable[[Course], Iterator[Round]]:
    return partial(rounds_of, Traffic(setup, drive, body, one_core))


def _scale(clusters: int, rss: Bar, megabytes: int) -> Row:
    return Row(
        f"{clusters:,} clusters × 10 endpoints over delta ADS: first load, one service's endpoints, memory",
        partial(scale_rounds, Scale(clusters)),
        (
            Bar(LOAD, "envoy", 0.5, 0.3),
            Bar(CHANGE, "envoy", 1.0, beyond=2.0),
            rss,
            Bar(RSS, None, None, megabytes),
        ),
        (LOAD, "load CPU ms", CHANGE, "slowest ms", "change CPU ms", RSS, "others %"),
    )


_ALL = ("relay", "haproxy", "envoy", "mainstay")
_HOP = ("relay", "mainstay")


def _rpc(
    speech: str,
    in_flight: int,
    body: int,
    *,
    peers: tuple[str, ...] = _HOP,
    rate: float = 0,
    pair: bool = False,
) -> Callable[[Course], Iterator[Round]]:
    return _traffic(Setup("rpc", peers, pair=pair, rpc=speech), Drive(64, rate=rate, streams=in_flight), body)


def _hop(in_flight: int, body: int, *bars: Bar) -> Row:
    title = f"Bolt v1 {body:,} B, all features, {in_flight} in flight on each of 64 connections"
    return Row(title, _rpc("bolt", in_flight, body), bars, on_request=True)


_ONE, _FOUR = (Bar(CPU, "relay", 1.0, 0.75),), (Bar(CPU, "relay", 1.0), Bar(CPU, None, None, 3))
_SIXTEEN = (Bar(CPU, "relay", 2.0), Bar(CPU, None, None, 1.5))

RPC_ROWS: dict[str, Row] = {
    "rpc-1": _hop(1, 128, *_ONE),
    "rpc-4": _hop(4, 128, *_FOUR),
    "rpc-16": _hop(16, 128, *_SIXTEEN),
    "rpc-1-kib": _hop(1, 1_024, *_ONE),
    "rpc-4-kib": _hop(4, 1_024, *_FOUR),
    "rpc-16-kib": _hop(16, 1_024, *_SIXTEEN),
    "rpc-crc": Row(
        "Bolt v2 with CRC beside Bolt v1, 128 B, all features, 1 in flight",
        _rpc("bolt-crc", 1, 128, peers=("relay", "bolt", "mainstay")),
        (Bar(CPU, "bolt", 1.2),),
        on_request=True,
    ),
    "rpc-dubbo": Row(
        "Dubbo with hessian beside Bolt v1, 128 B, all features, 1 in flight",
        _rpc("dubbo", 1, 128, peers=("relay", "bolt", "mainstay")),
        (Bar(CPU, "bolt", 1.2),),
        on_request=True,
    ),
    "rpc-mtls": Row(
        "Bolt v1 1 KiB through a pair with mutual TLS between them beside two relays, all features, CPU of both",
        _rpc("bolt", 1, 1_024, pair=True),
        (Bar(CPU, "relay", 1.6),),
        on_request=True,
    ),
    "rpc-rate": Row(
        "Bolt v1 128 B at 2,000/s, all features",
        _rpc("bolt", 1, 128, peers=(*_HOP, "direct"), rate=2_000),
        (Bar(f"added {P99}", "relay", 1.0, beyond=200),),
        (CPU, RATE, P50, P99, f"added {P50}", f"added {P99}", "failed", "others %"),
        on_request=True,
    ),
    "rpc-codec": Row(
        "The described codec beside one written by hand: a call's frames read, given another id, written",
        yardstick_rounds,
        (Bar(FRAME, HAND, 1.1),),
        (FRAME, INSTRUCTIONS),
        on_request=True,
    ),
}
"""What `make bench-rpc` runs."""

ROWS: dict[str, Row] = {
    "http1": Row(
        "HTTP/1.1 128 B saturated, all features",
        _traffic(Setup("features", _ALL), Drive(64)),
        (Bar(CPU, "envoy", 0.27), Bar(CPU, "haproxy", 1.0), Bar(CPU, "relay", 1.4, 1.2)),
    ),
    "http1-rate": Row(
        "HTTP/1.1 128 B at 2,000/s, everything on one core, all features",
        _traffic(Setup("features", (*_ALL, "direct")), Drive(32, rate=2_000), one_core=True),
        (
            Bar(CPU, "envoy", 0.25),
            Bar(CPU, "haproxy", 1.0),
            Bar(CPU, "relay", None, 1.15),
            Bar(f"added {P50}", "envoy", 0.5),
            Bar(f"added {P99}", "envoy", 0.5),
        ),
        (CPU, RATE, P50, P99, f"added {P50}", f"added {P99}", "failed", "others %"),
    ),
    "http2": Row(
        "HTTP/2 (h2c) 128 B, 8 connections × 16 streams, all features",
        _traffic(Setup("features", _ALL, http2=True), Drive(8, streams=16)),
        (Bar(CPU, "envoy", 0.2), Bar(CPU, "haproxy", 1.0, 0.65)),
    ),
    "mtls": Row(
        "mTLS pair 1 KiB: HTTP/1.1 in, HTTP/2 inside TLS, HTTP/1.1 out, all features, CPU of both",
        _traffic(
            Setup("features", ("haproxy", "haproxy-h2", "envoy", "mainstay"), pair=True), Drive(64), 1_024
        ),
        (Bar(CPU, "envoy", 0.25), Bar(CPU, "haproxy", 0.6, 0.4)),
    ),
    "tcp": Row(
        "TCP 128 B saturated",
        _traffic(Setup("tcp", _ALL), Drive(64)),
        (Bar(CPU, "relay", 1.1),),
    ),
    "tcp-connection": Row(
        "TCP per connection: connect, 128 B, close",
        _traffic(Setup("tcp", _ALL), Drive(16, life=1)),
        (Bar(CPU, "relay", 1.15),),
    ),
    "tcp-bulk": Row(
        "TCP, answers of 1 MiB",
        _traffic(Setup("tcp", _ALL), Drive(16), 1 << 20),
        (Bar(BULK, "envoy", 1.0, 1.3, at_least=True),),
        (BULK, CPU, RATE, P50, P99, "RSS MiB", "failed", "others %"),
    ),
    "idle": Row(
        "Idle: one listener from a file; then connections that have been answered once and are kept",
        idle_rounds,
        (
            Bar(RSS, "envoy", 0.5),
            Bar(RSS, None, None, 28),
            Bar(CONNECTION, None, 2.0, 1.0),
        ),
        (RSS, CONNECTION, "idle CPU µs/s"),
    ),
    "clusters-1000": _scale(1_000, rss=Bar(RSS, "envoy", 0.35), megabytes=45),
    "clusters-5000": _scale(5_000, rss=Bar(RSS, "envoy", 0.25), megabytes=95),
    "embedded": Row(
        "The engine inside Python beside the engine alone, both untrained, HTTP/1.1 128 B saturated, all features",
        _traffic(Setup("features", ("bare", "mainstay"), plain=True), Drive(64)),
        (Bar(CPU, "bare", 1.05, 1.02),),
    ),
    "http1-bare": Row(
        "HTTP/1.1 128 B saturated, one route and nothing else",
        _traffic(Setup("bare", _ALL), Drive(64)),
        on_request=True,
    ),
    **RPC_ROWS,
}
