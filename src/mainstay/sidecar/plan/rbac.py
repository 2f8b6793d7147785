"""Who may do what: rules of both RBAC filters."""

from __future__ import annotations

import msgspec

from mainstay.sidecar.plan.address import AddressRange
from mainstay.sidecar.plan.matching import HeaderMatch, StringMatch


class AnyPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="any"):
    pass


class AllPermissions(msgspec.Struct, frozen=True, tag_field="kind", tag="all"):
    of: tuple[RbacPermission, ...]


class AnyOfPermissions(msgspec.Struct, frozen=True, tag_field="kind", tag="any_of"):
    of: tuple[RbacPermission, ...]


class NotPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="not"):
    of: RbacPermission


class HeaderPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    matches: HeaderMatch


class PathPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="path"):
    matches: StringMatch


class DestinationIpPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="destination_ip"):
    range: AddressRange


class DestinationPortPermission(msgspec.Struct, frozen=True, tag_field="kind", tag="destination_port"):
    port: int


class DestinationPortRangePermission(
    msgspec.Struct, frozen=True, tag_field="kind", tag="destination_port_range"
):
    start: int
    end: int


class ServerNamePermission(msgspec.Struct, frozen=True, tag_field="kind", tag="server_name"):
    matches: StringMatch


RbacPermission = (
    AnyPermission
    | AllPermissions
    | AnyOfPermissions
    | NotPermission
    | HeaderPermission
    | PathPermission
    | DestinationIpPermission
    | DestinationPortPermission
    | DestinationPortRangePermission
    | ServerNamePermission
)


class AnyPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="any"):
    pass


class AllPrincipals(msgspec.Struct, frozen=True, tag_field="kind", tag="all"):
    of: tuple[RbacPrincipal, ...]


class AnyOfPrincipals(msgspec.Struct, frozen=True, tag_field="kind", tag="any_of"):
    of: tuple[RbacPrincipal, ...]


class NotPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="not"):
    of: RbacPrincipal


class AuthenticatedPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="authenticated"):
    name: StringMatch | None


class DirectRemoteIpPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="direct_remote_ip"):
    range: AddressRange


class RemoteIpPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="remote_ip"):
    range: AddressRange


class HeaderPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    matches: HeaderMatch


class PathPrincipal(msgspec.Struct, frozen=True, tag_field="kind", tag="path"):
    matches: StringMatch


RbacPrincipal = (
    AnyPrincipal
    | AllPrincipals
    | AnyOfPrincipals
    | NotPrincipal
    | AuthenticatedPrincipal
    | DirectRemoteIpPrincipal
    | RemoteIpPrincipal
    | HeaderPrincipal
    | PathPrincipal
)


class RbacPolicy(msgspec.Struct, frozen=True):
    name: str
    permissions: tuple[RbacPermission, ...]
    principals: tuple[RbacPrincipal, ...]


class RbacRules(msgspec.Struct, frozen=True):
    allow: bool
    policies: tuple[RbacPolicy, ...]
