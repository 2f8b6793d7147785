"""RBAC (`envoy.config.rbac.v3.RBAC`), for HTTP and for streams."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.refuse import Refused, at, check, known

_ALLOW, _LOG = 0, 2
MAX_DEPTH = 16
"""Nesting of and, or and not."""


_R_B_A_C_FIELDS = known("envoy.config.rbac.v3.RBAC", {"action", "policies"})
_R_B_A_C_FIELDS_ = known(
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    {"rules", "shadow_rules", "rules_stat_prefix", "shadow_rules_stat_prefix", "track_per_rule_stats"},
)
_R_B_A_C_FIELDS__ = known(
    "envoy.extensions.filters.network.rbac.v3.RBAC",
    {"rules", "shadow_rules", "stat_prefix", "shadow_rules_stat_prefix", "enforcement_type"},
)
_POLICY_FIELDS = known("envoy.config.rbac.v3.Policy", {"permissions", "principals"})


def rules(message: Any) -> plan.RbacRules | None:
    """Policies in the order of their names, as Envoy evaluates them. `LOG` lets everything pass: it only marks requests with
    metadata, which nothing here reads."""
    check(message, _R_B_A_C_FIELDS)
    policies = []
    for name in sorted(message.policies):
        with at(f"policies[{name!r}]"):
            policy = message.policies[name]
            check(policy, _POLICY_FIELDS)
            permissions = _each(policy.permissions, "permissions", permission)
            principals = _each(policy.principals, "principals", principal)
            policies.append(plan.RbacPolicy(name, permissions, principals))
    return None if message.action == _LOG else plan.RbacRules(message.action == _ALLOW, tuple(policies))


def _each(messages: Any, field: str, convert: Any, depth: int = 0) -> tuple[Any, ...]:
    found = []
    for index, message in enumerate(messages):
        with at(f"{field}[{index}]"):
            found.append(convert(message, depth))
    return tuple(found)


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise Refused("", f"is nested deeper than {MAX_DEPTH}")
    return depth + 1


def permission(message: Any, depth: int = 0) -> plan.RbacPermission:
    match message.WhichOneof("rule"):
        case "any":
            return plan.AnyPermission()
        case "and_rules":
            return plan.AllPermissions(
                _each(message.and_rules.rules, "and_rules.rules", permission, _deeper(depth))
            )
        case "or_rules":
            return plan.AnyOfPermissions(
                _each(message.or_rules.rules, "or_rules.rules", permission, _deeper(depth))
            )
        case "not_rule":
            with at("not_rule"):
                return plan.NotPermission(permission(message.not_rule, _deeper(depth)))
        case "header":
            with at("header"):
                return plan.HeaderPermission(values.header_match(message.header))
        case "url_path":
            with at("url_path.path"):
                return plan.PathPermission(values.string_match(message.url_path.path))
        case "destination_ip":
            with at("destination_ip"):
                return plan.DestinationIpPermission(values.address_range(message.destination_ip))
        case "destination_port":
            return plan.DestinationPortPermission(message.destination_port)
        case "destination_port_range":
            found = message.destination_port_range
            return plan.DestinationPortRangePermission(found.start, found.end)
        case "requested_server_name":
            with at("requested_server_name"):
                return plan.ServerNamePermission(values.string_match(message.requested_server_name))
        case other:
            raise Refused(other or "rule", "is not supported" if other else "is required")


def principal(message: Any, depth: int = 0) -> plan.RbacPrincipal:
    match message.WhichOneof("identifier"):
        case "any":
            return plan.AnyPrincipal()
        case "and_ids":
            return plan.AllPrincipals(_each(message.and_ids.ids, "and_ids.ids", principal, _deeper(depth)))
        case "or_ids":
            return plan.AnyOfPrincipals(_each(message.or_ids.ids, "or_ids.ids", principal, _deeper(depth)))
        case "not_id":
            with at("not_id"):
                return plan.NotPrincipal(principal(message.not_id, _deeper(depth)))
        case "authenticated":
            with at("authenticated"):
                name = message.authenticated
                found = values.string_match(name.principal_name) if name.HasField("principal_name") else None
                return plan.AuthenticatedPrincipal(found)
        case "direct_remote_ip":
            with at("direct_remote_ip"):
                return plan.DirectRemoteIpPrincipal(values.address_range(message.direct_remote_ip))
        case "source_ip":
            with at("source_ip"):
                return plan.DirectRemoteIpPrincipal(values.address_range(message.source_ip))
        case "remote_ip":
            with at("remote_ip"):
                return plan.RemoteIpPrincipal(values.address_range(message.remote_ip))
        case "header":
            with at("header"):
                return plan.HeaderPrincipal(values.header_match(message.header))
        case "url_path":
            with at("url_path.path"):
                return plan.PathPrincipal(values.string_match(message.url_path.path))
        case other:
            raise Refused(other or "identifier", "is not supported" if other else "is required")


def http(message: Any) -> plan.RbacFilter:
    """`envoy.extensions.filters.http.rbac.v3.RBAC`."""
    check(
        message,
        _R_B_A_C_FIELDS_,
    )
    return plan.RbacFilter(_rules(message, "rules"), _rules(message, "shadow_rules"))


def http_override(message: Any) -> plan.HttpFilterConfig:
    """`RBACPerRoute`: without rules the filter is off for the route."""
    return http(message.rbac) if message.HasField("rbac") else plan.DisabledFilter()


def network(message: Any) -> plan.NetworkRbacFilter:
    """`envoy.extensions.filters.network.rbac.v3.RBAC`."""
    check(message, _R_B_A_C_FIELDS__)
    return plan.NetworkRbacFilter(
        _rules(message, "rules"), _rules(message, "shadow_rules"), message.stat_prefix
    )


def _rules(message: Any, field: str) -> plan.RbacRules | None:
    if not message.HasField(field):
        return None
    with at(field):
        return rules(getattr(message, field))
