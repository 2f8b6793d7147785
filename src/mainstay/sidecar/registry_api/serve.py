"""The registry API between engine and brain.

In: the application's requests (`Asked`), failures of the probe of its RPC port, routes that come into force. Out: answers, what
to tell the control plane, the probe to run. Invariants: what is answered with success is kept before; each request is answered,
a new subscription once its calls can go out or after `ROUTED_MS` (there may be no provider yet); the application's RPC port is
probed as long as something is published, so that a dead application takes no calls although it cannot withdraw.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mainstay.engine import Asked
from mainstay.model.application import encode_application, split_place
from mainstay.settings.sidecar import Probe
from mainstay.sidecar.border import Engine
from mainstay.sidecar.registry_api.keep import Keep
from mainstay.sidecar.registry_api.machine import Answer, Place, Registry
from mainstay.telemetry.log import get_log
from mainstay.xds.client.types import ApplicationChanged

_log = get_log("sidecar.registry")
JSON = "application/json"
PROBE_NAME = "application"
ROUTED_MS = 1_000
"""How long the answer to a subscription waits at most: clients call at once, and none waits for less than 3 s."""
PROBE_MS, PROBE_TIMEOUT_MS, PROBE_FAILURES = 1_000, 1_000, 3


class _Held(msgspec.Struct, frozen=True):
    token: int
    answer: Answer
    until: int


class RegistryApi:
    """See the module."""

    def __init__(self, engine: Engine, place: Place, keep: Keep) -> None:
        self._engine = engine
        self._keep = keep
        self._registry = Registry(place, keep.state)
        self._held: list[_Held] = []
        self._told: ApplicationChanged | None = None

    # --- requests -------------------------------------------------------------------------------------------------

    def take(self, asked: Asked, now: int) -> None:
        """A request of the application."""
        before = self._registry.state
        answer = self._registry.handle(asked.path, asked.body)
        state = self._registry.state
        if state != before:
            self._keep.save(state)
            _log.info(
                "what the application registered has changed",
                request=asked.path,
                published=len(state.published),
                subscribed=len(state.subscribed),
            )
        elif answer.refused:
            _log.warning("refused what the application asked for", request=asked.path, reason=answer.refused)
        if answer.waits_for and state.subscribed != before.subscribed:
            self._held.append(_Held(asked.token, answer, now + ROUTED_MS))
        else:
            self._give(asked.token, answer)

    def routed(self, services: Iterable[str]) -> None:
        """Calls to these services go out from now on."""
        known = frozenset(services)
        self._release([held for held in self._held if held.answer.waits_for in known])

    @property
    def waits(self) -> bool:
        """Whether somebody waits for routes."""
        return bool(self._held)

    def tick(self, now: int) -> None:
        self._release([held for held in self._held if held.until <= now])

    def next_deadline(self) -> int | None:
        return min((held.until for held in self._held), default=None)

    def _release(self, due: list[_Held]) -> None:
        for held in due:
            self._held.remove(held)
            self._give(held.token, held.answer)

    def _give(self, token: int, answer: Answer) -> None:
        self._engine.answer(token, answer.status, JSON, answer.body)

    # --- what follows ---------------------------------------------------------------------------------------------

    def take_change(self) -> ApplicationChanged | None:
        """What the control plane has to be told, if that is new."""
        change = ApplicationChanged(encode_application(self._registry.application))
        if change == self._told:
            return None
        self._told = change
        return change

    def show(self) -> dict[str, object]:
        """What is registered, for operators."""
        application = self._registry.application
        return {
            "name": application.name,
            "published": list(application.published),
            "weights": dict(application.weights),
            "subscribed": list(application.subscribed),
            "serves_at": application.endpoint,
            "calls_at": application.data,
        }

    @property
    def probe(self) -> Probe | None:
        """The probe to run."""
        endpoint = self._registry.endpoint
        if not self._registry.state.published or not endpoint:
            return None
        host, port = split_place(endpoint)
        return Probe(port=port, host=host, period=PROBE_MS, timeout=PROBE_TIMEOUT_MS, failures=PROBE_FAILURES)

    def take_revived(self) -> bool:
        """Whether it is not known if the application that published is there at all; told once."""
        return self._keep.take_revived()

    def died(self) -> None:
        """The probe has failed."""
        self._registry.died()
