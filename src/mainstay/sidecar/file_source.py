"""A kind of resource out of a file (`path_config_source`): a `DiscoveryResponse` as YAML, JSON or bytes.

In: the file's content, names that are wanted. Out: `Offered`, as from a server, or `Refused`. Invariants: a file is taken whole
or not at all up to here, its resources one by one afterwards; unchanged ones are not offered again. Of clusters and listeners,
which are the file's to name, those that it no longer has are removed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mainstay._proto import pool
from mainstay.model.digest import digest_of_bytes
from mainstay.sidecar.convert.refuse import Refused
from mainstay.xds.client.types import Judged, Offer, Offered
from mainstay.xds.messages import name_of_body
from mainstay.xds.types import TYPES, Kind

RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"


class FileSource:
    """See the module. `tokens`: numbers for what is offered."""

    def __init__(self, kind: Kind, tokens: Callable[[], int]) -> None:
        self._kind: Kind = kind
        self._tokens = tokens
        self._names: frozenset[str] = frozenset()
        self._wildcard = False
        self._there: dict[str, Offer] = {}
        self._held: dict[str, str] = {}
        self._unjudged: dict[int, dict[str, str]] = {}

    def want(self, names: frozenset[str], *, wildcard: bool) -> Offered | None:
        """What is wanted from now on. Offers what is there and was not wanted before."""
        new = wildcard != self._wildcard or not names <= self._names
        self._names, self._wildcard = names, wildcard
        for name in [] if wildcard else self._held.keys() - names:
            del self._held[name]
        return self._offer(()) if new and self._there else None

    def load(self, path: str, data: bytes) -> Offered:
        """Takes the file's content; raises `Refused`."""
        there = read_resources(self._kind, path, data)
        gone = self._there.keys() - there.keys() if TYPES[self._kind].full_state else ()
        self._there = there
        return self._offer(tuple(sorted(gone)))

    def judge(self, verdict: Judged) -> None:
        versions = self._unjudged.pop(verdict.token, {})
        refused = {refusal.name for refusal in verdict.refused}
        self._held.update((name, version) for name, version in versions.items() if name not in refused)

    def _offer(self, gone: tuple[str, ...]) -> Offered:
        upserts = tuple(
            offer
            for offer in self._there.values()
            if (self._wildcard or offer.name in self._names) and self._held.get(offer.name) != offer.version
        )
        for name in gone:
            self._held.pop(name, None)
        token = self._tokens()
        self._unjudged[token] = {offer.name: offer.version for offer in upserts}
        return Offered(token, self._kind, upserts, gone)


def read_resources(kind: Kind, path: str, data: bytes) -> dict[str, Offer]:
    """The file's resources by name; raises `Refused`."""
    response = _response(path, data)
    found: dict[str, Offer] = {}
    for index, entry in enumerate(response.resources):
        if entry.type_url != TYPES[kind].url:
            raise Refused(f"resources[{index}]", f"is of type {entry.type_url}, not {TYPES[kind].url}")
        body = bytes(entry.value)
        name = name_of_body(body)
        if name in found:
            raise Refused(f"resources[{index}]", f"{name!r} stands there twice")
        found[name] = Offer(name, digest_of_bytes(body).hex(), body)
    return found


def _response(path: str, data: bytes) -> Any:
    if path.endswith(".pb"):
        try:
            return pool.parse(RESPONSE, data)
        except ValueError as error:
            raise Refused("", f"is no DiscoveryResponse: {error}") from None
    from mainstay.sidecar.bootstrap import document  # and with it YAML, only where there is such a file

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refused("", f"is not UTF-8: {error.reason} at byte {error.start}") from None
    return document.parse(text, RESPONSE)
