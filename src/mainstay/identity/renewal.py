"""When to renew a certificate: a machine for the sidecar, without I/O.

In: what leaf there is, outcomes of attempts, time of day (Unix ms, since validity is given in it). Out: `Renew` (make a CSR and
ask), `SetTimer`, `Report`. Invariants: renewal begins at half of the leaf's life, ± 10 % so that a fleet does not come at once;
failures are retried with back-off up to the end of life; trouble shows from two thirds of life on; never more than one
attempt at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

BASE_MS = 1_000
CAP_MS = 300_000
JITTER = 0.1
TROUBLE_AT = 2 / 3

Trouble = Literal["", "late", "expired"]
"""Nothing · not renewed at two thirds of its life · it has ended: peers refuse us."""


class LeafIssued(msgspec.Struct, frozen=True):
    """There is a leaf (from disk, from join, from renewal), valid between these (Unix ms)."""

    not_before: int
    not_after: int


class RenewalFailed(msgspec.Struct, frozen=True):
    reason: str


class TimerFired(msgspec.Struct, frozen=True):
    pass


Event = LeafIssued | RenewalFailed | TimerFired


class Renew(msgspec.Struct, frozen=True):
    """Make a new key and CSR, ask with the current leaf; answer with `LeafIssued` or `RenewalFailed`."""


class SetTimer(msgspec.Struct, frozen=True):
    """`TimerFired` at this time (Unix ms); replaces the one before."""

    at: int


class Report(msgspec.Struct, frozen=True):
    """The state has changed: show it. `reason`: why the last attempt failed."""

    trouble: Trouble
    reason: str


Command = Renew | SetTimer | Report


class Renewal:
    """See the module. `random` gives numbers in [0, 1)."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._leaf: LeafIssued | None = None
        self._due = 0
        self._attempts = 0
        self._asking = False
        self._reason = ""
        self._shown: Trouble = ""

    def handle(self, event: Event, now: int) -> list[Command]:
        """The next step; `now` is Unix ms."""
        out: list[Command] = []
        match event:
            case LeafIssued():
                self._leaf, self._attempts, self._asking, self._reason = event, 0, False, ""
                life = event.not_after - event.not_before
                share = 0.5 + JITTER * (2 * self._random() - 1)
                self._due = event.not_before + int(life * share)
            case RenewalFailed() if self._asking:
                self._asking = False
                self._reason = event.reason
                span = min(CAP_MS, BASE_MS << min(self._attempts, 16))
                self._attempts += 1
                self._due = now + span // 2 + int(span / 2 * self._random())
            case _:
                pass
        if self._leaf is None:
            return out
        if not self._asking and now >= self._due:
            self._asking = True
            out.append(Renew())
        self._report(now, out)
        self._arm(now, out)
        return out

    def _report(self, now: int, out: list[Command]) -> None:
        trouble = self._trouble(now)
        if trouble != self._shown:
            self._shown = trouble
            out.append(Report(trouble, self._reason))

    def _trouble(self, now: int) -> Trouble:
        assert self._leaf is not None
        if now >= self._leaf.not_after:
            return "expired"
        return "late" if now >= self._late_at(self._leaf) else ""

    @staticmethod
    def _late_at(leaf: LeafIssued) -> int:
        return leaf.not_before + int((leaf.not_after - leaf.not_before) * TROUBLE_AT)

    def _arm(self, now: int, out: list[Command]) -> None:
        assert self._leaf is not None
        marks = [self._late_at(self._leaf), self._leaf.not_after]
        if not self._asking:
            marks.append(self._due)
        later = [at for at in marks if at > now]
        if later:
            out.append(SetTimer(min(later)))
