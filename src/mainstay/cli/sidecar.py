"""`mainstay sidecar` and `mainstay gateway`, for help and completion; `mainstay.cli.main` starts them
itself."""

from __future__ import annotations

import msgspec

from mainstay.cli.program import ProgramCommand


def _start(verb: str, arguments: list[str]) -> int:
    from mainstay.sidecar.main import main

    return main([verb, *arguments])


def _settings() -> type[msgspec.Struct]:
    from mainstay.settings.sidecar import SidecarSettings

    return SidecarSettings


sidecar = ProgramCommand(
    "sidecar",
    "Run the proxy beside one application.",
    lambda arguments: _start("sidecar", arguments),
    _settings,
)
gateway = ProgramCommand(
    "gateway",
    "Run a proxy at the edge, in front of many services.",
    lambda arguments: _start("gateway", arguments),
    _settings,
)
