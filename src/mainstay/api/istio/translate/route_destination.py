"""Destinations of routes, alone or by weight.

In: ``Destination`` parts of a VirtualService. Out: the model's, with full host names. Used by HTTP and TCP rules alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.api.findings import Findings
from mainstay.api.hosts import read_full_host
from mainstay.api.istio.translate.headers import read_headers
from mainstay.api.istio.virtual_service import Destination as Written
from mainstay.api.istio.virtual_service import HTTPRouteDestination, RouteDestination
from mainstay.api.kind import Defaults
from mainstay.api.node import Path
from mainstay.model.route import NO_HEADERS, Destination, WeightedDestination

MAX_WEIGHT_SUM = 2**32 - 1
"""Sum of the weights of a route: proxies count them in 32 bits."""


def destination(to: Written, found: Findings, path: Path, defaults: Defaults) -> Destination:
    """Return one destination; port 0 where none is written."""
    host = read_full_host(to.host, found, (*path, "host"), defaults)
    return Destination(host, to.subset or "", to.port.number if to.port else 0)


def weighted(
    entries: Sequence[HTTPRouteDestination | RouteDestination],
    found: Findings,
    path: Path,
    defaults: Defaults,
) -> tuple[WeightedDestination, ...]:
    """Return destinations with their weights: one alone takes everything, among several those of weight 0 nothing."""
    total = sum(entry.weight for entry in entries)
    if len(entries) > 1 and total == 0:
        found.add("MS1104", path, "all weights are 0, so no destination would be chosen", "Give weights")
    elif total > MAX_WEIGHT_SUM:
        found.add(
            "MS1104", path, f"the weights add up to {total:,}", f"Keep the sum below {MAX_WEIGHT_SUM:,}"
        )
    found_destinations = []
    for at, entry in enumerate(entries):
        here = (*path, at)
        to = destination(entry.destination, found, (*here, "destination"), defaults)
        headers = NO_HEADERS
        if isinstance(entry, HTTPRouteDestination):
            headers = read_headers(entry.headers, found, (*here, "headers"))
        weight = entry.weight or (1 if len(entries) == 1 else 0)
        found_destinations.append(WeightedDestination(to, weight, headers))
    return tuple(found_destinations)
