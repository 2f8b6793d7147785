"""A workload instance: a connected sidecar, a WorkloadEntry, later a pod or a VM; and the groups they register into.

In: WorkloadEntry, WorkloadGroup, registrations. Out: endpoints of the services whose selector matches (``membership``)
and what a connecting proxy is (addresses, identity, locality).
"""

from typing import Literal

import msgspec

from mainstay.model.application import Application
from mainstay.model.endpoints import Health
from mainstay.model.key import Labels, ObjectKey, WorkloadKey
from mainstay.model.locality import NOWHERE, Locality

TLS_MODE_LABEL = "security.istio.io/tlsMode"
"""Label that says a proxy terminates mesh mTLS; its only value is ``istio``."""

CANONICAL_NAME_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
CANONICAL_REVISION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")


class HttpProbe(msgspec.Struct, frozen=True, gc=False, tag="http"):
    """GET ``path``; 200–399 is success. ``host`` empty: where the application listens (`compile.probe`)."""

    port: int
    path: str = "/"
    host: str = ""
    scheme: Literal["http", "https"] = "http"
    headers: tuple[tuple[str, str], ...] = ()


class TcpProbe(msgspec.Struct, frozen=True, gc=False, tag="tcp"):
    """Connect to ``port``; ``host`` empty: where the application listens (`compile.probe`). ``heartbeat``: the described protocol
    whose heartbeat has to be answered then, empty if connecting is enough."""

    port: int
    host: str = ""
    heartbeat: str = ""


class GrpcProbe(msgspec.Struct, frozen=True, gc=False, tag="grpc"):
    """grpc.health.v1 Check of ``service`` on ``port``."""

    port: int
    service: str = ""


class ExecProbe(msgspec.Struct, frozen=True, gc=False, tag="exec"):
    """Run ``command``; exit status 0 is success."""

    command: tuple[str, ...]


class Probe(msgspec.Struct, frozen=True, gc=False):
    """How a workload's health is found; times in milliseconds (WorkloadGroup.probe, Kubernetes' defaults)."""

    check: HttpProbe | TcpProbe | GrpcProbe | ExecProbe
    initial_delay: int = 0
    timeout: int = 1_000
    period: int = 10_000
    success_threshold: int = 1
    failure_threshold: int = 3


class Workload(msgspec.Struct, frozen=True, gc=False):
    """A workload instance.

    ``addresses``: IPs, or one DNS name (ServiceEntry resolution DNS). ``ports`` maps service port names to the numbers
    used here, sorted by name. ``account`` names the identity in the workload's namespace. ``meshed`` and ``h2_tunnel``
    as in EndpointAttributes. ``group`` is the WorkloadGroup it came from, or None. ``owner`` is the control-plane
    instance that holds a registration, empty for written ones.
    """

    key: WorkloadKey
    addresses: tuple[str, ...]
    labels: Labels = ()
    ports: tuple[tuple[str, int], ...] = ()
    account: str = "default"
    locality: Locality = NOWHERE
    network: str = ""
    cluster: str = ""
    weight: int = 1
    health: Health = Health.HEALTHY
    meshed: bool = False
    h2_tunnel: bool = False
    group: ObjectKey | None = None
    owner: str = ""
    start: int = 0


class WorkloadGroup(msgspec.Struct, frozen=True, gc=False):
    """What workloads that register themselves have in common (WorkloadGroup); ``labels`` go to each of them."""

    key: ObjectKey
    labels: Labels = ()
    annotations: Labels = ()
    ports: tuple[tuple[str, int], ...] = ()
    account: str = "default"
    locality: Locality = NOWHERE
    network: str = ""
    weight: int = 1
    probe: Probe | None = None


class Registration(msgspec.Struct, frozen=True, gc=False):
    """A workload whose sidecar is or was connected, as it says of itself; whether it may was checked before.

    ``group``: the WorkloadGroup it registers into; None: somebody wrote it as a WorkloadEntry of the same key, and this
    only tells its health. ``health`` UNKNOWN: nothing was reported yet. ``application``: what it
    publishes and wants, None if its sidecar serves no registry API.
    """

    key: WorkloadKey
    group: ObjectKey | None
    addresses: tuple[str, ...]
    labels: Labels = ()
    network: str = ""
    health: Health = Health.UNKNOWN
    h2_tunnel: bool = False
    owner: str = ""
    application: Application | None = None


def workload_of_registration(registration: Registration, group: WorkloadGroup) -> Workload:
    """Return the workload a member of ``group`` is: what the group says, and the member's own addresses and labels.

    A member adds labels but changes none of the group's: by them it would enter services of other accounts.
    Until its first report, a member counts as unhealthy if the group has a probe, else as healthy.
    """
    health = registration.health
    if health is Health.UNKNOWN:
        health = Health.UNHEALTHY if group.probe is not None else Health.HEALTHY
    return Workload(
        key=registration.key,
        addresses=registration.addresses,
        labels=tuple(sorted({**dict(registration.labels), **dict(group.labels)}.items())),
        ports=group.ports,
        account=group.account,
        locality=group.locality,
        network=group.network or registration.network,
        weight=group.weight,
        health=health,
        meshed=True,
        h2_tunnel=registration.h2_tunnel,
        group=group.key,
        owner=registration.owner,
    )


def canonical_name(labels: Labels, default: str) -> str:
    """Return Istio's canonical service name: the first of its labels, else ``default`` (the workload's name)."""
    return _first(labels, CANONICAL_NAME_LABELS, default)


def canonical_revision(labels: Labels) -> str:
    """Return Istio's canonical revision: the first of its labels, else ``latest``."""
    return _first(labels, CANONICAL_REVISION_LABELS, "latest")


def _first(labels: Labels, names: tuple[str, ...], default: str) -> str:
    found = dict(labels)
    return next((found[name] for name in names if found.get(name)), default)
