"""The control plane's inside, wired: sources → graph → views → streams. The composition root of what is pure of listening.

In: settings, a store, keys. Out: one object whose parts REST, xDS and metrics are built over. Invariant: readable top to
bottom; nothing here waits or listens. Built by `main`, and by tests that want a whole control plane in process.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mainstay.api.kind import Defaults
from mainstay.api.mainstay.group import GROUP
from mainstay.api.object import Object
from mainstay.control.admission import Admission, Vault
from mainstay.control.authored import Authored
from mainstay.control.built_in import show_built_in
from mainstay.control.certificates import GatewayCertificates
from mainstay.control.collections import Collections
from mainstay.control.dialect import References, check_references
from mainstay.control.loop import Loop, LoopClock, time_of_day
from mainstay.control.objects import PREFIX, ObjectId
from mainstay.control.proxies import Proxies
from mainstay.control.reading import parse_file, read_records
from mainstay.control.registered import KIND as WORKLOAD_ENTRY
from mainstay.control.registered import show_registered
from mainstay.control.rounds import Rounds
from mainstay.control.views import Views, describe_bug
from mainstay.graph import Graph, Settled
from mainstay.model.key import ObjectKey, WorkloadKey
from mainstay.model.mesh import Mesh
from mainstay.model.problem import Problem
from mainstay.model.workload import Registration, Workload, WorkloadGroup
from mainstay.protocols.kind import KIND as PROTOCOL
from mainstay.protocols.kind import shipped_protocols
from mainstay.settings.serve import ServeSettings
from mainstay.sources import Intake, Remove, Source, Taken, Upsert, keep_source
from mainstay.sources.files import FilesMachine, FilesSource
from mainstay.sources.store import StoreSource
from mainstay.sources.workloads import Machine, WorkloadsSource
from mainstay.store import Store

FILES = "files"
STORE = "store"
WORKLOADS = "workloads"
DEFAULT_NAMESPACE = "default"
SECRET_KIND = "GatewaySecret"

Record = Callable[[str, str, str, str, int], None]
"""`record(who, action, object, result, revision)`: one line of the audit trail."""


class Plane:
    """See the module."""

    def __init__(self, settings: ServeSettings, store: Store, vault: Vault, record: Record) -> None:
        self.clock = LoopClock()
        self._problems: tuple[int, list[Problem]] | None = None
        self.store = store
        names = [*([FILES] if settings.files.directory is not None else []), STORE]
        self.intake = Intake([*names, WORKLOADS], self.clock, self._wake)

        self.graph = Graph(time.perf_counter, describe_bug)
        mesh = Mesh(
            trust_domain=settings.trust_domain,
            domain_suffix=settings.domain_suffix,
            root_namespace=settings.root_namespace,
        )
        self.authored = Authored(self.graph, names, mesh)
        self._registrations = self.graph.input("registrations")
        self.collections = Collections(
            self.graph,
            [self.authored.facts],
            self.authored.mesh,
            self._registrations,
            shipped_protocols(),
        )
        self.views = Views(self.graph, self.collections)
        self.certificates = GatewayCertificates(
            lambda namespace, name: self.authored.objects.get(ObjectId(GROUP, SECRET_KIND, namespace, name))
        )

        self.workloads = WorkloadsSource(
            WORKLOADS, store, Machine(settings.xds.grace), time_of_day, who=settings.trust_domain
        )
        self.sources: list[Source] = [
            StoreSource(STORE, store, PREFIX, read_records(vault), self.clock),
            self.workloads,
        ]
        if settings.files.directory is not None:
            self.sources.append(self._files(settings.files.directory, settings.files.poll))

        self.proxies = Proxies(
            self.graph, self.views, self.certificates, self.waiting, self._wake, self.clock.now
        )
        self.rounds = Rounds(self.graph, self.intake, self.clock, self._enter, self._publish)
        self.admission = Admission(
            store,
            lambda: dict(self.authored.objects.items()),
            self.authored.defaults,
            lambda revision: self.rounds.reached(STORE, revision),
            lambda who, action, name, revision: record(who, action, name, "done", revision),
            vault,
            time_of_day,
            lambda: str(uuid.uuid4()),
        )

    def spawn(self, loop: Loop) -> None:
        """Starts what keeps facts and views up to date."""
        loop.spawn("rounds", self.rounds.run())
        for source in self.sources:
            loop.spawn(f"source {source.name}", keep_source(source, self.intake, self.clock, random.random))

    def waiting(self) -> str:
        """Why nothing is pushed yet; empty once everything is."""
        unread = [
            health.source
            for health in self.intake.health()
            if health.state != "synced" and not self.intake.is_synced()
        ]
        if unread:
            return f"not read yet: {', '.join(unread)}"
        if not self.intake.is_synced():
            return "what the sources brought is being taken in"
        if self.workloads.waits:
            return "workloads that were connected before the restart are awaited"
        return ""

    def is_synced(self) -> bool:
        """Every source was read once, and all of it is in use."""
        return self.intake.is_synced() and self.rounds.count > 0

    def find_workload(self, key: WorkloadKey) -> Workload | None:
        """A workload somebody wrote, or that registered."""
        return self.collections.workloads.get(key)

    def show_workload(self, key: WorkloadKey) -> dict[str, str] | None:
        """A workload as status shows it: its group if it registered, and its health."""
        workload = self.find_workload(key)
        if workload is None:
            return None
        group = str(workload.group) if workload.group is not None else ""
        return {"name": str(workload.key), "group": group, "health": workload.health.name.lower()}

    def find_group(self, key: ObjectKey) -> WorkloadGroup | None:
        return self.collections.groups.get(key)

    def problems(self) -> list[Problem]:
        """All that is wrong and known: in sources, in references, in proxies' views. Worked out once a round."""
        if self._problems is None or self._problems[0] != self.rounds.count:
            self._problems = (self.rounds.count, self._find_problems())
        return self._problems[1]

    def _find_problems(self) -> list[Problem]:
        found: dict[Problem, None] = dict.fromkeys(self.authored.problems())
        found.update(dict.fromkeys(self._dangling()))
        found.update(dict.fromkeys(self.proxies.problems()))
        return list(found)

    def in_files(self) -> dict[ObjectId, Object]:
        """Objects of the directory, which no write changes."""
        found = self.authored.inputs.get(FILES)
        return dict(found.items()) if found is not None else {}

    def unwritten(self, kind: str) -> Mapping[ObjectId, dict[str, Any]]:
        """Objects of a kind as they would be had somebody written them: workloads that registered themselves, protocols that
        come with Mainstay."""
        if kind == WORKLOAD_ENTRY:
            return show_registered(workload for _, workload in self.collections.workloads.items())
        return show_built_in() if kind == PROTOCOL.name else {}

    def status_of(self, each: ObjectId) -> dict[str, object]:
        """What is known of one object."""
        named = str(each)
        return {"problems": [problem for problem in self.problems() if problem.object == named]}

    def _dangling(self) -> Iterator[Problem]:
        objects = dict(self.authored.objects.items())
        yield from check_references(References(objects, self.defaults), objects.values())

    @property
    def defaults(self) -> Defaults:
        return self.authored.defaults()

    def _files(self, directory: Path, poll_ms: int) -> FilesSource:
        machine = FilesMachine(FILES, lambda path, content: parse_file(DEFAULT_NAMESPACE, path, content))
        return FilesSource(FILES, directory, machine, self.clock, poll_ms, time_of_day)

    def _wake(self) -> None:
        self.rounds.wake()

    def _enter(self, taken: Taken) -> None:
        if taken.source != WORKLOADS:
            self.authored.enter(taken)
            return
        change = taken.change
        if isinstance(change, Upsert):
            assert isinstance(change.fact, Registration)
            self._registrations.set(change.key, change.fact, taken.cause)
        elif isinstance(change, Remove):
            self._registrations.remove(change.key, taken.cause)

    def _publish(self, settled: Settled) -> bool:
        changed = settled.changed.get(self.authored.objects.name, frozenset())
        if any(each.kind == SECRET_KIND for each in changed):
            self.proxies.secrets_changed()
        return self.proxies.publish(settled)
