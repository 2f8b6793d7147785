"""The control plane of a run: started, given the mesh's objects, asked for a join token per proxy.

In: the stage. Out: a control plane that has all objects, `stage.api` and `stage.control_address`, token files of mode 0600.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from mainstay.up.file import Text
from mainstay.up.plane import ControlPlane, RefusedObjects, Unanswered
from mainstay.up.stage import NotReady, Stage

TOKEN_LIFE_MS = 24 * 3_600_000
"""A workload that loses its certificate may join again as long as the mesh runs, within a day."""

OWN_FILE = "mainstay up"
"""What the control plane is told as the file of the objects that `up` writes."""


async def start_control_plane(stage: Stage) -> None:
    """Start it and prepare everything that proxies need; raises NotReady."""
    ready = stage.folder.control_ready
    ready.unlink(missing_ok=True)
    ports: dict[str, int] = {}
    child = stage.child("control-plane", lambda: stage.programs.control_plane(ports))
    child.start()

    async def is_ready() -> bool:
        return ready.exists()

    await stage.until(is_ready, child, "the control plane")
    ports |= json.loads(ready.read_bytes())
    if "xds" not in ports:
        raise NotReady(
            f"the control plane serves no TLS port; its log is {stage.folder.log('control-plane')}"
        )
    stage.control_address = f"127.0.0.1:{ports['xds']}"
    try:
        stage.api = ControlPlane.from_context(stage.folder.context)
        await _apply(stage)
        await _create_tokens(stage)
    except (RefusedObjects, Unanswered) as error:
        raise NotReady(f"the control plane: {describe(error)}") from None
    stage.events.tell("ready", "control-plane", f"ready, its REST API on port {ports['api']}")


async def _apply(stage: Stage) -> None:
    own = "\n---\n".join(json.dumps(each) for each in stage.plan.objects)
    texts = (Text(OWN_FILE, own), *stage.mesh.config)
    await stage.ask(lambda api: api.apply(texts, stage.mesh.namespace))


async def _create_tokens(stage: Stage) -> None:
    def create(api: ControlPlane) -> dict[str, str]:
        return {
            name: api.create_token(stage.mesh.namespace, account, group, TOKEN_LIFE_MS)
            for name, account, group in _identities(stage)
        }

    for name, token in (await stage.ask(create)).items():
        _write_secret(stage.folder.token(name), token)


def _identities(stage: Stage) -> list[tuple[str, str, str]]:
    """Name, account and group of each proxy; gateways belong to no group."""
    meshed = [each for each in stage.plan.instances if each.has_proxy]
    return [
        *((each.name, each.workload.name, each.name) for each in meshed),
        *((each.name, each.name, "") for each in stage.plan.gateways),
    ]


def _write_secret(path: Path, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def describe(error: RefusedObjects | Unanswered) -> str:
    """An error of the control plane's API on one line."""
    if isinstance(error, RefusedObjects):
        first = error.problems[0]
        place = " ".join(str(first[name]) for name in ("object", "path") if first.get(name))
        return f"{error}: {place}: {first.get('reason')}. {first.get('remedy')}"
    return str(error)
