"""Where configuration comes from, and who is asked for what: one ADS stream, streams of single services, files.

In: names that are needed, by kind, and what resources say of their sources; the engine's events of calls, the clock. Out:
`Offered` responses, with their origin. Invariants: every name is asked of one source; a source is asked once its cluster is in
force, and given up when nothing of it is wanted any more; each kind has one stream a service, however many names are asked of
it. A service that is not one of the bootstrap's clusters (Istio's `sds-grpc`, which lives in its agent) is stood in for by ADS.
Driven by the brain.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import cast

from mainstay.engine import GrpcClosed, GrpcMessage
from mainstay.sidecar.bootstrap.boot import Boot
from mainstay.sidecar.border import Lease
from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.convert.refuse import Refused, lenient_if
from mainstay.sidecar.convert.source import AGGREGATED, Aggregated, File, Same, Service, Source
from mainstay.sidecar.convert.table import Encoded
from mainstay.sidecar.file_source import FileSource
from mainstay.sidecar.files import Files
from mainstay.sidecar.intake import KINDS as ENGINE_KINDS
from mainstay.sidecar.intake import XDS_KINDS
from mainstay.sidecar.link import Message, Stream
from mainstay.sidecar.status import Status
from mainstay.telemetry.log import get_log
from mainstay.xds.client import types as xds
from mainstay.xds.client.stream import ClientStream
from mainstay.xds.types import Kind as XdsKind

_log = get_log("sidecar.discovery")
Key = tuple[Source, XdsKind | None]
"""A channel: ADS has one for all kinds."""


class _Streamed:
    """A source behind a stream."""

    def __init__(self, key: Key, stream: Stream, client: ClientStream) -> None:
        self.source, kind = key
        self.label = str(self.source) if kind is None else f"{self.source} {kind}"
        self.stream = stream
        self.client = client
        self.timer: int | None = None


class _Filed:
    """A source that is a file."""

    def __init__(self, source: File, reader: FileSource) -> None:
        self.source = source
        self.reader = reader


class Discovery:
    """See the module. `submit` takes what was offered, and its origin."""

    def __init__(
        self,
        lease: Lease,
        boot: Boot,
        status: Status,
        random: Callable[[], float],
        files: Files,
        submit: Callable[[xds.Offered, Source], None],
    ) -> None:
        self._lease = lease
        self._dynamic = boot.dynamic
        self._clusters = boot.clusters
        """Only these may serve configuration."""
        self._lenient = boot.lenient
        self._status = status
        self._random = random
        self._files = files
        self._submit = submit
        self._sources: dict[Reference, Source] = {}
        """Where names come from, if not over ADS."""
        self._changed: set[XdsKind] = set()
        self._wishes: dict[tuple[Source, XdsKind], xds.Wanted] = {}
        self._streams: dict[Key, _Streamed] = {}
        self._filed: dict[Key, _Filed] = {}
        self._owners: dict[int, _Streamed | _Filed] = {}
        """Who made an offer that is not judged yet."""
        self._tokens = 0
        self._health: xds.HealthChanged | None = None
        self._application: xds.ApplicationChanged | None = None
        for kind, source in self._wildcards():
            self._wishes[source, kind] = xds.Wanted(kind, wildcard=True)

    def _wildcards(self) -> list[tuple[XdsKind, Source]]:
        if self._dynamic is None:
            return []
        asked: list[tuple[XdsKind, Source | None]] = [
            ("cluster", self._dynamic.clusters),
            ("listener", self._dynamic.listeners),
        ]
        return [(kind, source) for kind, source in asked if source is not None]

    @property
    def asked(self) -> frozenset[XdsKind]:
        """Kinds of which all is asked for: a first answer to each makes the first configuration."""
        return frozenset(kind for kind, _ in self._wildcards())

    @property
    def ads_cluster(self) -> str | None:
        """Where the ADS stream goes; `None` as long as there is none."""
        found = self._streams.get((AGGREGATED, None))
        return found.stream.cluster if found is not None else None

    # --- who is asked ---------------------------------------------------------------------------------------------

    def learn(self, encoded: Encoded, origin: Source | None) -> None:
        """Notes where the names come from that a resource needs. `origin`: where itself came from, `None` for the bootstrap."""
        if origin is None:
            origin = dict(self._wildcards()).get("cluster" if encoded.kind == "cluster" else "listener")
        said = dict(encoded.sources)
        for need in encoded.needs:
            source = said.get(need, AGGREGATED)
            if isinstance(source, Same):
                source = origin or AGGREGATED
            if isinstance(source, Service) and source.cluster not in self._clusters:
                source = AGGREGATED
            if source == self._sources.get(need, AGGREGATED):
                continue
            self._changed.add(XDS_KINDS[need[0]])
            if source == AGGREGATED:
                del self._sources[need]
            else:
                self._sources[need] = source

    def changed(self) -> frozenset[XdsKind]:
        """Kinds of which some name has another source since the last call."""
        found, self._changed = frozenset(self._changed), set()
        return found

    def want(self, kind: XdsKind, names: frozenset[str], now: int) -> None:
        """All names of a kind that are needed."""
        shares: dict[Source, set[str]] = {source: set() for source, of in self._wishes if of == kind}
        for name in names:
            shares.setdefault(self._sources.get((ENGINE_KINDS[kind], name), AGGREGATED), set()).add(name)
        for source, share in shares.items():
            self._wish(source, xds.Wanted(kind, frozenset(share)), now)
        gone = [need for need in self._sources if need[0] == ENGINE_KINDS[kind] and need[1] not in names]
        for need in gone:
            del self._sources[need]

    def _wish(self, source: Source, wanted: xds.Wanted, now: int) -> None:
        if self._wishes.get((source, wanted.kind)) == wanted:
            return
        self._wishes[source, wanted.kind] = wanted
        if isinstance(source, Aggregated):
            if (AGGREGATED, None) in self._streams:
                self._feed(self._streams[AGGREGATED, None], wanted, now)
            return
        key = (source, wanted.kind)
        if not wanted.names:
            self._give_up(key, now)
        elif key in self._streams:
            self._feed(self._streams[key], wanted, now)
        elif key in self._filed:
            self._offered(self._filed[key], self._filed[key].reader.want(wanted.names, wildcard=False))

    def _give_up(self, key: tuple[Source, XdsKind], now: int) -> None:
        del self._wishes[key]
        stream = self._streams.pop(key, None)
        if stream is not None:
            self._feed(stream, xds.Stopped(), now)
            self._status.closed(stream.label)
        if self._filed.pop(key, None) is not None:
            self._files.forget(key)

    # --- opening --------------------------------------------------------------------------------------------------

    def open(
        self,
        holds: Callable[[Reference], bool],
        node: Callable[[], bytes],
        cluster: str | None,
        held: Callable[[], Mapping[XdsKind, dict[str, str]]],
        now: int,
    ) -> None:
        """Opens what is wanted and can be. `cluster`: where ADS is now; `held`: versions from the last run."""
        for (source, kind), wanted in tuple(self._wishes.items()):
            match source:
                case File() if (source, kind) not in self._filed:
                    reader = FileSource(kind, self._token)
                    self._filed[source, kind] = filed = _Filed(source, reader)
                    reader.want(wanted.names, wildcard=wanted.wildcard)
                    self._load((source, kind), filed, now)
                case Service() if (source, kind) not in self._streams and holds(("cluster", source.cluster)):
                    self._open_stream((source, kind), source.cluster, source, node(), held(), now)
        ads = self._dynamic.ads if self._dynamic is not None else None
        if ads is not None and (AGGREGATED, None) not in self._streams:
            place = cluster or ads.cluster
            if holds(("cluster", place)):
                self._open_stream((AGGREGATED, None), place, ads, node(), held(), now)

    def _open_stream(
        self,
        key: Key,
        cluster: str,
        service: Service,
        node: bytes,
        held: Mapping[XdsKind, dict[str, str]],
        now: int,
    ) -> None:
        source, kind = key
        client = ClientStream(
            node,
            self._random,
            variant=service.variant,
            kind=kind,
            held=held,
            tokens=self._token,
            node_always=service.node_always,
        )
        stream = Stream(self._lease, cluster, service.metadata)
        self._streams[key] = streamed = _Streamed(key, stream, client)
        for (asked, of), wanted in self._wishes.items():
            if asked == source and kind in (None, of):
                self._feed(streamed, wanted, now)
        for told in (self._application, self._health):
            if told is not None and kind is None:
                self._feed(streamed, told, now)
        self._feed(streamed, xds.Started(), now)

    def move(self, cluster: str, now: int) -> None:
        """The ADS stream goes to another cluster, and resumes there."""
        streamed = self._streams[AGGREGATED, None]
        streamed.stream.move(cluster)
        _log.info("the stream moves to the new certificate")
        self._feed(streamed, xds.Moved(), now)

    def resume(self, kind: XdsKind, now: int) -> None:
        """What was refused of a kind can be taken by now: the streams that bring it ask for it once more."""
        for (_, of), streamed in tuple(self._streams.items()):
            if of in (None, kind):
                self._feed(streamed, xds.Moved(), now)

    def cancel(self) -> None:
        """Ends every call."""
        for streamed in self._streams.values():
            streamed.stream.cancel()

    # --- events ---------------------------------------------------------------------------------------------------

    def take(self, event: GrpcMessage | GrpcClosed, now: int) -> None:
        """An event of a call, which need not be ours."""
        for streamed in tuple(self._streams.values()):
            outcome = streamed.stream.take(event)
            if isinstance(outcome, Message):
                if not self._feed(streamed, xds.Received(outcome.body), now):
                    streamed.stream.done()
            elif outcome is not None:
                self._feed(streamed, xds.Closed(outcome.status, outcome.words), now)
            else:
                continue
            return

    def tick(self, now: int) -> None:
        for streamed in tuple(self._streams.values()):
            if streamed.timer is not None and now >= streamed.timer:
                streamed.timer = None
                self._feed(streamed, xds.TimerFired(), now)

    def next_deadline(self) -> int | None:
        return min((each.timer for each in self._streams.values() if each.timer is not None), default=None)

    def changed_file(self, key: Hashable, now: int) -> None:
        """A file that is a source has changed."""
        filed = self._filed.get(cast(Key, key))
        if filed is not None:
            self._load(cast(Key, key), filed, now)

    def report(self, health: xds.HealthChanged, now: int) -> None:
        """Tells the workload's health, now and after each reconnect."""
        self._health = health
        if (AGGREGATED, None) in self._streams:
            self._feed(self._streams[AGGREGATED, None], health, now)

    def tell(self, application: xds.ApplicationChanged, now: int) -> None:
        """Tells what the application publishes and wants, now and after each reconnect."""
        self._application = application
        if (AGGREGATED, None) in self._streams:
            self._feed(self._streams[AGGREGATED, None], application, now)

    def converted(self, token: int) -> None:
        """A response has been dealt with: another may come."""
        owner = self._owners[token]
        if isinstance(owner, _Streamed):
            owner.stream.done()

    def judge(self, verdict: xds.Judged, now: int) -> None:
        owner = self._owners.pop(verdict.token)
        if isinstance(owner, _Streamed):
            self._feed(owner, verdict, now)
        else:
            owner.reader.judge(verdict)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _token(self) -> int:
        self._tokens += 1
        return self._tokens

    def _load(self, key: Key, filed: _Filed, now: int) -> None:
        path = filed.source.path
        try:
            with lenient_if(self._lenient):
                offered = filed.reader.load(path, self._files.read(path))
            self._offered(filed, offered)
        except (OSError, ValueError, Refused) as error:
            _log.warning("cannot take a file; what it had last stays", path=path, reason=error)
        self._files.follow(key, (path,), now)

    def _offered(self, owner: _Streamed | _Filed, offered: xds.Offered | None) -> None:
        if offered is not None:
            self._owners[offered.token] = owner
            self._submit(offered, owner.source)

    def _feed(self, streamed: _Streamed, event: xds.Event, now: int) -> bool:
        """Tells a stream's machine; whether a response was offered, whose place on the stream is still taken."""
        offered = False
        for command in streamed.client.handle(event, now):
            match command:
                case xds.Open(path):
                    streamed.stream.open(path)
                    self._status.connecting()
                case xds.Send(message):
                    streamed.stream.send(message)
                case xds.Cancel():
                    streamed.stream.cancel()
                case xds.SetTimer(at):
                    streamed.timer = at
                case xds.Offered():
                    offered = True
                    self._status.received(streamed.label, command.kind)
                    self._offered(streamed, command)
                case xds.Missing(kind, names):
                    _log.warning("the control plane does not answer for names", kind=kind, names=names)
                case xds.Lost():
                    self._tell_loss(streamed.label, command, now)
        return offered

    def _tell_loss(self, label: str, lost: xds.Lost, now: int) -> None:
        self._status.lost(label, lost.status, lost.message)
        facts = {
            "source": label,
            "status": lost.status,
            "reason": lost.message,
            "retry_in": lost.retry_at - now,
        }
        if lost.refused:
            _log.error("the control plane refuses this proxy, which asks again slowly", **facts)
        elif lost.status == 0:
            _log.info("the stream ended", **facts)
        else:
            _log.warning("the stream ended", **facts)
