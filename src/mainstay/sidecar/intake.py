"""Conversion off to the side: what xDS offered, until it can be judged.

In: `Offered` responses, and what became of their resources. Out: converted resources for warming, verdicts for xDS, records for
the last good file. Invariants: a response is handed on whole and in order; conversion stops after `BUDGET_MS` so that signals
and timers are not starved; a response is judged when each of its resources is in force or refused, or after `PATIENCE_MS` for
what waits: a NACK can then name what the engine refused too, and what it would refuse of that which waits on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from mainstay.sidecar.convert.gathered import ReadFile, no_files
from mainstay.sidecar.convert.references import Kind, Reference
from mainstay.sidecar.convert.refuse import Refused, lenient
from mainstay.sidecar.convert.source import Source
from mainstay.sidecar.convert.table import Converted, Encoded, convert
from mainstay.sidecar.last_good import Record
from mainstay.sidecar.warming import Offer
from mainstay.telemetry.log import get_log
from mainstay.xds.client.types import Judged, Offered, Refusal
from mainstay.xds.types import TYPES
from mainstay.xds.types import Kind as XdsKind

_log = get_log("sidecar.intake")
BUDGET_MS = 50
PATIENCE_MS = 500
MAX_TOLD = 1_000
"""Fields that are told of; a control plane that makes up ever new ones does not fill our memory."""

KINDS: dict[XdsKind, Kind] = {
    "cluster": "cluster",
    "endpoint": "endpoints",
    "listener": "listener",
    "route": "route",
    "generic_route": "generic_route",
    "secret": "secret",
}
XDS_KINDS: dict[Kind, XdsKind] = {engine: xds for xds, engine in KINDS.items()}


class Ready(msgspec.Struct, frozen=True):
    """One response, converted."""

    kind: XdsKind
    token: int
    origin: Source
    offer: Offer


class _Work:
    """A response on its way from conversion to verdict."""

    __slots__ = (
        "at",
        "coming",
        "deadline",
        "gone",
        "looked_at",
        "offered",
        "origin",
        "records",
        "refusals",
        "taken",
    )

    def __init__(self, offered: Offered, origin: Source) -> None:
        self.offered = offered
        self.origin = origin
        self.at = 0
        self.taken: list[Converted] = []
        self.refusals: list[Refusal] = []
        self.coming: dict[Reference, str] = {}
        """References not decided yet, with their digests."""
        self.gone: frozenset[Reference] = frozenset()
        self.records: dict[Reference, Record] = {}
        self.deadline = 0
        self.looked_at = False


class Intake:
    """See the module. `clock`: monotonic ms, for the budget alone. `lenient`: what Mainstay does not do is left out of a
    resource and told in the log, once for each field, instead of costing the resource."""

    def __init__(
        self, clock: Callable[[], int], read_file: ReadFile = no_files, *, lenient: bool = False
    ) -> None:
        self._clock = clock
        self._read_file = read_file
        self._lenient = lenient
        self._told: set[tuple[XdsKind, str]] = set()
        self._queue: deque[_Work] = deque()
        self._judging: dict[int, _Work] = {}
        self._late: dict[Reference, tuple[str, Record]] = {}
        """Of what waited too long for its verdict: the digest, and the record to keep once it is in force."""

    def submit(self, offered: Offered, origin: Source) -> None:
        self._queue.append(_Work(offered, origin))

    @property
    def busy(self) -> bool:
        """Whether there is something to convert."""
        return bool(self._queue)

    def convert(self, now: int) -> list[Ready]:
        """Converts for a while; returns the responses that are done."""
        until = self._clock() + BUDGET_MS
        done: list[Ready] = []
        while self._queue:
            work = self._queue[0]
            while work.at < len(work.offered.upserts):
                self._convert_next(work)
                if self._clock() >= until and work.at < len(work.offered.upserts):
                    return done
            self._queue.popleft()
            done.append(self._finish(work, now))
            if self._clock() >= until:
                break
        return done

    def _convert_next(self, work: _Work) -> None:
        offer = work.offered.upserts[work.at]
        work.at += 1
        message = TYPES[work.offered.kind].message
        try:
            if self._lenient:
                with lenient() as ignored:
                    converted = convert(message, offer.body, self._read_file)
                self._tell(work.offered.kind, offer.name, ignored)
            else:
                converted = convert(message, offer.body, self._read_file)
        except Refused as refused:
            work.refusals.append(Refusal(offer.name, refused.path, refused.reason))
            return
        except Exception as error:
            # A bug of ours that one resource brings to light must not cost the others.
            _log.exception("cannot convert a resource", kind=work.offered.kind, name=offer.name)
            reason = (
                f"a bug of Mainstay: {type(error).__name__}: {error}; please report it with the proxy's log"
            )
            work.refusals.append(Refusal(offer.name, "", reason))
            return
        if converted.resource.name != offer.name:
            reason = f"the message calls itself {converted.resource.name!r}"
            work.refusals.append(Refusal(offer.name, "", reason))
            return
        work.taken.append(converted)
        reference = (converted.resource.kind, converted.resource.name)
        work.coming[reference] = converted.resource.digest
        work.records[reference] = Record(message, offer.name, offer.version, offer.body)
        self._late.pop(reference, None)

    def _tell(self, kind: XdsKind, name: str, ignored: list[str]) -> None:
        for field in ignored:
            if (kind, field) not in self._told and len(self._told) < MAX_TOLD:
                self._told.add((kind, field))
                _log.warning("ignored in resources of this kind", kind=kind, first=name, field=field)

    def _finish(self, work: _Work, now: int) -> Ready:
        kind = KINDS[work.offered.kind]
        work.gone = frozenset((kind, name) for name in work.offered.removals)
        for reference in work.gone:
            self._late.pop(reference, None)
        work.deadline = now + PATIENCE_MS
        self._judging[work.offered.token] = work
        upserts: list[Encoded] = []
        for converted in work.taken:
            upserts += converted.parts
        work.taken = []
        offer = Offer(tuple(upserts), tuple(sorted(work.gone)))
        return Ready(work.offered.kind, work.offered.token, work.origin, offer)

    def decided(
        self,
        in_force: Callable[[Reference], str | None],
        refused: Mapping[Reference, Refusal],
        now: int,
        *,
        changed: bool = True,
        check: Callable[[Mapping[Reference, str]], Mapping[Reference, Refusal]] = lambda _: {},
    ) -> tuple[list[Judged], list[Record]]:
        """Verdicts that can be given, and records of what has come in force.

        `in_force` tells the digest under which a resource is in force; `refused`: what the engine has just refused. `changed`:
        whether anything has come in force since it was asked last; thousands that wait are not looked at in vain. `check`: tells
        which of those that wait on, by digest, could never come in force.
        """
        changed = changed or bool(refused)
        judged: list[Judged] = []
        records: list[Record] = []
        for token, work in tuple(self._judging.items()):
            to_look_at = tuple(work.coming) if changed or not work.looked_at else ()
            work.looked_at = True
            for reference in to_look_at:
                if reference in refused:
                    work.refusals.append(refused[reference])
                elif in_force(reference) == work.coming[reference]:
                    records.append(work.records[reference])
                else:
                    continue
                del work.coming[reference]
                del work.records[reference]
            if not work.coming or now >= work.deadline:
                if work.coming:
                    for reference, refusal in check(work.coming).items():
                        work.refusals.append(refusal)
                        del work.coming[reference]
                        del work.records[reference]
                self._keep_for_later(work)
                del self._judging[token]
                judged.append(Judged(token, tuple(work.refusals)))
        if changed:
            records += self._late_records(in_force, refused)
        return judged, records

    def _keep_for_later(self, work: _Work) -> None:
        for reference, digest in work.coming.items():
            self._late[reference] = (digest, work.records[reference])

    def _late_records(
        self, in_force: Callable[[Reference], str | None], refused: Mapping[Reference, Refusal]
    ) -> list[Record]:
        found = []
        for reference, (digest, record) in tuple(self._late.items()):
            if in_force(reference) == digest:
                found.append(record)
                del self._late[reference]
            elif reference in refused:
                del self._late[reference]
        return found

    def next_deadline(self) -> int | None:
        """When `decided` has something to say even if nothing happens."""
        return min((work.deadline for work in self._judging.values()), default=None)
