"""Filters as one ordered table: a folder each, facts and a place in, typed configuration out.

In: ``FilterContext``. Out: the HTTP or network filters of a chain, in the order in which a request meets them. A new filter
is a folder with ``http_filters`` (and ``network_filters`` where connections concern it) and one entry here.
"""

from collections.abc import Callable

from mainstay.compile.facts import Facts
from mainstay.compile.filters import local_ratelimit, rbac, router
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.resource import Fields
from mainstay.model.problem import Problem

Build = Callable[[Facts, FilterContext, list[Problem]], list[Fields]]

HTTP_FILTERS: tuple[Build, ...] = (rbac.http_filters, local_ratelimit.http_filters, router.http_filters)
"""Who may call is settled before how often; the router ends the chain."""

RPC_FILTERS: tuple[Build, ...] = (rbac.http_filters, local_ratelimit.http_filters, router.rpc_filters)
"""The same for calls of described protocols."""

NETWORK_FILTERS: tuple[Build, ...] = (rbac.network_filters,)
"""Filters before tcp_proxy."""


def http_chain(facts: Facts, context: FilterContext, problems: list[Problem]) -> list[Fields]:
    """Return the HTTP filters of a chain."""
    return [entry for build in HTTP_FILTERS for entry in build(facts, context, problems)]


def rpc_chain(facts: Facts, context: FilterContext, problems: list[Problem], described: bool) -> list[Fields]:
    """Return the filters of a generic proxy. Envoy's takes none of HTTP's: there connections are judged instead, by
    ``network_chain``, and limits cannot be kept."""
    if described:
        return [entry for build in RPC_FILTERS for entry in build(facts, context, problems)]
    if local_ratelimit.http_filters(facts, context, problems):
        problems.append(
            Problem(
                code="MS4203",
                severity="warning",
                object=f"LocalRateLimit/{context.namespace}",
                reason=f"Envoy's generic proxy has no rate limit; port {context.port} goes without it",
                remedy="Run the workload with Mainstay's own data plane.",
            )
        )
    return router.rpc_filters(facts, context, problems)


def network_chain(facts: Facts, context: FilterContext, problems: list[Problem]) -> list[Fields]:
    """Return the network filters before the last one of a chain."""
    return [entry for build in NETWORK_FILTERS for entry in build(facts, context, problems)]
