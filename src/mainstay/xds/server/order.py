"""Make before break: when a resource may be sent, and when one may be taken away.

In: the ledgers of one stream and its view. Out: how long to wait at most: 0 for now, None for no bound. A listener or route
waits until the clusters it refers to, and their endpoints, have been taken; a removal waits until nothing the client works with
refers to it. Waiting ends after `PATIENCE_MS`, but for a cluster that the proxy refused, and for a reference that the proxy
keeps because it refused the newer version.
"""

from __future__ import annotations

from collections.abc import Mapping

from mainstay.xds.server.channel import Channel
from mainstay.xds.server.ledger import Claimed
from mainstay.xds.server.types import Ref, Resource, View
from mainstay.xds.types import TYPES, Kind

PATIENCE_MS = 15_000
"""Longest wait for another resource's verdict: Envoy's own for a resource that does not come."""

SUBSCRIBE_MS = 1_000
"""How long we wait for a request that should follow (a taken cluster's endpoints, a resumed proxy's routes), before we think
that it comes on another stream."""

NOW = 0

REFERRERS: dict[Kind, tuple[Kind, ...]] = {
    "cluster": ("listener", "route", "generic_route"),
    "endpoint": ("cluster",),
    "listener": (),
    "route": ("listener",),
    "generic_route": ("listener",),
    "secret": ("cluster", "listener"),
}
"""Kind → kinds that may refer to it."""


def wait_of_upsert(
    channels: Mapping[Kind, Channel], view: View, kind: Kind, resource: Resource
) -> int | None:
    """How long `resource` has to wait for what it refers to."""
    longest = NOW
    for ref in resource.refers:
        if TYPES[ref.kind].order < TYPES[kind].order:
            wait = _wait_for(channels, view, ref)
            if wait is None:
                return None
            longest = max(longest, wait)
    return longest


def _wait_for(channels: Mapping[Kind, Channel], view: View, ref: Ref) -> int | None:
    channel = channels.get(ref.kind)
    if channel is None or not channel.subscriptions.covers(ref.name) or view.get(ref.kind, ref.name) is None:
        return NOW  # it comes on another stream, or will be asked for
    have = channel.ledger.taken.get(ref.name)
    if have is None:
        return None if ref.name in channel.ledger.refused else PATIENCE_MS
    is_expected = channel.subscriptions.wildcard
    return max(
        (_wait_for_endpoints(channels, view, behind, is_expected) for behind in have.refers), default=NOW
    )


def _wait_for_endpoints(channels: Mapping[Kind, Channel], view: View, ref: Ref, is_expected: bool) -> int:
    channel = channels.get(ref.kind)
    if ref.kind != "endpoint" or channel is None or ref.name in channel.ledger.taken:
        return NOW
    if view.get(ref.kind, ref.name) is None:
        return NOW
    if channel.subscriptions.covers(ref.name):
        return PATIENCE_MS
    return SUBSCRIBE_MS if is_expected else NOW


def waits_of_removals(
    channels: Mapping[Kind, Channel], kind: Kind, is_resumed: bool
) -> tuple[int, dict[str, int | None]]:
    """How long any removal of a kind has to wait, and how long those of single names.

    A resumed proxy works with more than this stream has told of yet, so what may refer to the kind has to be asked for first."""
    for_all, of_name = NOW, dict[str, int | None]()
    for referrer in REFERRERS[kind]:
        channel = channels.get(referrer)
        if channel is None:
            continue
        if not channel.subscriptions.started:
            for_all = max(for_all, SUBSCRIBE_MS if is_resumed else NOW)
            continue
        ledger = channel.ledger
        for name, resource in ledger.taken.items():
            if isinstance(resource, Claimed):
                for_all = PATIENCE_MS  # what it refers to is not known; its successor is on its way
                continue
            _note_references(resource, kind, None if name in ledger.refused else PATIENCE_MS, of_name)
        if ledger.under_way is not None:
            for sent in ledger.under_way.sent.values():
                if sent is not None:
                    _note_references(sent, kind, PATIENCE_MS, of_name)
    return for_all, of_name


def _note_references(
    resource: Resource, kind: Kind, wait: int | None, of_name: dict[str, int | None]
) -> None:
    for ref in resource.refers:
        if ref.kind == kind and of_name.get(ref.name, NOW) is not None:
            of_name[ref.name] = wait
