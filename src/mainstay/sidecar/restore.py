"""The last run's configuration: read from disk and converted, a little at a time, then offered as a whole.

In: records of `last_good`. Out: an `Offer`, and the versions to tell the control plane. Invariant: it is offered whole, or
what is referred to would be dropped, as needed by nobody, before its referrer came; a record that cannot be converted is left
out, so that the control plane sends that resource anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mainstay.sidecar.convert.gathered import ReadFile
from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.convert.refuse import Refused, lenient_if
from mainstay.sidecar.convert.table import Converted, Encoded, convert
from mainstay.sidecar.intake import XDS_KINDS
from mainstay.sidecar.last_good import Record
from mainstay.sidecar.warming import Offer
from mainstay.telemetry.log import get_log
from mainstay.xds.types import Kind as XdsKind

_log = get_log("sidecar.restore")
STEP_MS = 50


class Restore:
    """See the module. `clock`: monotonic ms, so that signals and timers are not starved."""

    def __init__(
        self, records: list[Record], clock: Callable[[], int], read_file: ReadFile, *, lenient: bool = False
    ) -> None:
        self._waiting: Iterator[Record] = iter(records)
        self._clock = clock
        self._read_file = read_file
        self._lenient = lenient
        self._upserts: list[Encoded] = []
        self._versions: dict[Reference, str] = {}

    def step(self) -> bool:
        """Converts for a while; whether it is done."""
        until = self._clock() + STEP_MS
        for record in self._waiting:
            converted = self._revive(record)
            if converted is not None:
                self._upserts += converted.parts
                self._versions[converted.resource.kind, record.name] = record.version
            if self._clock() >= until:
                return False
        return True

    @property
    def offer(self) -> Offer:
        return Offer(tuple(self._upserts))

    @property
    def has_listeners(self) -> bool:
        """Whether traffic can be served by it."""
        return any(encoded.kind == "listener" for encoded in self._upserts)

    @property
    def has_clusters(self) -> bool:
        """Whether it is what an agent has of the control plane, which asks for no listeners."""
        return any(encoded.kind == "cluster" for encoded in self._upserts)

    def versions(self, knows: Callable[[Reference], bool]) -> Mapping[XdsKind, dict[str, str]]:
        """Versions by kind and name, of what is in force or on its way: not of what the engine has refused."""
        found: dict[XdsKind, dict[str, str]] = {}
        for reference, version in self._versions.items():
            if knows(reference):
                found.setdefault(XDS_KINDS[reference[0]], {})[reference[1]] = version
        return found

    def _revive(self, record: Record) -> Converted | None:
        if record.body is None:
            return None
        try:
            with lenient_if(self._lenient):
                return convert(record.message, record.body, self._read_file)
        except Refused as refused:
            _log.warning("cannot take a last good resource", name=record.name, reason=refused)
        except Exception:
            # A bug of ours must not keep every further start from succeeding.
            _log.exception("cannot convert a last good resource", name=record.name)
        return None
