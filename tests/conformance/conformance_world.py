"""A subject brought to life: its upstreams, its bootstrap file, and one proxy after the other started from that same file."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import yaml
from conformance_bootstrap import Place, write
from conformance_case import Subject, fill
from conformance_proxy import KINDS, Proxy
from conformance_run import Run, run_all
from conformance_upstream import Upstream, Upstreams, read_script
from engine_tls import Authority

_FIRST_PORT, _LAST_PORT = 12_000, 32_000
"""Below those that systems give to clients, so that no connection takes a listener's port between the two proxies."""

Wrong = dict[str, dict[str, list[str]]]
"""By kind of proxy and slug of case."""


def run_subject(subject: Subject, folder: Path, envoy: str) -> Wrong:
    """Every case, on both proxies."""
    certificates = folder / "certs"
    write_certificates(certificates)
    servers = Upstreams(certificates)
    upstreams = {
        case.slug: {
            name: servers.add(read_script(fill(script, {"host": case.domain}, case.name)))
            for name, script in case.fields.get("upstreams", {"app": {}}).items()
        }
        for case in subject.cases
    }
    ports = free_ports()
    bootstrap = write(subject, upstreams, folder, lambda: next(ports))
    file = folder / "bootstrap.yaml"
    file.write_text(yaml.dump(bootstrap.document, Dumper=_Plain, sort_keys=False))
    servers.start()
    try:
        return {
            kind: _run_on(
                kind, subject, envoy, file, bootstrap.admin, bootstrap.places, upstreams, certificates
            )
            for kind in os.environ.get("MAINSTAY_CONFORMANCE_KINDS", ",".join(KINDS)).split(",")
        }
    finally:
        servers.close()


def _run_on(
    kind: str,
    subject: Subject,
    envoy: str,
    file: Path,
    admin: int,
    places: dict[str, Place],
    upstreams: dict[str, dict[str, Upstream]],
    certificates: Path,
) -> dict[str, list[str]]:
    proxy = Proxy(kind, envoy, file, admin)
    try:
        runs = [
            Run(case, proxy, places[case.slug], upstreams[case.slug], certificates) for case in subject.cases
        ]
        return run_all(runs)
    finally:
        proxy.stop()


class _Plain(yaml.CSafeDumper):
    """Without anchors: the file is for people too."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def free_ports() -> Iterator[int]:
    start = os.getpid() * 37 % (_LAST_PORT - _FIRST_PORT)
    for offset in itertools.count():
        port = _FIRST_PORT + (start + offset) % (_LAST_PORT - _FIRST_PORT)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            yield port


def write_certificates(folder: Path) -> None:
    """What cases name: `server`, `other` and `client` of one authority, `stranger` of another."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, foreign = Authority(), Authority()
    (folder / "roots.pem").write_bytes(authority.roots)
    (folder / "foreign.pem").write_bytes(foreign.roots)
    names = {
        "server": ("server.test", "spiffe://cluster.local/ns/shop/sa/server"),
        "other": ("other.test", "spiffe://cluster.local/ns/shop/sa/other"),
        "client": ("spiffe://cluster.local/ns/shop/sa/client",),
        "stranger": ("spiffe://cluster.local/ns/shop/sa/client",),
    }
    for name, alternatives in names.items():
        leaf = (foreign if name == "stranger" else authority).issue(*alternatives)
        (folder / f"{name}.pem").write_bytes(leaf.certificate)
        key = folder / f"{name}-key.pem"
        key.write_bytes(leaf.key)
        key.chmod(0o600)
