"""envoy.filters.http.router and envoy.filters.generic.router: the end of every chain of filters."""

from mainstay.compile.facts import Facts
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.resource import Fields, extension
from mainstay.model.problem import Problem


def http_filters(_facts: Facts, _context: FilterContext, _problems: list[Problem]) -> list[Fields]:
    """Return the router."""
    return [extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")]


def rpc_filters(_facts: Facts, _context: FilterContext, _problems: list[Problem]) -> list[Fields]:
    """Return the generic proxy's router."""
    return [
        extension(
            "envoy.filters.generic.router",
            "envoy.extensions.filters.network.generic_proxy.router.v3.Router",
        )
    ]
