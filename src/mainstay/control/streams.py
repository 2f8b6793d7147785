"""xDS streams meet the mesh: who a stream is, what it registers, which view it gets.

In: what `xds.serve_grpcio` tells of streams. Out: proxies opened and closed, registrations, refusals. Invariants: a stream is
who its client certificate says, and its node must agree with it (`judge`); whoever does not agree gets PERMISSION_DENIED,
and an audit line is written; a registration is made from what was checked, never from what was claimed; a gateway is what
somebody wrote for its account, with the labels written there, since by labels it gets listeners and secrets. Implements
`xds.serve_grpcio.Owner`; everything runs on the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from mainstay.compile.node import proxy_of_node
from mainstay.compile.resource import Kind
from mainstay.compile.traits import Proxy
from mainstay.control.proxies import Names, Proxies, ProxyView
from mainstay.model.application import MARK, Application, decode_application
from mainstay.model.endpoints import Health
from mainstay.model.key import Labels, ObjectKey, WorkloadKey
from mainstay.model.workload import Registration, Workload, WorkloadGroup
from mainstay.sources.workloads import WorkloadsSource
from mainstay.telemetry.log import get_log
from mainstay.xds.messages import Node
from mainstay.xds.serve_grpcio import RefusedStream, Stream
from mainstay.xds.server.types import (
    Answered,
    ApplicationReported,
    Demanded,
    HealthReported,
    KindStatus,
)
from mainstay.xds.types import DRAINING

log = get_log("xds")

INVALID_ARGUMENT = 3
PERMISSION_DENIED = 7
UNAVAILABLE = 14

GROUP_METADATA = "AUTO_REGISTER_GROUP"
"""Node metadata: name of the WorkloadGroup the proxy registers into (Istio's)."""
ACCOUNT_METADATA = "SERVICE_ACCOUNT"


class Workloads(Protocol):
    """What is known of workloads, to be compared with what a node claims."""

    def find_workload(self, key: WorkloadKey) -> Workload | None: ...

    def find_group(self, key: ObjectKey) -> WorkloadGroup | None: ...


class Judge(Protocol):
    """Decides whether an identity may be this node."""

    def __call__(self, identity: str, namespace: str, account: str) -> str:
        """Why not; empty if it may. `account` empty: any of the namespace."""


Audit = Callable[[str, str, str, str], None]
"""`audit(who, action, object, result)`."""


class Streams:
    """See the module. `is_synced()`: every source was read, so that what is not known does not exist."""

    def __init__(
        self,
        proxies: Proxies,
        registrations: WorkloadsSource,
        workloads: Workloads,
        judge: Judge,
        audit: Audit,
        is_synced: Callable[[], bool],
    ) -> None:
        self._proxies = proxies
        self._registrations = registrations
        self._workloads = workloads
        self._judge = judge
        self._audit = audit
        self._is_synced = is_synced
        self._is_leaving = False

    def leave(self) -> None:
        """The control plane stops: streams that end from now on are ended by us, and say nothing of their workloads."""
        self._is_leaving = True

    def opened(self, stream: Stream) -> None:
        """A stream has told its node."""
        node = stream.node
        try:
            proxy = proxy_of_node(node.id, node.metadata, node.user_agent)
        except ValueError as error:
            raise RefusedStream(INVALID_ARGUMENT, str(error)) from None
        if not self._is_synced():
            raise RefusedStream(
                UNAVAILABLE, "the control plane is still reading its configuration; try again"
            )
        claim = self._claim(node, proxy)
        if stream.peer.insecure:
            proxy, reason = msgspec.structs.replace(proxy, proven=False), ""
        else:
            proxy, reason = self._check(stream, proxy, claim)
        if reason:
            self._audit(stream.peer.identity or stream.peer.address, "xds", node.id, f"refused: {reason}")
            raise RefusedStream(PERMISSION_DENIED, f"node {node.id!r}: {reason}")
        name = _name_of(stream)
        if claim is not None:
            self._registrations.open_stream(name, claim)
        self._proxies.open(name, proxy, _Subscriber(stream))
        log.info("proxy connected", node=node.id, identity=stream.peer.identity, address=stream.peer.address)

    def demanded(self, stream: Stream, demand: Demanded) -> None:
        """Names are looked up in the view as it is; nothing has to be made for them."""

    def answered(self, stream: Stream, answer: Answered) -> None:
        """Refusals are the operator's business: they are logged once, in the proxy's words."""
        for refused in answer.refused:
            log.warning(
                "proxy refused a resource",
                node=stream.node.id,
                kind=answer.kind,
                name=refused.name,
                reason=refused.words,
            )

    def health_reported(self, stream: Stream, report: HealthReported) -> None:
        """A sidecar says how its workload is."""
        health = Health.HEALTHY
        if not report.healthy:
            health = Health.DRAINING if report.reason.startswith(DRAINING) else Health.UNHEALTHY
        self._registrations.report(_name_of(stream), health)
        log.info("workload reported", node=stream.node.id, health=health.name.lower(), reason=report.reason)

    def application_reported(self, stream: Stream, report: ApplicationReported) -> None:
        """A sidecar tells what its application publishes and wants: in the namespace of its own identity, whatever it says."""
        try:
            application = decode_application(report.text)
        except ValueError as error:
            log.warning("cannot take what a workload publishes", node=stream.node.id, reason=str(error))
            return
        self._registrations.tell(_name_of(stream), application)
        log.info(
            "workload publishes",
            node=stream.node.id,
            published=len(application.published),
            subscribed=len(application.subscribed),
        )

    def closed(self, stream: Stream) -> None:
        """An opened stream has ended."""
        name = _name_of(stream)
        if not self._is_leaving:
            self._registrations.close_stream(name)
        self._proxies.close(name)
        log.info("proxy disconnected", node=stream.node.id)

    def _claim(self, node: Node, proxy: Proxy) -> Registration | None:
        """What the proxy would register, None for gateways and for proxies beside which an agent does it."""
        if proxy.kind == "gateway" or (proxy.kind == "sidecar" and proxy.capability.has_agent):
            return None
        group = str(node.metadata.get(GROUP_METADATA) or "")
        return Registration(
            key=_key_of(node, proxy),
            group=ObjectKey(proxy.namespace, group) if group else None,
            addresses=proxy.addresses,
            labels=proxy.labels,
            network=str(node.metadata.get("NETWORK") or ""),
            # An agent is ours, the proxy beside it is not.
            h2_tunnel=proxy.capability.h2_tunnel and proxy.kind == "sidecar",
            application=Application() if node.metadata.get(MARK) else None,
        )

    def _check(self, stream: Stream, proxy: Proxy, claim: Registration | None) -> tuple[Proxy, str]:
        """The proxy as it may be, and why it may not be; empty if it may."""
        identity, metadata = stream.peer.identity, stream.node.metadata
        if proxy.kind == "gateway":
            key = _key_of(stream.node, proxy)
            labels, account, reason = self._find_gateway(key, proxy.group)
            reason = reason or self._judge(identity, proxy.namespace, account)
            return msgspec.structs.replace(proxy, labels=labels), reason
        account = str(metadata.get(ACCOUNT_METADATA) or "")
        known = self._workloads.find_workload(_key_of(stream.node, proxy))
        if claim is None or claim.group is None:
            account = known.account if known is not None else account
            return proxy, self._judge(identity, proxy.namespace, account)
        group = self._find_group(stream.node, claim.group)
        if known is not None and known.account != group.account:
            return proxy, f"the workload {claim.key} is there already, of another account; take another name"
        return proxy, self._judge(identity, proxy.namespace, group.account)

    def _find_gateway(self, key: WorkloadKey, group: str) -> tuple[Labels, str, str]:
        """Labels and account that somebody wrote for a gateway; else why it may be none."""
        if group:
            found = self._workloads.find_group(ObjectKey(key.namespace, group))
            if found is not None:
                return found.labels, found.account, ""
        else:
            written = self._workloads.find_workload(key)
            if written is not None and written.group is None:  # a registered one has chosen labels itself
                return written.labels, written.account, ""
        wanted = f"WorkloadGroup {key.namespace}/{group}" if group else f"WorkloadEntry {key}"
        return (), "", f"a gateway needs a {wanted} with its serviceAccount, and labels that Gateways select"

    def _find_group(self, node: Node, key: ObjectKey) -> WorkloadGroup:
        group = self._workloads.find_group(key)
        if group is None:
            raise RefusedStream(
                INVALID_ARGUMENT,
                f"node {node.id!r} registers into the WorkloadGroup {key}, which does not exist: "
                "apply it, or correct the group",
            )
        return group


class _Subscriber:
    """A stream as `proxies` sees it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def view_changed(self, view: ProxyView, changed: Names) -> None:
        self._stream.show(view, changed)

    def status(self) -> Mapping[Kind, KindStatus]:
        return self._stream.status()

    def applied(self, kind: Kind) -> Mapping[str, Any]:
        return self._stream.applied(kind)


def _key_of(node: Node, proxy: Proxy) -> WorkloadKey:
    return WorkloadKey(proxy.namespace, node.id.split("~")[2].rpartition(".")[0])


def _name_of(stream: Stream) -> str:
    return str(stream.id)
