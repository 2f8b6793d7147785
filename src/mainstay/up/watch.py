"""Figures of a running mesh: read each second, kept across restarts, shown as rows.

In: the proxies' own metrics. Out: totals since the load began, rows of the table, splits between versions.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

from mainstay.up.envoy_figures import read_envoy_pairs
from mainstay.up.figures import Pair, Tally, read_pairs, subtract
from mainstay.up.plane import Unanswered, ask
from mainstay.up.planned import GatewayInstance, Instance
from mainstay.up.programs import proxy_name
from mainstay.up.report import LoadResult, reported_by
from mainstay.up.stage import LOOK_S, Stage
from mainstay.up.table import Row, split

ROUND_S = 1.0
"""How often figures are read."""
READ_LIMIT_S = 2.0
RECENT_ROUNDS = 4
"""Rounds that count as "now" for the split between versions."""
SETTLE_S = 5.0
"""How long counters of the last requests may take to show."""


class Watch:
    """See the module."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._tally = Tally()
        self._silent = {
            each.workload.name: each.labels["app"]
            for each in stage.plan.instances
            if each.workload.proxy == "grpc"
        }
        self._protocols = {
            (service.name, port.number): port.protocol
            for service in stage.mesh.services
            for port in service.ports
        }
        self._recent: deque[list[Pair]] = deque(maxlen=RECENT_ROUNDS + 1)
        self._told: list[Pair] = []
        self._told_refusals: set[tuple[str, str]] = set()

    async def begin(self) -> None:
        """From here on requests count."""
        await self.read()
        self._tally.begin()

    async def read(self) -> None:
        """Ask every proxy for its counters; one that does not answer keeps its last reading."""
        plan = self._stage.plan
        places: list[Instance | GatewayInstance] = [each for each in plan.instances if each.has_sidecar]
        places += plan.gateways
        await asyncio.gather(*(self.read_one(each) for each in places))

    async def read_one(self, place: Instance | GatewayInstance) -> None:
        """Ask one proxy, if it runs."""
        child = self._stage.children.get(proxy_name(place.name))
        process = child.process if child is not None else None
        if process is None:
            return
        with contextlib.suppress(Unanswered):
            status, text = await self._stage.in_thread(
                ask, place.address, place.ports.metrics, "GET", "/stats/prometheus", None, None, READ_LIMIT_S
            )
            if status == 200:
                self._tally.take(place.name, process.pid, self._read_pairs(place, text))

    def _read_pairs(self, place: Instance | GatewayInstance, text: str) -> list[Pair]:
        if place.software == "envoy":
            return read_envoy_pairs(text, place.labels["app"], self._protocols)
        return read_pairs({place.name: text}, self._silent)

    def rows(self) -> list[Row]:
        """The table as of the last reading."""
        total = self._tally.total()
        self._recent.append(total)
        last = (
            {_key(pair): pair for pair in subtract(total, self._recent[-2])} if len(self._recent) > 1 else {}
        )
        recent = {_key(pair): pair for pair in subtract(total, self._recent[0])}
        rows = []
        for pair in total:
            rate = last[_key(pair)].requests / ROUND_S if _key(pair) in last else 0.0
            now = recent[_key(pair)].versions if len(self._recent) > 1 else {}
            # A version that nobody calls any more stays visible, with 0 %.
            versions = {name: now.get(name, 0) for name in pair.versions} if now else pair.versions
            rows.append(Row(pair, rate, versions))
        return rows

    async def tell_splits(self) -> None:
        """Tell how versions have shared the requests since the last time."""
        await self.read()
        total = self._tally.total()
        for pair in subtract(total, self._told):
            if shown := split(pair.versions):
                name = f"{pair.source} → {pair.destination}"
                self._stage.events.tell("split", name, shown, versions=dict(sorted(pair.versions.items())))
        self._told = total

    async def tell_refusals(self) -> None:
        """Tell what proxies refuse: they go on with what they had, and the author should know."""
        try:
            found = await self._stage.ask(lambda api: api.refusals())
        except Unanswered:
            return  # a control plane that is away tells nothing; that it is away is told already
        for proxy, text in found:
            if (proxy, text) not in self._told_refusals:
                self._stage.events.tell("warning", proxy, text)
        self._told_refusals = set(found)

    async def read_last(self, results: list[LoadResult]) -> list[Pair]:
        """Counters of the last requests show a moment after their answers."""
        until = time.monotonic() + SETTLE_S
        while True:
            await self.read()
            pairs = self._tally.total()
            wanted = {each.gateway: each.count.succeeded + each.count.failed for each in results}
            reported = {name: reported_by(pairs, name) for name in wanted}
            if reported == wanted or not results or time.monotonic() >= until:
                return pairs
            await asyncio.sleep(LOOK_S)


def _key(pair: Pair) -> tuple[str, str, str]:
    return pair.source, pair.destination, pair.protocol
