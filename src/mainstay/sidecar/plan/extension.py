"""Filters: the structs of the built-in ones. A new one adds a class here and a variant in the engine."""

from __future__ import annotations

import msgspec

from mainstay.sidecar.plan.headers import HeaderChange, RouteHeaders
from mainstay.sidecar.plan.matching import Fraction
from mainstay.sidecar.plan.rbac import RbacRules


class TokenBucket(msgspec.Struct, frozen=True):
    max_tokens: int
    tokens_per_fill: int
    fill_interval: int


class RbacFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="rbac"):
    rules: RbacRules | None
    shadow_rules: RbacRules | None


class LocalRateLimitFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="local_rate_limit"):
    stat_prefix: str
    bucket: TokenBucket | None
    enabled: Fraction
    enforced: Fraction
    status: int
    response_headers: tuple[HeaderChange, ...]
    draft_headers: bool


class HeaderMutationFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="header_mutation"):
    headers: RouteHeaders


class DisabledFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="disabled"):
    pass


HttpFilterConfig = RbacFilter | LocalRateLimitFilter | HeaderMutationFilter | DisabledFilter


class HttpFilter(msgspec.Struct, frozen=True):
    name: str
    config: HttpFilterConfig
    disabled: bool = False


class NetworkRbacFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="rbac"):
    rules: RbacRules | None
    shadow_rules: RbacRules | None
    stat_prefix: str


NetworkFilterConfig = NetworkRbacFilter


class NetworkFilter(msgspec.Struct, frozen=True):
    name: str
    config: NetworkFilterConfig


FilterOverrides = tuple[tuple[str, HttpFilterConfig], ...]
