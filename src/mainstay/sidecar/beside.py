"""What may stand beside the brain instead of the engine's listeners: another proxy, as the brain sees it.

In and out: declarations. Implemented by `agent.process`; a module of its own so that a sidecar of Mainstay's loads nothing of
agents.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from mainstay.identity.join_wire import Joined

Scope = Literal["inbound", "process"]


class ProxyReady(msgspec.Struct, frozen=True):
    """It has got ready, or is so no more."""

    ready: bool


class ProxyDrained(msgspec.Struct, frozen=True):
    """The drain that was asked for is over; `cut`: what was still under way."""

    cut: int


class ProxyGone(msgspec.Struct, frozen=True):
    """It has ended as it was asked to."""


Outcome = ProxyReady | ProxyDrained | ProxyGone


class Beside(Protocol):
    """`runs`: it has a process of its own, to be drained and stopped."""

    @property
    def runs(self) -> bool: ...
    @property
    def is_ready(self) -> bool: ...
    def keep(self, joined: Joined, key: str) -> None:
        """A leaf is there, with its key (PEM). Raises OSError if it cannot be kept."""

    def child_changed(self, now: int) -> None:
        """A child of this program may have ended."""

    def tick(self, now: int) -> None: ...
    def next_deadline(self) -> int | None: ...
    def drain(self, scope: Scope, min_ms: int, max_ms: int, now: int) -> None: ...
    def stop(self, now: int) -> None: ...
    def take_outcomes(self) -> list[Outcome]: ...
    def show(self) -> dict[str, Any]:
        """For the status page."""
