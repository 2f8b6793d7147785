"""The one table of kinds: what may be written, in which API group and version.

In: the dialects' structs with their `translate` and `check`. Out: rows found by apiVersion and kind. A new kind is a row here
and a file in its dialect; names are unique among all groups, so that a short name means one kind.
"""

from __future__ import annotations

import difflib
from typing import Final

from mainstay.api.document import Document
from mainstay.api.istio.authorization_policy import AuthorizationPolicy
from mainstay.api.istio.check.destination_rule import check_destination_rule
from mainstay.api.istio.check.gateway import check_gateway
from mainstay.api.istio.check.service_entry import check_service_entry
from mainstay.api.istio.check.sidecar import check_sidecar
from mainstay.api.istio.check.virtual_service import check_virtual_service
from mainstay.api.istio.check.workload_group import check_workload_group
from mainstay.api.istio.destination_rule import DestinationRule
from mainstay.api.istio.gateway import Gateway
from mainstay.api.istio.peer_authentication import PeerAuthentication
from mainstay.api.istio.service_entry import ServiceEntry, WorkloadEntry
from mainstay.api.istio.sidecar import Sidecar
from mainstay.api.istio.translate.destination_rule import translate_destination_rule
from mainstay.api.istio.translate.gateway import translate_gateway
from mainstay.api.istio.translate.policy import translate_authorization_policy, translate_peer_authentication
from mainstay.api.istio.translate.service_entry import translate_service_entry
from mainstay.api.istio.translate.sidecar import translate_sidecar
from mainstay.api.istio.translate.virtual_service import translate_virtual_service
from mainstay.api.istio.translate.workload import translate_workload_entry, translate_workload_group
from mainstay.api.istio.virtual_service import VirtualService
from mainstay.api.istio.workload_group import WorkloadGroup
from mainstay.api.kind import Check, Defaults, Fact, Kind, Lookup
from mainstay.api.mainstay.check import check_service
from mainstay.api.mainstay.check_mesh_settings import check_mesh_settings
from mainstay.api.mainstay.check_rpc_route import check_rpc_route
from mainstay.api.mainstay.gateway_secret import GatewaySecret
from mainstay.api.mainstay.group import GROUP, VERSIONS
from mainstay.api.mainstay.local_rate_limit import LocalRateLimit
from mainstay.api.mainstay.mesh import Mesh
from mainstay.api.mainstay.mesh_settings import MeshSettings
from mainstay.api.mainstay.rpc_route import RPCRoute
from mainstay.api.mainstay.service import Service
from mainstay.api.mainstay.translate.gateway_secret import translate_gateway_secret
from mainstay.api.mainstay.translate.local_rate_limit import translate_local_rate_limit
from mainstay.api.mainstay.translate.mesh_settings import translate_mesh_settings
from mainstay.api.mainstay.translate.rpc_route import translate_rpc_route
from mainstay.api.mainstay.translate.service import translate_service
from mainstay.api.object import Object
from mainstay.model.problem import Problem
from mainstay.protocols.kind import KIND as PROTOCOL

_NETWORKING: Final = ("networking.istio.io", ("v1", "v1beta1", "v1alpha3"))
_SECURITY: Final = ("security.istio.io", ("v1", "v1beta1"))
_OWN: Final = (GROUP, VERSIONS)


def _no_references(_thing: Object, _lookup: Lookup) -> list[Problem]:
    """For kinds that refer to nothing that could be missing."""
    return []


def _no_facts(_thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """For kinds that only a program reads."""
    return []


_nothing: Check = _no_references

KINDS: Final[tuple[Kind, ...]] = (
    Kind(
        *_NETWORKING,
        "ServiceEntry",
        "serviceentries",
        ServiceEntry,
        translate_service_entry,
        check_service_entry,
        makes_services=True,
    ),
    Kind(*_NETWORKING, "WorkloadEntry", "workloadentries", WorkloadEntry, translate_workload_entry, _nothing),
    Kind(
        *_NETWORKING,
        "WorkloadGroup",
        "workloadgroups",
        WorkloadGroup,
        translate_workload_group,
        check_workload_group,
    ),
    Kind(
        *_NETWORKING,
        "VirtualService",
        "virtualservices",
        VirtualService,
        translate_virtual_service,
        check_virtual_service,
    ),
    Kind(
        *_NETWORKING,
        "DestinationRule",
        "destinationrules",
        DestinationRule,
        translate_destination_rule,
        check_destination_rule,
    ),
    Kind(*_NETWORKING, "Gateway", "gateways", Gateway, translate_gateway, check_gateway),
    Kind(*_NETWORKING, "Sidecar", "sidecars", Sidecar, translate_sidecar, check_sidecar),
    Kind(
        *_SECURITY,
        "PeerAuthentication",
        "peerauthentications",
        PeerAuthentication,
        translate_peer_authentication,
        _nothing,
    ),
    Kind(
        *_SECURITY,
        "AuthorizationPolicy",
        "authorizationpolicies",
        AuthorizationPolicy,
        translate_authorization_policy,
        _nothing,
    ),
    Kind(*_OWN, "Service", "services", Service, translate_service, check_service, makes_services=True),
    Kind(
        *_OWN,
        "GatewaySecret",
        "gatewaysecrets",
        GatewaySecret,
        translate_gateway_secret,
        _nothing,
        inline=True,
    ),
    Kind(*_OWN, "RPCRoute", "rpcroutes", RPCRoute, translate_rpc_route, check_rpc_route),
    Kind(*_OWN, "LocalRateLimit", "localratelimits", LocalRateLimit, translate_local_rate_limit, _nothing),
    PROTOCOL,
    Kind(*_OWN, "MeshSettings", "meshsettings", MeshSettings, translate_mesh_settings, check_mesh_settings),
    Kind(*_OWN, "Mesh", "meshes", Mesh, _no_facts, _nothing, namespaced=False, stored=False),
)
"""Every kind, in the order of the reference pages."""

_BY_NAME: Final = {(kind.group, version, kind.name): kind for kind in KINDS for version in kind.versions}


def find_kind(group: str, version: str, name: str) -> Kind | None:
    """Return the kind of this name in this group and version."""
    return _BY_NAME.get((group, version, name))


def kind_of(document: Document) -> Kind | list[Problem]:
    """Return the kind a document claims to be, or why there is none."""
    missing = [
        document.problem("MS1010", (), f"{field} is missing", f"Add {field}")
        for field, value in (("apiVersion", document.api_version), ("kind", document.kind))
        if not value
    ]
    if missing:
        return missing
    group, _, version = document.api_version.rpartition("/")
    found = find_kind(group, version, document.kind)
    if found is not None:
        return found
    same = [kind for kind in KINDS if kind.name == document.kind]
    if same:
        reason = f"{document.kind} is not in {document.api_version}"
        versions = [f"{kind.group}/{version}" for kind in same for version in kind.versions]
        return [document.problem("MS1007", ("apiVersion",), reason, f"Write {' or '.join(versions)}")]
    names = sorted(kind.name for kind in KINDS)
    near = difflib.get_close_matches(document.kind[:64], names, n=1, cutoff=0.6)
    remedy = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(names)}"
    reason = f"there is no kind {document.kind[:80]!r} in {document.api_version[:80]!r}"
    return [document.problem("MS1007", ("kind",), reason, remedy)]
