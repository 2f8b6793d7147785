"""The proxies that are compared, each as processes of which the first listens on one port and all forward to one upstream.

In: what a row wants (`Setup`), an upstream port. Out: peers. Invariant: Envoy and Mainstay start from the very same files;
haproxy gets files that do the same work as far as it can.
"""

from __future__ import annotations

import os
import shutil
import string
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench import rpc, transport
from bench.certificates import Certificates
from bench.measure import BenchError, Ports, Process

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "bench" / "configs"
PROGRAMS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
ENVOY = ROOT / ".venvs" / "envoy" / "bin" / "envoy"
PLAIN_PYTHON = ROOT / ".venv" / "bin" / "python"
"""Has what `make build` builds: the engine as it is compiled without having been trained."""
MISSING = {
    "haproxy": "haproxy is not installed (package haproxy of the distribution)",
    "envoy": f"Envoy is not there: make {ENVOY.relative_to(ROOT)}",
    "bare": "mainstay-bare is not built: cargo build --release --package mainstay-engine --bin mainstay-bare",
}


class Setup(NamedTuple):
    """`template`: of `configs/`. `http2`: the upstream speaks it, in clear text. `pair`: two proxies, mutual TLS between them.
    `rpc`: what the load speaks, if it is framed RPC; a peer named after such a speech is Mainstay, driven with that. `plain`:
    Mainstay as `make build` leaves it, since `mainstay-bare` is built so too; else that of the Python that runs this."""

    template: str
    peers: tuple[str, ...] = ("relay", "haproxy", "envoy", "mainstay")
    http2: bool = False
    pair: bool = False
    rpc: str = ""
    plain: bool = False


class Peer(NamedTuple):
    """Requests go to the first process; one without processes is the upstream itself."""

    name: str
    processes: tuple[Process, ...]
    port: int


class _Hop(NamedTuple):
    """One proxy of a peer: where it listens, where it forwards, what is spoken on either side."""

    port: int
    upstream: int
    values: dict[str, str]
    rpc: str = ""


def haproxy() -> str | None:
    return shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")


def is_there(peer: str) -> bool:
    """Whether this machine has it."""
    match peer:
        case "haproxy" | "haproxy-h2":
            return haproxy() is not None
        case "envoy":
            return ENVOY.exists()
        case "bare":
            return (PROGRAMS / "mainstay-bare").exists()
    return True


def make_peers(setup: Setup, upstream: int, ports: Ports, folder: Path, only: Sequence[str]) -> list[Peer]:
    """The peers of a row; one that this machine lacks is an error unless it was asked for without it (`only`)."""
    wanted = [name for name in setup.peers if not only or name in only]
    for name in wanted:
        if not is_there(name):
            raise BenchError(f"{MISSING[name.split('-')[0]]}; or name the others with --peer")
    certificates = Certificates.make(folder) if setup.pair else None
    return [_make(name, setup, upstream, ports, folder, certificates) for name in wanted]


def _make(
    name: str, setup: Setup, upstream: int, ports: Ports, folder: Path, certificates: Certificates | None
) -> Peer:
    if name == "direct":
        return Peer(name, (), upstream)
    speech = rpc.spoken_by(name, setup.rpc)
    hops = [hop._replace(rpc=speech) for hop in _hops(name, setup, upstream, ports, certificates)]
    processes = tuple(
        Process(command(name, setup, hop, folder / f"{name}-{number}"), hop.port)
        for number, hop in enumerate(hops)
    )
    return Peer(name, processes, hops[0].port)


def _hops(
    name: str, setup: Setup, upstream: int, ports: Ports, certificates: Certificates | None
) -> list[_Hop]:
    if certificates is None:
        speech = transport.clear_http2() if setup.http2 else transport.clear()
        return [_Hop(ports.take(), upstream, speech)]
    front, back = ports.take(), ports.take()
    if setup.rpc:
        inside, inward = transport.outbound_rpc(certificates), transport.inbound_rpc(certificates)
    else:
        inside = transport.outbound(certificates, http2=name != "haproxy")
        inward = transport.inbound(certificates)
    return [_Hop(front, back, inside), _Hop(back, upstream, inward)]


def command(name: str, setup: Setup, hop: _Hop, prefix: Path) -> tuple[str, ...]:
    """What starts one proxy; its configuration is written beside."""
    if name == "relay":
        return (str(PROGRAMS / "relay"), f"127.0.0.1:{hop.port}", f"127.0.0.1:{hop.upstream}")
    own = name.split("-")[0]
    kind = "haproxy.cfg" if own == "haproxy" else "envoy.yaml"
    config = prefix.with_suffix(f".{kind}")
    config.write_text(
        string.Template((CONFIGS / f"{setup.template}.{kind}").read_text()).substitute(
            hop.values | rpc.values(hop.rpc), port=hop.port, upstream=hop.upstream
        )
    )
    match own:
        case "haproxy":
            return (haproxy() or "haproxy", "-db", "-f", str(config))
        case "envoy":
            return envoy(config)
        case "mainstay" | "bolt":
            return mainstay(config, PLAIN_PYTHON if setup.plain else Path(sys.executable))
        case "bare":
            return (str(PROGRAMS / "mainstay-bare"), str(delta_of(config)), "1")
    raise BenchError(f"nobody knows how to start {name}")


def envoy(config: Path) -> tuple[str, ...]:
    flags = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    return (str(ENVOY), "-c", str(config), *flags)


def mainstay(config: Path, python: Path = Path(sys.executable)) -> tuple[str, ...]:
    """The whole sidecar, Python and engine."""
    flags = ("--concurrency", "1", "--metrics-port", "0", "--health-port", "0", "--log-level", "warning")
    return (str(python), "-m", "mainstay", "sidecar", "--bootstrap", str(config), *flags)


def delta_of(config: Path) -> Path:
    """What the sidecar hands to its engine at the start, as `mainstay-bare` reads it."""
    from mainstay.engine import Delta, Upsert
    from mainstay.sidecar.bootstrap.read import read_bootstrap

    upserts = [
        Upsert(each.kind, each.name, each.digest, each.body)
        for converted in read_bootstrap(config, "bench").static
        for each in (*converted.inline, converted.resource)
    ]
    made = config.with_suffix(".delta")
    made.write_bytes(msgspec.msgpack.encode(Delta(tuple(upserts))))
    return made
