"""The server machine: one stream, ADS or a single service, of either variant."""

from __future__ import annotations

from collections.abc import Mapping

from mainstay.xds.server.types import Command, Event, KindStatus, Resource
from mainstay.xds.types import Kind, Variant


class ServerStream:
    """See the module."""

    def __init__(self, variant: Variant, kinds: tuple[Kind, ...]) -> None:
        self._variant = variant
        self._kinds = kinds

    def handle(self, event: Event, now: int) -> list[Command]:
        """The next step."""
        raise NotImplementedError

    def next_message(self, now: int) -> bytes | None:
        """The next message, composed from the newest view; None if there is nothing to send now."""
        raise NotImplementedError

    def status(self) -> dict[Kind, KindStatus]:
        """What is applied, pending, refused, for each kind asked for."""
        raise NotImplementedError

    def applied(self, kind: Kind) -> Mapping[str, Resource]:
        """What the proxy has taken, by name; a resumed proxy's resources as far as they equal the view's."""
        raise NotImplementedError
