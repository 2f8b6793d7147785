"""Frames of shipped protocols through a sidecar: which provider sees what, what callers hear, what is logged. Cases are data."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rpc_bootstrap import (
    ENVOY_DUBBO,
    TYPE,
    chain,
    check,
    cluster,
    described,
    first_of,
    listener,
    table,
    to,
    when,
    write,
)
from rpc_cases import CASES, PROVIDERS, Case, Provider, Run, Subject, read_cases
from rpc_frames import frame
from rpc_sidecars import Processes

from ports import free_port
from waiting import until

SUBJECTS = {path.stem: read_cases(path) for path in sorted(CASES.glob("*.yaml"))}
LOGGED = {
    "id": "%RPC_REQUEST_ID%",
    "service": "%RPC_SERVICE%",
    "method": "%RPC_METHOD%",
    "status": "%RPC_STATUS%",
    "code": "%RESPONSE_CODE%",
    "oneWay": "%RPC_ONE_WAY%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "flags": "%RESPONSE_FLAGS%",
    "canary": "%REQ(x-canary)%",
}


class Proxy(NamedTuple):
    """One that runs, with the providers behind it. Calls of the subject's service go to `plain`, and to `canary` with the header
    `x-canary: yes` or the method `canary`."""

    kind: str
    port: int
    providers: dict[str, Provider]
    log: Path

    def line_of(self, case: Case) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def is_written() -> bool:
            text = self.log.read_text() if self.log.exists() else ""
            lines = [json.loads(line) for line in text.splitlines()]
            found[:] = [line for line in lines if line["id"] == case.id]
            return bool(found)

        until(is_written, "a line of the call")
        [line] = found
        return line


Started = Callable[[str, Subject], Proxy]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    processes = Processes(tmp_path_factory.mktemp("cases"))
    running: dict[tuple[str, str], Proxy] = {}

    def start(kind: str, subject: Subject) -> Proxy:
        if (kind, subject.protocol) not in running:
            folder = tmp_path_factory.mktemp(f"{kind}-{subject.protocol}")
            running[kind, subject.protocol] = _start(processes, kind, subject, folder)
        return running[kind, subject.protocol]

    yield start
    processes.close()
    for proxy in running.values():
        for provider in proxy.providers.values():
            provider.close()


def _start(processes: Processes, kind: str, subject: Subject, folder: Path) -> Proxy:
    proxy = Proxy(kind, free_port(), {name: Provider() for name in PROVIDERS}, folder / "log")
    routes = first_of(
        when(check("x-canary", exact="yes"), to("canary")),
        when(check("method", exact="canary"), to("canary")),
        otherwise=to("plain"),
    )
    log = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": TYPE + "access_loggers.file.v3.FileAccessLog",
            "path": str(proxy.log),
            "log_format": {"json_format": LOGGED},
        },
    }
    codec = described(subject.protocol) if kind == "mainstay" else ENVOY_DUBBO
    logs = [log] if kind == "mainstay" else []
    made = chain(codec, table(first_of(), {subject.service: routes}), access_log=logs)
    clusters = [cluster(name, provider.port) for name, provider in proxy.providers.items()]
    file = write(folder / f"{subject.protocol}.yaml", [listener(proxy.port, made)], clusters)
    processes.start(kind, file, proxy.port)
    return proxy


def _cases(kind: str) -> list[Any]:
    return [
        pytest.param(kind, subject, case, id=f"{kind}-{name}-{case.id}")
        for name, subject in SUBJECTS.items()
        for case in subject.cases
        if kind == "mainstay" or (name == "dubbo" and not case.envoy)
    ]


def test_no_case_is_lost() -> None:
    """Each protocol has what every one must have."""
    assert set(SUBJECTS) >= {"bolt", "dubbo", "thrift"}
    for name, subject in SUBJECTS.items():
        told = " ".join(case.name for case in subject.cases)
        for wanted in ("request", "one way", "broken", "no route", "error"):
            assert wanted in told, f"{name} has no case of: {wanted}"


@pytest.mark.parametrize(("kind", "subject", "case"), _cases("mainstay"))
def test_a_sidecar_does_as_the_case_says(kind: str, subject: Subject, case: Case, started: Started) -> None:
    proxy = started(kind, subject)
    Run(case, subject.id_bytes, proxy.port, proxy.providers).go()
    if case.log:
        line = proxy.line_of(case)
        assert {name: line[name] for name in case.log} == case.log


@pytest.mark.envoy
@pytest.mark.parametrize(("kind", "subject", "case"), _cases("envoy"))
def test_envoy_does_the_same(kind: str, subject: Subject, case: Case, started: Started) -> None:
    proxy = started(kind, subject)
    Run(case, subject.id_bytes, proxy.port, proxy.providers).go()


def test_frames_are_what_is_written() -> None:
    made = frame('01 2#name $id name{ 1:"ab" "c" } crc32', 7, id_bytes=2)
    front = bytes.fromhex("01 0004 0007 02616263")
    assert made == (front + zlib.crc32(front).to_bytes(4, "big"), 3, 2)
    assert frame("4#all all{ 00 $id }", 5) == (bytes.fromhex("00000005 00 00000005"), 5, 4)
    for wrong in ('"a', "0g", "2#", "abc", "1#b"):
        with pytest.raises((ValueError, KeyError)):
            frame(wrong)
