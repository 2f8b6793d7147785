"""One response, put together from the shared bytes of resources.

In: what changed, and what the message has to list. Out: bytes. Invariant: a version is the digest of the versions listed, so that
every instance gives equal states equal versions.
"""

from __future__ import annotations

import msgspec

from mainstay.model.digest import digest_of_bytes
from mainstay.xds import messages
from mainstay.xds.server.types import Resource
from mainstay.xds.types import Type, Variant


class Plan(msgspec.Struct, frozen=True):
    """`upserts` and `removals` are what the client does not have yet; `listed` is what the message holds."""

    upserts: tuple[Resource, ...]
    removals: tuple[str, ...]
    listed: tuple[Resource, ...]

    @property
    def version(self) -> str:
        """The version of the response as a whole."""
        return digest_of_bytes(b"".join(each.version for each in self.listed)).hex()


def compose(variant: Variant, row: Type, plan: Plan, nonce: str) -> bytes:
    """The serialised response."""
    if variant == "sotw":
        entries = (messages.sotw_entry(row.url, each.body) for each in plan.listed)
        return messages.encode_sotw_response(row.url, plan.version, nonce, entries)
    changed = (
        messages.delta_entry(row.url, each.name, each.version.hex(), each.body) for each in plan.listed
    )
    return messages.encode_delta_response(row.url, plan.version, nonce, changed, plan.removals)
