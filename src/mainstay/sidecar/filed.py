"""Resources that were made with files beside them (certificates, keys), and are made anew when these change.

In: resources as they are offered, keys of changed files. Out: the same resources, converted again; the engine gets only what
differs, in general one secret, and connections stay. Invariant: what cannot be read or converted changes nothing; the next
change of the file is another chance.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import cast

import msgspec

from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.convert.refuse import Refused, lenient_if
from mainstay.sidecar.convert.source import Source
from mainstay.sidecar.convert.table import Again, Encoded, convert
from mainstay.sidecar.files import Files
from mainstay.sidecar.warming import Offer
from mainstay.telemetry.log import get_log

_log = get_log("sidecar.filed")


class _Made(msgspec.Struct, frozen=True):
    again: Again
    origin: Source | None
    local: bool


class Filed:
    """See the module."""

    def __init__(self, files: Files, *, lenient: bool = False) -> None:
        self._files = files
        self._lenient = lenient
        self._made: dict[Reference, _Made] = {}

    def note(self, encoded: Encoded, origin: Source | None, now: int, *, local: bool) -> None:
        """A resource has been offered."""
        reference = (encoded.kind, encoded.name)
        if encoded.again is None:
            self.forget(reference)
        else:
            self._made[reference] = _Made(encoded.again, origin, local)
            self._files.follow(reference, encoded.again.files, now)

    def forget(self, reference: Reference) -> None:
        if self._made.pop(reference, None) is not None:
            self._files.forget(reference)

    def knows(self, key: Hashable) -> bool:
        return key in self._made

    def make_again(self, key: Hashable, now: int) -> tuple[Offer, Source | None] | None:
        """What to offer, and its origin; `None` if the files are of no use as they are."""
        reference = cast(Reference, key)
        made = self._made[reference]
        try:
            with lenient_if(self._lenient):
                converted = convert(made.again.message, made.again.body, self._files.read)
        except Refused as refused:
            kind, name = reference
            _log.warning(
                "changed files are of no use; the former ones serve", kind=kind, name=name, reason=refused
            )
            self._files.follow(reference, made.again.files, now)
            return None
        _log.info("takes changed files", kind=reference[0], name=reference[1])
        return Offer(converted.parts, local=made.local), made.origin
