"""Probes that are commands: when to run them, and what follows from how they end.

In: checks by cluster, the time in ms; programs through `Start`. Out: verdicts, when they change. Invariants: a probe's command
runs at most once at a time; one that does not end in its time is killed, and has failed; the first result decides at once,
later ones by the thresholds. Runs nothing itself: without `Start`, every such probe fails, in words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from mainstay.sidecar.convert.exec_check import ExecCheck

POLL_MS = 25
"""How often a running command is looked at. It has seconds; this only delays its verdict."""
NOT_ALLOWED = "commands of probes are not run here: start the sidecar with --probe-commands to allow them"


class Running(Protocol):
    """A program that was started."""

    def poll(self) -> int | None:
        """Its exit status, once it has ended; negative for a signal."""

    def kill(self) -> None:
        """Ends it and its children, and leaves nothing behind."""


Start = Callable[[tuple[str, ...]], Running]
"""Starts a program; raises OSError."""


class Verdict(msgspec.Struct, frozen=True):
    cluster: str
    healthy: bool
    reason: str


class _Probe:
    def __init__(self, check: ExecCheck, due: int) -> None:
        self.check = check
        self.due = due
        """When it starts; while it runs, when it is killed."""
        self.running: Running | None = None
        self.healthy: bool | None = None
        self.row = 0
        """Results in a row that speak against the verdict."""


class ExecProbes:
    """See the module. `start` None: commands are not allowed."""

    def __init__(self, start: Start | None) -> None:
        self._start = start
        self._probes: dict[str, _Probe] = {}

    def set(self, cluster: str, check: ExecCheck | None, now: int) -> None:
        """The check of a cluster from now on; none for most."""
        known = self._probes.get(cluster)
        if known is not None and known.check == check:
            return
        self.forget(cluster)
        if check is not None:
            self._probes[cluster] = _Probe(check, now + check.initial_delay)

    def forget(self, cluster: str) -> None:
        probe = self._probes.pop(cluster, None)
        if probe is not None and probe.running is not None:
            probe.running.kill()

    def stop(self) -> None:
        for cluster in tuple(self._probes):
            self.forget(cluster)

    def next_deadline(self, now: int) -> int | None:
        """When `tick` has something to do."""
        return min(
            (
                each.due if each.running is None else min(each.due, now + POLL_MS)
                for each in self._probes.values()
            ),
            default=None,
        )

    def tick(self, now: int) -> list[Verdict]:
        """Starts, looks at, ends what is due; tells verdicts that have changed."""
        found = []
        for cluster, probe in self._probes.items():
            result = self._look(probe, now)
            if result is not None and self._decide(probe, not result):
                found.append(Verdict(cluster, not result, result))
        return found

    def _look(self, probe: _Probe, now: int) -> str | None:
        """A result: empty for success, else why not; `None` if there is none yet."""
        if probe.running is None:
            if now < probe.due:
                return None
            probe.due = now + probe.check.timeout
            return self._begin(probe, now)
        status = probe.running.poll()
        if status is None and now < probe.due:
            return None
        if status is None:
            probe.running.kill()
        probe.running = None
        probe.due = now + probe.check.interval
        name = probe.check.command[0]
        if status is None:
            return f"{name} did not end within {probe.check.timeout} ms"
        return "" if status == 0 else f"{name} ended with {status}"

    def _begin(self, probe: _Probe, now: int) -> str | None:
        try:
            if self._start is None:
                raise PermissionError(NOT_ALLOWED)
            probe.running = self._start(probe.check.command)
        except (OSError, ValueError) as error:
            probe.due = now + probe.check.interval
            return str(error)
        return None

    @staticmethod
    def _decide(probe: _Probe, succeeded: bool) -> bool:
        """Whether the verdict has changed."""
        if probe.healthy is not None and succeeded == probe.healthy:
            probe.row = 0
            return False
        probe.row += 1
        needed = probe.check.healthy_threshold if succeeded else probe.check.unhealthy_threshold
        if probe.healthy is not None and probe.row < needed:
            return False
        probe.healthy, probe.row = succeeded, 0
        return True
