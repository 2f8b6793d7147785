"""The process from its start to its end: when it is ready, and in which order it stops.

In: what happened (`Event`), with the time. Out: `Command`s. States: `starting → ready → draining → stopping → ended`. Invariants:
readiness needs a configuration that is in force and, where the workload has an identity, its leaf; it is given up once and
for all when the end begins. While draining, listeners still accept and answer with `Connection: close` or GOAWAY; outbound
traffic flows until the inbound side is done, so that requests being answered may still call others. A second request to stop,
or `drain.max`, cuts short. No I/O, no clock.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["starting", "ready", "draining", "stopping", "ended"]
LINGER_MS = 1_000
"""What the engine gets to end its threads, and what outbound streams get when time is up."""

# --- events -------------------------------------------------------------------------------------------------------


class Configured(msgspec.Struct, frozen=True):
    """A first configuration is in force: from the control plane, from disk, or from a bootstrap that has no other."""


class IdentityHeld(msgspec.Struct, frozen=True):
    """There is a leaf."""


class StopAsked(msgspec.Struct, frozen=True):
    """A signal, or `/quitquitquit`."""


class DrainAsked(msgspec.Struct, frozen=True):
    """Take inbound traffic away, but go on (`/drain_listeners`): the application stops next, then comes `StopAsked`."""


class DrainEnded(msgspec.Struct, frozen=True):
    """The last `Drain` is done."""


class EngineStopped(msgspec.Struct, frozen=True):
    pass


Event = Configured | IdentityHeld | StopAsked | DrainAsked | DrainEnded | EngineStopped

# --- commands -----------------------------------------------------------------------------------------------------


class SetReady(msgspec.Struct, frozen=True):
    ready: bool


class TellDraining(msgspec.Struct, frozen=True):
    """The control plane must hear of it before inbound listeners close, so that peers go elsewhere."""


class Drain(msgspec.Struct, frozen=True):
    scope: Literal["inbound", "process"]
    min_ms: int
    max_ms: int


class Shutdown(msgspec.Struct, frozen=True):
    """End the engine within so many ms."""

    deadline_ms: int


class Ended(msgspec.Struct, frozen=True):
    """Leave the loop."""


Command = SetReady | TellDraining | Drain | Shutdown | Ended


class Lifecycle:
    """The machine. `drain_min`, `drain_max` in ms; `needs_identity`: whether there will be a leaf to wait for; `scope`: what
    brings others' traffic, inbound listeners beside an application, all of them at the edge."""

    def __init__(
        self,
        drain_min: int,
        drain_max: int,
        needs_identity: bool,
        scope: Literal["inbound", "process"] = "inbound",
    ) -> None:
        self._min = drain_min
        self._max = max(drain_min, drain_max)
        self._has_identity = not needs_identity
        self._scope: Literal["inbound", "process"] = scope
        self._configured = False
        self._stop_wanted = False
        self._inbound_gone = False
        self._shut_down = False
        self._until = 0
        self.state: State = "starting"

    def handle(self, event: Event, now: int) -> list[Command]:
        match event:
            case Configured():
                self._configured = True
                return self._become_ready()
            case IdentityHeld():
                self._has_identity = True
                return self._become_ready()
            case DrainAsked():
                return self._begin_to_drain(now)
            case StopAsked():
                return self._stop(now)
            case DrainEnded():
                return self._drain_ended(now)
            case EngineStopped():
                self.state = "ended"
                return [Ended()]

    @property
    def shown_state(self) -> str:
        """The state for people and supervisors: `drained` tells that inbound traffic has been seen off, and that the application
        may be stopped."""
        return "drained" if self.state == "draining" and self._inbound_gone else self.state

    @property
    def is_ending(self) -> bool:
        """Whether the process was told to stop."""
        return self._stop_wanted or self.state in ("stopping", "ended")

    def resume(self, now: int) -> list[Command]:
        """What a brain that starts over owes to the engine: readiness as it was, and the drain that it cannot hear the end of,
        since that one's token went with the brain before."""
        match self.state:
            case "draining" if not self._inbound_gone:
                return [
                    SetReady(False),
                    TellDraining(),
                    Drain(self._scope, 0, max(LINGER_MS, self._until - now)),
                ]
            case "draining":
                return [SetReady(False), TellDraining()]
            case "stopping" if self._shut_down:
                return [Shutdown(LINGER_MS)]
            case "stopping":
                return [SetReady(False), Drain("process", 0, max(LINGER_MS, self._until - now))]
            case "ended":
                return [Ended()]
        return [SetReady(self.state == "ready")]

    def _become_ready(self) -> list[Command]:
        if self.state != "starting" or not self._configured or not self._has_identity:
            return []
        self.state = "ready"
        return [SetReady(True)]

    def _begin_to_drain(self, now: int) -> list[Command]:
        if self.state not in ("starting", "ready"):
            return []
        was_ready, self.state = self.state == "ready", "draining"
        self._until = now + self._max
        # Who never was ready has no traffic to see off.
        shortest = self._min if was_ready else 0
        return [SetReady(False), TellDraining(), Drain(self._scope, shortest, self._max)]

    def _stop(self, now: int) -> list[Command]:
        if self.state in ("starting", "ready"):
            self._stop_wanted = True
            return self._begin_to_drain(now)
        if self.state == "draining":
            if self._stop_wanted and not self._inbound_gone:
                self._until = now + LINGER_MS
            elif not self._stop_wanted and not self._inbound_gone:
                self._stop_wanted = True
                return []
            return self._drain_process(now)
        return self._shut() if self.state == "stopping" else []

    def _drain_ended(self, now: int) -> list[Command]:
        if self.state == "draining":
            self._inbound_gone = True
            return self._drain_process(now) if self._stop_wanted else []
        return self._shut() if self.state == "stopping" else []

    def _shut(self) -> list[Command]:
        self._shut_down = True
        return [Shutdown(LINGER_MS)]

    def _drain_process(self, now: int) -> list[Command]:
        self.state = "stopping"
        # After `/drain_listeners` the application may take longer than `drain.max` to go: its streams still get a moment.
        return [Drain("process", 0, max(LINGER_MS, self._until - now))]
