"""Header mutation (`envoy.extensions.filters.http.header_mutation.v3.HeaderMutation`)."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.refuse import Refused, at, check, known

_HEADER_MUTATION_FIELDS = known(
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    {"mutations"},
)
_HEADER_MUTATION_PER_ROUTE_FIELDS = known(
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute", {"mutations"}
)
_MUTATIONS_FIELDS = known(
    "envoy.extensions.filters.http.header_mutation.v3.Mutations", {"request_mutations", "response_mutations"}
)


def http(message: Any) -> plan.HeaderMutationFilter:
    check(message, _HEADER_MUTATION_FIELDS)
    return plan.HeaderMutationFilter(_mutations(message.mutations))


def http_override(message: Any) -> plan.HttpFilterConfig:
    """`HeaderMutationPerRoute`."""
    check(message, _HEADER_MUTATION_PER_ROUTE_FIELDS)
    return plan.HeaderMutationFilter(_mutations(message.mutations))


def _mutations(message: Any) -> plan.RouteHeaders:
    check(message, _MUTATIONS_FIELDS)
    request, request_remove = _side(message, "request_mutations")
    response, response_remove = _side(message, "response_mutations")
    return plan.RouteHeaders(request, response, request_remove, response_remove)


def _side(message: Any, field: str) -> tuple[tuple[plan.HeaderChange, ...], tuple[str, ...]]:
    changes, removed = [], []
    for index, mutation in enumerate(getattr(message, field)):
        with at(f"{field}[{index}]"):
            match mutation.WhichOneof("action"):
                case "append":
                    changes.append(values.header_change(mutation.append))
                case "remove":
                    removed.append(mutation.remove.lower())
                case other:
                    raise Refused(other or "action", "is not supported" if other else "is required")
    return tuple(changes), tuple(removed)
