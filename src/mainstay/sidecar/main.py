"""Composition root of the data plane: `mainstay sidecar` and `mainstay gateway`.

In: arguments, environment. Out: an exit code. Builds the engine once, and a brain over it; a brain that dies of an exception is
counted, and another is built over the same engine, which serves on meanwhile. Imports neither asyncio nor ssl nor anything that
loads OpenSSL: a test compares what an idle sidecar has loaded.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mainstay.engine import (
    Asked,
    Drained,
    EndpointHealth,
    Engine,
    EngineError,
    Event,
    ListenerBound,
    Signal,
    Stopped,
)
from mainstay.settings.define import OperatorError
from mainstay.settings.load import HelpAsked, load
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar import border, lifecycle, plan
from mainstay.sidecar.beside import Beside
from mainstay.sidecar.bootstrap import own
from mainstay.sidecar.bootstrap.boot import Boot
from mainstay.sidecar.border import Lease
from mainstay.sidecar.brain import Brain
from mainstay.sidecar.certificates import Certificates
from mainstay.sidecar.configuration import Unfit
from mainstay.sidecar.ending import STOP_SIGNALS, Ending
from mainstay.sidecar.exec_probe import Start
from mainstay.sidecar.files import Disk
from mainstay.sidecar.identity import Identity
from mainstay.sidecar.last_good import LastGood, NoLastGood
from mainstay.sidecar.leaf_file import LeafFile
from mainstay.sidecar.registry_api.keep import Keep
from mainstay.sidecar.registry_api.place import place_of
from mainstay.sidecar.registry_api.serve import RegistryApi
from mainstay.sidecar.status import Status
from mainstay.sidecar.version import VERSION
from mainstay.telemetry import log
from mainstay.telemetry.levels import read_levels

FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 100, 5_000
REFUSED = 3
MANY_DEATHS, WINDOW_MS, LONG_PAUSE_MS = 5, 60_000, 30_000
KEPT_EVENTS = (Signal, Stopped, Drained, EndpointHealth, ListenerBound)
"""What a brain must hear of even if it came while there was none; the rest belongs to calls of the former one, save requests
of the application, which waits for their answers."""

_log = log.get_log("sidecar.main")


def main(arguments: Sequence[str]) -> int:
    """Runs until it is told to stop. `arguments`: the verb and what follows it."""
    verb, *rest = arguments
    try:
        settings = load(SidecarSettings, verb, rest, os.environ).settings
        _configure_log(settings)
        boot = read_boot(settings, verb)
        return _run(settings, boot, verb, _find_beside(settings, verb))
    except HelpAsked as asked:
        print(asked.text)
        return 0
    except OperatorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code


def _configure_log(settings: SidecarSettings) -> None:
    try:
        log.configure(settings.log.level, read_levels(settings.log.levels).own, settings.log.format)
    except ValueError as error:
        raise OperatorError(f"--log-levels: {error}", own.USAGE) from None


def _set_engine_levels(engine: Engine, settings: SidecarSettings) -> None:
    engine.set_log_level("", settings.log.level)
    for room, level in read_levels(settings.log.levels).engine.items():
        engine.set_log_level(room, level)


def read_boot(settings: SidecarSettings, verb: str) -> Boot:
    """From the bootstrap file, or from the settings themselves."""
    if settings.bootstrap is None:
        return own.own_boot(settings, verb, VERSION)
    if settings.registry.enabled:
        raise OperatorError(
            "--registry-enabled: what applications register is told to Mainstay's control plane: set --control-plane-address and"
            " the workload instead of --bootstrap",
            own.USAGE,
        )
    for flag, given in (
        ("--workload", settings.workload),
        ("--control-plane-address", settings.control_plane.address),
    ):
        if given:
            raise OperatorError(
                f"{flag} and --bootstrap exclude each other: a bootstrap says itself whose it is and what it asks",
                own.USAGE,
            )
    from mainstay.sidecar.bootstrap.aside import read_aside

    boot = read_aside(settings.bootstrap, VERSION, leniently=settings.lenient)
    for line in boot.ignored:
        _log.warning("ignored in the bootstrap", field=line)
    return boot


def _find_beside(settings: SidecarSettings, verb: str) -> Beside | None:
    """What carries the traffic, if the engine does not."""
    if settings.proxy == "mainstay":
        return None
    from mainstay.sidecar.agent.start import make_beside

    return make_beside(settings, verb, VERSION, monotonic_ms)


def engine_settings(settings: SidecarSettings, boot: Boot) -> plan.EngineSettings:
    """What the engine needs from the start."""
    workload = own.local_workload(settings) if settings.bootstrap is None else plan.LocalWorkload()
    registry = settings.registry
    return plan.EngineSettings(
        node_id=boot.node_id or "mainstay",
        workers=settings.concurrency,
        admin=boot.admin or plan.Socket(settings.admin.bind, settings.admin.port),
        # Envoy serves its own there.
        metrics=None
        if settings.proxy == "envoy"
        else plan.Socket(settings.metrics.bind, settings.metrics.port),
        health=plan.Socket(settings.health.bind, settings.health.port),
        registry=plan.Socket(registry.bind, registry.port) if registry.enabled and registry.port else None,
        admin_beyond_loopback=settings.admin.beyond_loopback,
        max_connections=settings.max_connections,
        resend_unprocessed=settings.resend_unprocessed,
        log_json=settings.log.format == "json",
        node_cluster=boot.node_cluster,
        version=VERSION,
        workload=workload,
    )


def _with_remedy(reason: str) -> str:
    """What the engine says of a listener of its own whose port is taken, with the setting that moves it."""
    what, _, rest = reason.partition(": ")
    if "in use" not in rest or what not in ("admin", "health", "metrics", "registry"):
        return reason
    return f"{reason}. `ss -ltnp` shows which program has it; --{what}-port moves ours"


def _run(settings: SidecarSettings, boot: Boot, verb: str, beside: Beside | None = None) -> int:
    try:
        engine = Engine(engine_settings(settings, boot))
        _set_engine_levels(engine, settings)
    except EngineError as error:
        raise OperatorError(f"the engine does not start: {_with_remedy(str(error))}") from None
    for number in (*STOP_SIGNALS, signal.SIGCHLD):
        # The handler does nothing: the byte that the interpreter writes to the engine's descriptor comes back as an event.
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(engine.signal_descriptor(), warn_on_full_buffer=False)
    status = Status(VERSION)
    status.on_ready = ReadyFile(settings.ready_file, status)
    keeper = Keeper(engine, settings, boot, status, verb, beside)
    try:
        keeper.run()
    finally:
        signal.set_wakeup_fd(-1)
    return 0


def command_runner(settings: SidecarSettings) -> Start | None:
    """What runs commands of probes, if they are allowed; loaded only then."""
    if not settings.probe.commands:
        return None
    from mainstay.sidecar.command import Runner

    return Runner(settings.probe.user)


class ReadyFile:
    """Writes the addresses in use once the proxy is ready, for who started it."""

    def __init__(self, path: Path | None, status: Status) -> None:
        self._path = path
        self._status = status

    def __call__(self, ready: bool) -> None:
        if self._path is None:
            return
        if not ready:
            self._path.unlink(missing_ok=True)
            return
        told = {"pid": os.getpid(), "listeners": self._status.listeners}
        aside = self._path.with_suffix(".new")
        aside.write_bytes(msgspec.json.encode(told))
        aside.replace(self._path)


class Keeper:
    """Builds brains over one engine until one of them comes to its end in order."""

    def __init__(
        self,
        engine: border.Engine,
        settings: SidecarSettings,
        boot: Boot,
        status: Status,
        verb: str = "sidecar",
        beside: Beside | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._boot = boot
        self._status = status
        self._beside = beside
        self._last_good = LastGood(settings.data) if settings.data is not None else NoLastGood()
        self._leaf_file = LeafFile(settings.data / "identity" if settings.data is not None else None)
        self._life = lifecycle.Lifecycle(
            settings.drain.min,
            settings.drain.max,
            self._has_identity,
            "process" if verb == "gateway" else "inbound",
        )
        self._disk = Disk(boot.directory)
        self._start = command_runner(settings)
        self._place = place_of(settings) if settings.registry.enabled else None
        self._keep = Keep(settings.data / "application" if settings.data and self._place else None)
        self._deaths: list[int] = []

    @property
    def _has_identity(self) -> bool:
        return self._settings.bootstrap is None and not self._settings.control_plane.insecure

    def run(self) -> None:
        """Returns when the process shall end: in order by a brain, else without one."""
        missed: list[Event] = []
        while True:
            lease = Lease(self._engine)
            brain = self._build(lease)
            try:
                brain.run(missed)
                return
            except Unfit as unfit:
                file = self._settings.bootstrap
                where = f" from the bootstrap {file}" if file else ""
                raise OperatorError(f"cannot start{where}, the engine refuses:\n{unfit}", REFUSED) from None
            except Exception:
                _log.exception("the brain died; the engine serves on", deaths=self._status.deaths + 1)
            self._status.deaths += 1
            lease.end()
            missed = [event for event in brain.untaken if _is_kept(event)]
            if self._life.is_ending or any(map(_is_urgent, missed)):
                # The end must not wait for a brain that can bear it.
                Ending(self._engine, self._life, self._status, monotonic_ms, self._beside).run(missed)
                return
            missed += self._pause(self._next_pause())

    def _build(self, lease: Lease) -> Brain:
        return Brain(
            lease,
            self._boot,
            self._life,
            self._last_good,
            self._status,
            self._identity(lease) if self._has_identity else None,
            monotonic_ms,
            random.random,
            self._disk.read,
            self._disk.stamp,
            self._beside,
            self._start,
            RegistryApi(self._engine, self._place, self._keep) if self._place is not None else None,
        )

    def _identity(self, lease: Lease) -> Identity:
        settings = self._settings
        host, port = own.split_address(settings.control_plane.address, "sidecar")
        machine = Certificates(
            self._boot.node_id, settings.namespace, settings.service_account, random.random
        )
        token = settings.control_plane.join_token_file
        keep = self._beside.keep if self._beside is not None else None
        return Identity(machine, lease, self._leaf_file, token, host, port, wall_ms, keep)

    def _next_pause(self) -> int:
        """0.1 to 5 s; half a minute for one that dies again and again."""
        now = monotonic_ms()
        self._deaths = [at for at in self._deaths if now - at < WINDOW_MS] + [now]
        if len(self._deaths) >= MANY_DEATHS:
            return LONG_PAUSE_MS
        return min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << (2 * len(self._deaths) - 2))

    def _pause(self, length: int) -> list[Event]:
        """Waits, keeping what the next brain must hear of. The end of the process is not put off."""
        until = monotonic_ms() + length
        missed: list[Event] = []
        while (left := until - monotonic_ms()) > 0:
            for event in self._engine.wait(left):
                if _is_kept(event):
                    missed.append(event)
            if any(map(_is_urgent, missed)):
                break
        return missed


def _is_kept(event: Event) -> bool:
    return isinstance(event, KEPT_EVENTS) or (isinstance(event, Asked) and event.asker == "application")


def _is_urgent(event: Event) -> bool:
    """Whether the process shall end."""
    return isinstance(event, Stopped) or (isinstance(event, Signal) and event.number in STOP_SIGNALS)


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    return time.time_ns() // 1_000_000
