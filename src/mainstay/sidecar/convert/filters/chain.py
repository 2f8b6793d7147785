"""The filters in front of a router: what HTTP's connection manager and the generic proxy have in common.

In: filters of either, in order, and what the router that must end them is called. Out: those in front of it. Invariant: a filter
that is not known is refused by name, unless it says itself that it may be left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mainstay.sidecar import plan
from mainstay.sidecar.convert.filters.table import HTTP, open_config, type_of
from mainstay.sidecar.convert.refuse import Known, Refused, at, check, unsupported


class Router(NamedTuple):
    """Type of its configuration, and the fields that are known of that."""

    kind: str
    fields: Known


def filters_before(
    router: Router, messages: Any, field: str, of_filter: Known
) -> tuple[plan.HttpFilter, ...]:
    """In order, without the router. `field`: what the list is called; `of_filter`: the fields known of an entry."""
    found: list[plan.HttpFilter] = []
    routed = False
    for index, message in enumerate(messages):
        with at(f"{field}[{index}]"):
            if routed:
                raise Refused("", "stands behind the router, which ends the chain")
            check(message, of_filter)
            kind = type_of(message.typed_config)
            if kind not in HTTP and kind != router.kind:
                # The generic proxy's entries cannot say it.
                if not getattr(message, "is_optional", False):
                    unsupported("typed_config", f"{kind} is not supported" if kind else "is required")
                continue
            _, config = open_config(message.typed_config)
            with at("typed_config"):
                if kind == router.kind:
                    check(config, router.fields)
                    routed = True
                else:
                    is_off = bool(getattr(message, "disabled", False))
                    found.append(plan.HttpFilter(message.name, HTTP[kind](config), is_off))
    if not routed:
        raise Refused(field, f"the last one must be the router, {router.kind}")
    return tuple(found)
