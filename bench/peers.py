"""The proxies that are compared, each as a command that listens on one port and forwards to one upstream.

In: a row's bootstrap file (Envoy's format, which Mainstay takes too), an upstream port. Out: commands. Invariant: Envoy and
Mainstay start from the very same file; haproxy gets a file that does the same work as far as it can.
"""

from __future__ import annotations

import shutil
import string
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "bench" / "configs"
PROGRAMS = ROOT / "target" / "release"
ENVOY = ROOT / ".venvs" / "envoy" / "bin" / "envoy"


class Peer(NamedTuple):
    """`command` starts it; it listens on `port`."""

    name: str
    command: tuple[str, ...]
    port: int


def render(name: str, folder: Path, **values: object) -> Path:
    """A configuration file from its template (`$NAME` is replaced), in `folder`."""
    text = string.Template((CONFIGS / name).read_text()).safe_substitute(
        {k: str(v) for k, v in values.items()}
    )
    made = folder / f"{values['peer']}-{name}"
    made.write_text(text)
    return made


def make_peers(row: str, upstream: int, first_port: int, folder: Path) -> list[Peer]:
    """All peers of a row that this machine has: relay, haproxy, envoy, mainstay."""
    relay_port, haproxy_port, envoy_port, own_port = range(first_port, first_port + 4)
    found = [
        Peer(
            "relay",
            (str(PROGRAMS / "relay"), f"127.0.0.1:{relay_port}", f"127.0.0.1:{upstream}"),
            relay_port,
        )
    ]
    haproxy = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
    if haproxy and (CONFIGS / f"{row}.haproxy.cfg").exists():
        config = render(f"{row}.haproxy.cfg", folder, peer="haproxy", port=haproxy_port, upstream=upstream)
        found.append(Peer("haproxy", (haproxy, "-db", "-f", str(config)), haproxy_port))
    if ENVOY.exists():
        config = render(
            f"{row}.envoy.yaml", folder, peer="envoy", port=envoy_port, upstream=upstream, admin=0
        )
        flags = ("--concurrency", "1", "--base-id", str(envoy_port), "--log-level", "warning")
        found.append(Peer("envoy", (str(ENVOY), "-c", str(config), *flags), envoy_port))
    config = render(f"{row}.envoy.yaml", folder, peer="mainstay", port=own_port, upstream=upstream, admin=0)
    own = (sys.executable, "-m", "mainstay", "sidecar", "--bootstrap", str(config), "--concurrency", "1")
    found.append(Peer("mainstay", own, own_port))
    return found
