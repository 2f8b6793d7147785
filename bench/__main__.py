"""`python -m bench [ROW …]`: CPU per request and latency of Mainstay, a byte relay, haproxy and Envoy, paired in one run.

In: rows (see `ROWS`), rounds, seconds. Out: a table of medians and ratios, and a file in `bench/results/`. Method: the proxy
alone on core 0, load and upstream on core 1; rounds are interleaved, so that drift of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.measure import LOAD_CORE, PROXY_CORE, Load, cpu_ns, drive, resident_kib, running, tree_of
from bench.peers import PROGRAMS, ROOT, Peer, make_peers

FIRST_PORT = 21_000


class Row(NamedTuple):
    """`config` names the template; `rate` 0 is saturation; `one_core`: proxy, load and upstream share a core."""

    title: str
    config: str
    connections: int
    rate: float
    body: int
    one_core: bool = False


ROWS: dict[str, Row] = {
    "http1-bare": Row("HTTP/1.1 128 B saturated, bare", "http1-bare", 64, 0, 128),
    "http1": Row("HTTP/1.1 128 B saturated, all features", "http1-features", 64, 0, 128),
    "http1-rate": Row(
        "HTTP/1.1 128 B at 2,000/s on one core, all features", "http1-features", 32, 2_000, 128, True
    ),
    "tcp": Row("TCP 128 B saturated", "tcp", 64, 0, 128),
}

REQUEST = (
    "GET /items/50?page=2 HTTP/1.1\r\nhost: upstream.example\r\nuser-agent: bench\r\naccept: */*\r\n"
    "x-route: r50\r\nx-tenant: blue\r\n\r\n"
)


class Sample(NamedTuple):
    """Of one peer in one round."""

    cpu_us: float
    load: Load
    rss_kib: int


def measure_round(row: Row, peers: list[Peer], seconds: float, head: Path, folder: Path) -> dict[str, Sample]:
    """Each peer once, in order."""
    found: dict[str, Sample] = {}
    load_core = PROXY_CORE if row.one_core else LOAD_CORE
    for peer in peers:
        with running(peer.command, PROXY_CORE, peer.port, folder / f"{peer.name}.log") as pid:
            program = PROGRAMS / "load"
            drive(program, peer.port, row.connections, min(1.0, seconds), row.rate, head, load_core)
            tree = tree_of(pid)
            before = cpu_ns(tree)
            load = drive(program, peer.port, row.connections, seconds, row.rate, head, load_core)
            spent = cpu_ns(tree) - before
            found[peer.name] = Sample(spent / 1_000 / max(1, load.requests), load, resident_kib(tree))
    return found


def run_row(name: str, row: Row, rounds: int, seconds: float, only: list[str]) -> dict[str, object]:
    """Medians of a row, as JSON values."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        head = folder / "head"
        head.write_text(REQUEST)
        upstream_port = FIRST_PORT + 99
        upstream = (str(PROGRAMS / "upstream"), f"127.0.0.1:{upstream_port}", str(row.body))
        core = PROXY_CORE if row.one_core else LOAD_CORE
        with running(upstream, core, upstream_port, folder / "upstream.log"):
            peers = make_peers(row.config, upstream_port, FIRST_PORT, folder)
            peers = [peer for peer in peers if not only or peer.name in only]
            samples = [measure_round(row, peers, seconds, head, folder) for _ in range(rounds)]
    shown: dict[str, object] = {}
    for peer in samples[0]:
        each = [sample[peer] for sample in samples]
        shown[peer] = {
            "cpu_us": round(statistics.median(one.cpu_us for one in each), 2),
            "requests_per_second": round(
                statistics.median(one.load.requests / one.load.seconds for one in each)
            ),
            "failures": sum(one.load.failures for one in each),
            "p50_us": statistics.median(one.load.p50_us for one in each),
            "p99_us": statistics.median(one.load.p99_us for one in each),
            "rss_mib": round(statistics.median(one.rss_kib for one in each) / 1024, 1),
            "mainstay_ratio": ratio(samples, peer),
        }
    return {"row": name, "title": row.title, "rounds": rounds, "seconds": seconds, "peers": shown}


def ratio(samples: list[dict[str, Sample]], peer: str) -> float:
    """Median of Mainstay's CPU per request by that of a peer, paired round by round; 0 if Mainstay did not run."""
    pairs = [sample["mainstay"].cpu_us / sample[peer].cpu_us for sample in samples if "mainstay" in sample]
    return round(statistics.median(pairs), 3) if pairs else 0.0


def show(result: dict[str, object]) -> None:
    print(f"\n{result['title']}")
    print(
        f"{'':10} {'CPU µs/req':>11} {'Mainstay ×':>11} {'req/s':>9} {'p50 µs':>8} {'p99 µs':>8} {'RSS MiB':>8} {'failed':>7}"
    )
    peers = result["peers"]
    assert isinstance(peers, dict)
    for name, each in peers.items():
        print(
            f"{name:10} {each['cpu_us']:>11} {each['mainstay_ratio']:>11} {each['requests_per_second']:>9} "
            f"{each['p50_us']:>8.0f} {each['p99_us']:>8.0f} {each['rss_mib']:>8} {each['failures']:>7}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help="rows to run; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of each measurement (default 4)")
    parser.add_argument("--peer", action="append", default=[], help="only this peer (may be repeated)")
    parser.add_argument("--save", action="store_true", help="write bench/results/DATE.json")
    given = parser.parse_args()
    results = []
    for name in given.rows or ROWS:
        results.append(run_row(name, ROWS[name], given.rounds, given.seconds, given.peer))
        show(results[-1])
    if given.save:
        folder = ROOT / "bench" / "results"
        folder.mkdir(exist_ok=True)
        about = {"machine": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        made = folder / f"{datetime.date.today().isoformat()}.json"
        made.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
        print(f"\nwritten: {made.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
