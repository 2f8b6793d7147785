"""The table of filters: type of the configuration → converter. A new filter is a file and a row here.

Unknown types are looked for inside `TypedStruct`, passed over where the filter says `is_optional`, and refused by name
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mainstay._proto import pool
from mainstay.sidecar import plan
from mainstay.sidecar.convert.filters import header_mutation, local_rate_limit, rbac
from mainstay.sidecar.convert.refuse import Refused

_HTTP = "envoy.extensions.filters.http"
_NETWORK = "envoy.extensions.filters.network"
ROUTER = f"{_HTTP}.router.v3.Router"

HTTP: Mapping[str, Callable[[Any], plan.HttpFilterConfig]] = {
    f"{_HTTP}.rbac.v3.RBAC": rbac.http,
    f"{_HTTP}.local_ratelimit.v3.LocalRateLimit": local_rate_limit.http,
    f"{_HTTP}.header_mutation.v3.HeaderMutation": header_mutation.http,
}
OVERRIDES: Mapping[str, Callable[[Any], plan.HttpFilterConfig]] = {
    f"{_HTTP}.rbac.v3.RBACPerRoute": rbac.http_override,
    f"{_HTTP}.local_ratelimit.v3.LocalRateLimit": local_rate_limit.http,
    f"{_HTTP}.header_mutation.v3.HeaderMutationPerRoute": header_mutation.http_override,
}
NETWORK: Mapping[str, Callable[[Any], plan.NetworkFilterConfig]] = {
    f"{_NETWORK}.rbac.v3.RBAC": rbac.network,
}
TYPED_STRUCTS = frozenset({"udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"})


def type_of(any_message: Any) -> str:
    """Full name of the message in an Any, looking through TypedStruct."""
    name: str = any_message.type_url.rpartition("/")[2]
    if name in TYPED_STRUCTS:
        try:
            inner = pool.parse(name, any_message.value)
        except ValueError as error:
            raise Refused("", str(error)) from None
        return str(inner.type_url.rpartition("/")[2])
    return name


def open_config(any_message: Any, path: str = "typed_config") -> tuple[str, Any]:
    """Type and message of an Any whose type is in the subset; a TypedStruct is read as the message it stands for."""
    name = type_of(any_message)
    if not name:
        raise Refused(path, "is required")
    if not pool.knows(name):
        raise Refused(path, f"{name} is not supported")
    try:
        if any_message.type_url.rpartition("/")[2] in TYPED_STRUCTS:
            inner = pool.parse(any_message.type_url.rpartition("/")[2], any_message.value)
            return name, pool.from_json(name, pool.to_json(inner.value))
        return name, pool.parse(name, any_message.value)
    except ValueError as error:
        raise Refused(path, str(error)) from None
