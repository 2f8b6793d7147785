"""What stands beside an agent: where new leaves go, and the proxy's process if it has one of its own.

In: new leaves and wishes from the brain, signals, time. Out: files, a running process, `Outcome`s for the brain. Invariants: the
machine (`envoy`) decides; nothing here waits longer than one short question to Envoy's admin pages; it outlives a brain
that starts over. Built by `main`; the brain calls it on its own thread.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mainstay.identity.join_wire import Joined
from mainstay.model.agent import ENVOY_BOOTSTRAP, GRPC_BOOTSTRAP
from mainstay.sidecar.agent import admin, envoy
from mainstay.sidecar.agent.envoy_bootstrap import ADMIN_SOCKET
from mainstay.sidecar.agent.files import CertificateFiles, Leaf, write_private
from mainstay.sidecar.beside import Outcome, ProxyDrained, ProxyGone, ProxyReady, Scope
from mainstay.supervise import Process, Program, Reaper, child, spawn
from mainstay.telemetry.log import get_log

_log = get_log("sidecar.agent")


Describe = Callable[[Joined, CertificateFiles], dict[str, Any]]
"""Makes the proxy's bootstrap."""


def leaf_of(joined: Joined, key: str) -> Leaf:
    return Leaf(joined.chain, key, "".join(joined.bundle.roots))


class GrpcFiles:
    """Beside an application whose gRPC library takes part in the mesh: files alone."""

    runs = False

    def __init__(self, data: Path, describe: Describe) -> None:
        self._data = data
        self._files = CertificateFiles(data)
        self._describe = describe
        self.is_ready = False

    def keep(self, joined: Joined, key: str) -> None:
        self._files.publish(leaf_of(joined, key))
        bootstrap = self._data / GRPC_BOOTSTRAP
        write_private(bootstrap, msgspec.json.encode(self._describe(joined, self._files)))
        if not self.is_ready:
            _log.info("gRPC's library finds its bootstrap", GRPC_XDS_BOOTSTRAP=str(bootstrap))
        self.is_ready = True

    def child_changed(self, now: int) -> None:
        pass

    def tick(self, now: int) -> None:
        pass

    def next_deadline(self) -> int | None:
        return None

    def drain(self, scope: Scope, min_ms: int, max_ms: int, now: int) -> None:
        pass

    def stop(self, now: int) -> None:
        pass

    def take_outcomes(self) -> list[Outcome]:
        return []

    def show(self) -> dict[str, Any]:
        return {"program": "grpc", "state": "ready" if self.is_ready else "starting"}


class EnvoyProcess:
    """An Envoy, kept running by the machine's commands. `command`: program and arguments, without the bootstrap's."""

    runs = True

    def __init__(
        self,
        data: Path,
        describe: Describe,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        output: str,
        version: str,
        clock: Callable[[], int],
        reaper: Callable[[], Reaper] = Reaper,
    ) -> None:
        self._data = data.absolute()
        self._files = CertificateFiles(data)
        self._describe = describe
        self._command = command
        self._environment = dict(environment)
        self._output = output
        self._version = version
        self._clock = clock
        self._make_reaper = reaper
        self._reaper: Reaper | None = None
        self._machine = envoy.Envoy()
        self._process: Process | None = None
        self._outcomes: list[Outcome] = []
        self._queue: deque[envoy.Event] = deque()

    @property
    def is_ready(self) -> bool:
        return self._machine.ready

    def keep(self, joined: Joined, key: str) -> None:
        self._files.publish(leaf_of(joined, key))
        write_private(self._data / ENVOY_BOOTSTRAP, msgspec.json.encode(self._describe(joined, self._files)))
        self._feed(envoy.FilesKept(), self._clock())

    def child_changed(self, now: int) -> None:
        process = self._process
        if process is None or (status := process.poll()) is None:
            return
        self._process = None
        if self._reaper is not None:
            self._reaper.forget(process.pid)
        self._feed(child.Exited(status), now)

    def tick(self, now: int) -> None:
        deadline = self.next_deadline()
        if deadline is not None and now >= deadline:
            self._feed(envoy.TimePassed(), now)

    def next_deadline(self) -> int | None:
        return self._machine.next_deadline()

    def drain(self, scope: Scope, min_ms: int, max_ms: int, now: int) -> None:
        self._feed(envoy.DrainAsked(scope, min_ms, max_ms), now)

    def stop(self, now: int) -> None:
        self._feed(envoy.StopAsked(), now)

    def take_outcomes(self) -> list[Outcome]:
        found, self._outcomes = self._outcomes, []
        return found

    def show(self) -> dict[str, Any]:
        return {
            "program": "envoy",
            "version": self._version,
            "state": self._machine.state,
            "starts": self._machine.starts,
            "pid": self._process.pid if self._process is not None else None,
        }

    def _feed(self, event: envoy.Event, now: int) -> None:
        self._queue.append(event)
        while self._queue:
            for command in self._machine.handle(self._queue.popleft(), now):
                self._perform(command)

    def _perform(self, command: envoy.Command) -> None:
        match command:
            case child.Start():
                self._start()
            case child.Terminate():
                if self._process is not None:
                    self._process.terminate()
            case child.Kill():
                if self._process is not None:
                    self._process.kill_group()
            case child.Crashed(reason, delay):
                _log.error("the proxy ended by itself", program="envoy", reason=reason, starts_again_in=delay)
            case child.Ended():
                self._outcomes.append(ProxyGone())
                self._close_reaper()
            case envoy.LookReady():
                self._queue.append(envoy.Looked(self._ask("GET", "/ready") is not None))
            case envoy.CountActive(scope):
                stats = self._ask("GET", "/stats?usedonly&filter=upstream_rq_active%24")
                self._queue.append(envoy.Counted(None if stats is None else admin.count_active(stats, scope)))
            case envoy.BeginDrain(scope):
                self._begin_drain(scope)
            case envoy.ReadyChanged(ready):
                _log.info("the proxy is ready" if ready else "the proxy is not ready", program="envoy")
                self._outcomes.append(ProxyReady(ready))
            case envoy.DrainEnded(cut):
                self._outcomes.append(ProxyDrained(cut))

    def _start(self) -> None:
        if self._reaper is None:
            self._reaper = self._make_reaper()
        command = (*self._command, "--config-path", ENVOY_BOOTSTRAP)
        environment = self._environment | self._reaper.environment()
        program = Program(command, environment, str(self._data), self._output)
        try:
            self._process = spawn(program)
        except OSError as error:
            self._queue.append(child.CouldNotStart(str(error)))
            return
        self._reaper.tell(self._process.pid)
        _log.info("started the proxy", program="envoy", version=self._version, pid=self._process.pid)

    def _begin_drain(self, scope: Scope) -> None:
        """Answers carry `Connection: close` from the failed check on; listeners close after `--drain-time-s`."""
        only = "&inboundonly" if scope == "inbound" else ""
        for path in ("/healthcheck/fail", f"/drain_listeners?graceful{only}"):
            if self._ask("POST", path) is None:
                _log.warning("Envoy did not take a drain", page=path)

    def _ask(self, method: str, path: str) -> str | None:
        """The page, None if it does not answer or not well."""
        try:
            status, body = admin.ask(self._data / ADMIN_SOCKET, method, path)
        except admin.Unanswered as error:
            _log.debug("Envoy's admin pages do not answer", page=path, reason=str(error))
            return None
        return body if status == 200 else None

    def _close_reaper(self) -> None:
        if self._reaper is not None:
            self._reaper.close()
            self._reaper = None


def inherited_environment() -> dict[str, str]:
    """What a proxy's process is given."""
    return dict(os.environ)
