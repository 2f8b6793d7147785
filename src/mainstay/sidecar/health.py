"""The workload's health, from the engine's probes to the control plane.

In: `EndpointHealth` of probe clusters, verdicts of probes that are commands; what keeps traffic from the workload (the proxy
beside an agent is not ready, an inbound listener's port is taken); that the end has begun. Out: the report to send, when it has
changed. Invariants: without a probe nothing is reported but the end, and hindrances; a workload that cannot be reached is not
reported healthy; once draining, nothing else counts.
"""

from __future__ import annotations

from mainstay.engine import EndpointHealth
from mainstay.sidecar.convert.health_check import PROBE_PREFIX
from mainstay.sidecar.exec_probe import Verdict
from mainstay.xds.client.types import HealthChanged
from mainstay.xds.types import DRAINING

UNPROBED = "unprobed"
"""Stands for the address of a probe without a verdict."""
ENDING = HealthChanged(healthy=False, reason=DRAINING)
PROXY_NOT_READY = "the proxy is not ready"


class Health:
    """The machine. `hindrance`: why the workload cannot be reached, as of the start; empty if it can."""

    def __init__(self, hindrance: str = "") -> None:
        self._probes: dict[tuple[str, str], str] = {}
        """By cluster and address: why it fails; empty if it does not."""
        self._told: HealthChanged | None = None
        self._hindrance = hindrance

    @property
    def told(self) -> HealthChanged | None:
        return self._told

    def take(self, event: EndpointHealth) -> HealthChanged | None:
        """A probe changed its mind."""
        if not event.cluster.startswith(PROBE_PREFIX):
            return None
        self._probes.pop((event.cluster, UNPROBED), None)
        self._probes[event.cluster, event.address] = (
            "" if event.healthy else f"probe of {event.address} fails"
        )
        return self._judge()

    def expect(self, cluster: str) -> HealthChanged | None:
        """A verdict of this cluster's probe will come; until then the workload is not taken for well."""
        self._probes[cluster, UNPROBED] = "the application was not probed yet"
        return self._judge()

    def take_command(self, verdict: Verdict) -> HealthChanged | None:
        """A probe that is a command changed its mind."""
        reason = "" if verdict.healthy else f"probe by command fails: {verdict.reason}"
        self._probes[verdict.cluster, ""] = reason
        return self._judge()

    def hindered(self, reason: str) -> HealthChanged | None:
        """Traffic cannot reach the workload, or can again (no reason)."""
        if reason == self._hindrance:
            return None
        self._hindrance = reason
        if self._probes or reason:
            return self._judge()
        # Nothing was reported before, or the hindrance.
        return self._tell(HealthChanged(healthy=True)) if self._told is not None else None

    def _judge(self) -> HealthChanged | None:
        if self._hindrance:
            return self._tell(HealthChanged(healthy=False, reason=self._hindrance))
        failing = [self._probes[each] for each in sorted(self._probes) if self._probes[each]]
        return self._tell(HealthChanged(healthy=not failing, reason="; ".join(failing)))

    def forget(self, cluster: str) -> HealthChanged | None:
        """A cluster is gone, and its probes with it: what failed by them alone fails no more."""
        gone = [key for key in self._probes if key[0] == cluster]
        failed = any(self._probes.pop(key) for key in gone)
        return self._judge() if failed else None

    def drain(self) -> HealthChanged | None:
        return self._tell(ENDING)

    def _tell(self, report: HealthChanged) -> HealthChanged | None:
        if self._told in (report, ENDING):
            return None
        self._told = report
        return report
