"""envoy.filters.http.router: the end of every HTTP chain."""

from mainstay.compile.facts import Facts
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.resource import Fields, extension
from mainstay.model.problem import Problem


def http_filters(_facts: Facts, _context: FilterContext, _problems: list[Problem]) -> list[Fields]:
    """Return the router."""
    return [extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")]
