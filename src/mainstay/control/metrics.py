"""The control plane's own metrics, `mainstay_control_…`, in Prometheus' text.

In: counters that the rooms keep for themselves, read when scraped. Out: metric families. Invariant: names and
labels are API; no label comes from names of services or proxies, so cardinality is bounded by the program.
Served on the metrics port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mainstay.control.debug import LagWatch
from mainstay.control.loop import Loop
from mainstay.control.rounds import Rounds
from mainstay.graph import Derived, Graph
from mainstay.sources import Intake

STATES = ("starting", "synced", "stale", "failed")
APPLIED_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60)

Count = Callable[[], Iterable[tuple[str, str, float]]]
"""`(kind of resource, state, how many)`: applied, pending and refused resources over all proxies."""


class ControlMetrics(Collector):
    """Reads everything at scrape time. `resources` counts by kind and state, `streams` are open xDS
    streams."""

    def __init__(
        self,
        graph: Graph,
        rounds: Rounds,
        intake: Intake,
        loop: Loop,
        lag: LagWatch,
        streams: Callable[[], int],
        resources: Count,
    ) -> None:
        self._graph = graph
        self._rounds = rounds
        self._intake = intake
        self._loop = loop
        self._lag = lag
        self._streams = streams
        self._resources = resources
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self.applied = Histogram(
            "mainstay_control_applied_seconds",
            "Time from a change becoming known to a proxy's acknowledgement",
            buckets=APPLIED_BUCKETS_S,
            registry=self._registry,
        )

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        derived = [each for each in self._graph.collections if isinstance(each, Derived)]
        yield _counter("rounds", "Rounds of the graph that ended", self._rounds.count)
        yield _counter("round_seconds", "Time spent in rounds", self._rounds.seconds)
        keys = GaugeMetricFamily("mainstay_control_keys", "Keys of a collection", labels=["collection"])
        recomputes = CounterMetricFamily(
            "mainstay_control_recomputes", "Keys computed", labels=["collection"]
        )
        suppressed = CounterMetricFamily(
            "mainstay_control_suppressed", "Keys computed with an equal result", labels=["collection"]
        )
        for each in self._graph.collections:
            keys.add_metric([each.name], len(each))
        for each in derived:
            recomputes.add_metric([each.name], each.recomputes)
            suppressed.add_metric([each.name], each.suppressed)
        yield from (keys, recomputes, suppressed)
        source_state = GaugeMetricFamily(
            "mainstay_control_source_state", "1 for the state a source is in", labels=["source", "state"]
        )
        for health in self._intake.health():
            for state in STATES:
                source_state.add_metric([health.source, state], float(health.state == state))
        yield source_state
        yield _counter("held_removals", "Removals of a listing that were held back", self._intake.holds)
        yield GaugeMetricFamily("mainstay_control_streams", "Open xDS streams", value=self._streams())
        resources = GaugeMetricFamily(
            "mainstay_control_resources", "Resources sent to proxies, by state", labels=["kind", "state"]
        )
        for kind, state, count in self._resources():
            resources.add_metric([kind, state], count)
        yield resources
        exceptions = CounterMetricFamily(
            "mainstay_control_exceptions", "Bugs of ours that a boundary caught", labels=["boundary"]
        )
        exceptions.add_metric(["graph key"], self._graph.exceptions)
        exceptions.add_metric(["task"], sum(self._loop.exceptions.values()))
        yield exceptions
        yield _counter("loop_held", "Passes of the loop that were held for too long", self._lag.count)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"mainstay_control_{name}", text, value=value)
