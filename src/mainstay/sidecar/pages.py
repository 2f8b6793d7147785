"""Admin pages that only Python knows; the engine's admin listener asks for them.

In: `Asked`. Out: `Page`. Invariant: changes are POST; keys are in no page. JSON of messages is made on demand, so its code is
loaded only then.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mainstay.engine import Asked
from mainstay.sidecar.last_good import SECRET_MESSAGE, LastGood
from mainstay.sidecar.status import Status
from mainstay.sidecar.warming import Warming

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
KEY_FIELDS = frozenset({"private_key", "password", "session_ticket_keys", "generic_secret"})


class Page(msgspec.Struct, frozen=True):
    """`asks`: what the brain shall do besides."""

    body: bytes
    status: int = 200
    content_type: str = TEXT
    asks: Literal["", "stop", "drain"] = ""


def answer(event: Asked, status: Status, warming: Warming, last_good: LastGood, state: str) -> Page:
    """The page for a request."""
    match event.path.partition("?")[0]:
        case "/quitquitquit":
            return _change(event, "stop")
        case "/drain_listeners":
            return _change(event, "drain")
        case "/config_dump":
            return Page(_config_dump(last_good), content_type=JSON)
        case "/mainstay/status":
            return Page(msgspec.json.encode(_status(status, warming, last_good, state)), content_type=JSON)
        case _:
            return Page(b"no such page\n", 404)


def _change(event: Asked, asks: Literal["stop", "drain"]) -> Page:
    if event.method != "POST":
        return Page(b"must be a POST\n", 405)
    return Page(b"OK\n", asks=asks)


def _status(status: Status, warming: Warming, last_good: LastGood, state: str) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for kind, _ in warming.held():
        kinds[kind] = kinds.get(kind, 0) + 1
    return {
        "version": status.version,
        "state": state,
        "health": None if status.health is None else msgspec.to_builtins(status.health),
        "control_plane": {
            "connected": status.connected,
            "connections": status.connections,
            "last_loss": status.last_loss,
            "responses": status.responses,
            "refused_responses": status.refused_responses,
        },
        "certificate": {
            "trouble": status.trouble,
            "identity": status.certificate.identity if status.certificate is not None else None,
            "ends": status.certificate.not_after if status.certificate is not None else None,
        },
        "resources": kinds,
        "waiting": [
            {
                "kind": stuck.reference[0],
                "name": stuck.reference[1],
                "missing": [list(each) for each in stuck.missing],
            }
            for stuck in warming.waiting()
        ],
        "refused": [
            {"kind": kind, "name": name, "path": refusal.path, "reason": refusal.reason}
            for (kind, name), refusal in status.refusals.items()
        ],
        "listeners": status.listeners,
        **({"proxy": status.proxy} if status.proxy else {}),
        **({"application": status.application} if status.application else {}),
        "brain_restarts": status.deaths,
        "unwritten_records": last_good.unwritten,
    }


def _config_dump(last_good: LastGood) -> bytes:
    """Every resource that came over xDS and is in force, secrets by name alone."""
    from mainstay._proto import pool

    configs = []
    for record in last_good.load():
        entry: dict[str, Any] = {"type": record.message, "name": record.name, "version": record.version}
        if record.message != SECRET_MESSAGE and record.body is not None:
            entry["config"] = _without_keys(pool.to_json(pool.parse(record.message, record.body)))
        configs.append(entry)
    return msgspec.json.encode({"configs": configs})


def _without_keys(value: Any) -> Any:
    """Listeners and clusters may hold keys inline."""
    if isinstance(value, dict):
        return {
            name: "[redacted]" if name in KEY_FIELDS else _without_keys(entry)
            for name, entry in value.items()
        }
    return [_without_keys(entry) for entry in value] if isinstance(value, list) else value
