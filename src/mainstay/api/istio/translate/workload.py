"""WorkloadEntry and WorkloadGroup → ``Workload``, ``WorkloadGroup``; and what ServiceEntry says of single endpoints.

In: decoded objects. Out: facts. Source of the rules: istio/api workload_entry.proto, workload_group.proto.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.hosts import is_address, is_host
from mainstay.api.istio import workload_group as written
from mainstay.api.istio.service_entry import WorkloadEntry
from mainstay.api.kind import Defaults, Fact
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.api.problems import shorten
from mainstay.model.identity import DEFAULT_ACCOUNT
from mainstay.model.key import WorkloadKey, labels_of
from mainstay.model.locality import parse_locality
from mainstay.model.problem import Problem
from mainstay.model.workload import (
    TLS_MODE_LABEL,
    ExecProbe,
    GrpcProbe,
    HttpProbe,
    Probe,
    TcpProbe,
    Workload,
    WorkloadGroup,
)

MESHED = "istio"
"""Value of the label ``security.istio.io/tlsMode`` that promises mesh mTLS."""


def translate_workload_entry(thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the workload of a WorkloadEntry. Its object's labels select it as well as its own, which win."""
    found = Findings(thing)
    entry: WorkloadEntry = thing.spec
    address = read_entry_address(entry, found, ("spec",))
    workload = workload_of(entry, WorkloadKey(thing.namespace, thing.name), address, thing.metadata.labels)
    return found.or_facts([workload])


def translate_workload_group(thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the group; the template's address is each workload's own."""
    found = Findings(thing)
    group: written.WorkloadGroup = thing.spec
    template, metadata = group.template, group.metadata or written.GroupMetadata()
    if template.address is not None:
        found.add(
            "MS1106",
            ("spec", "template", "address"),
            "each workload of the group has an address of its own",
            "Leave address out",
        )
    heartbeat = thing.metadata.annotations.get(written.HEARTBEAT, "")
    if heartbeat and (group.probe is None or group.probe.tcp_socket is None):
        reason = "a heartbeat is what a tcpSocket probe says, and there is none"
        found.add("MS1106", ("metadata", "annotations", written.HEARTBEAT), reason, "Add probe.tcpSocket")
    fact = WorkloadGroup(
        thing.key,
        labels_of({**metadata.labels, **template.labels}),
        labels_of(metadata.annotations),
        tuple(sorted(template.ports.items())),
        template.service_account or DEFAULT_ACCOUNT,
        parse_locality(template.locality or ""),
        template.network or "",
        template.weight or 1,
        _probe(group.probe, heartbeat) if group.probe else None,
    )
    return found.or_facts([fact])


def read_entry_address(entry: WorkloadEntry, found: Findings, path: Path, *, names: bool = True) -> str:
    """Return an entry's address, or report why it is none; ``names`` allows DNS names."""
    at = (*path, "address")
    text = (entry.address or "").removesuffix(".")
    if entry.address is None:
        found.add("MS1010", path, "address is missing", "Add the IP address of the workload")
    elif text.startswith("unix:"):
        found.add("MS1009", at, "addresses of Unix sockets are not supported yet", "Give an IP address")
    elif is_address(text):
        return text
    elif names and is_host(text.lower()):
        return text.lower()
    else:
        allowed = "an IP address or a DNS name" if names else "an IP address, or resolution: DNS for names"
        found.add("MS1103", at, f"{shorten(entry.address)} is not an address here", f"Write {allowed}")
    return ""


def workload_of(
    entry: WorkloadEntry, key: WorkloadKey, address: str, labels: dict[str, str] | None = None
) -> Workload:
    """Return the workload an entry describes."""
    merged = {**(labels or {}), **entry.labels}
    return Workload(
        key,
        (address,),
        labels_of(merged),
        tuple(sorted(entry.ports.items())),
        entry.service_account or DEFAULT_ACCOUNT,
        parse_locality(entry.locality or ""),
        entry.network or "",
        weight=entry.weight or 1,
        meshed=merged.get(TLS_MODE_LABEL) == MESHED,
    )


def _probe(probe: written.ReadinessProbe, heartbeat: str) -> Probe:
    return Probe(
        _check(probe, heartbeat),
        probe.initial_delay_seconds * 1_000,
        probe.timeout_seconds * 1_000,
        probe.period_seconds * 1_000,
        max(1, probe.success_threshold),
        max(1, probe.failure_threshold),
    )


def _check(probe: written.ReadinessProbe, heartbeat: str) -> HttpProbe | TcpProbe | GrpcProbe | ExecProbe:
    if get := probe.http_get:
        headers = tuple((header.name.lower(), header.value) for header in get.http_headers)
        scheme = "https" if get.scheme.lower() == "https" else "http"
        return HttpProbe(get.port, get.path, get.host or "", scheme, headers)  # type: ignore[arg-type]
    if grpc := probe.grpc:
        return GrpcProbe(grpc.port, grpc.service)
    if run := probe.exec:
        return ExecProbe(run.command)
    tcp = probe.tcp_socket
    assert tcp is not None, "the decoder lets exactly one check pass"
    return TcpProbe(tcp.port, tcp.host or "", heartbeat)
