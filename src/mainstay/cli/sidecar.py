"""`mainstay sidecar` and `mainstay gateway`, for help and completion; `mainstay.cli.main` starts them
itself."""

from __future__ import annotations

from mainstay.cli.program import ProgramCommand


def _start(verb: str, arguments: list[str]) -> int:
    from mainstay.sidecar.main import main

    return main([verb, *arguments])


sidecar = ProgramCommand(
    "sidecar", "Run the proxy beside one application.", lambda arguments: _start("sidecar", arguments)
)
gateway = ProgramCommand(
    "gateway",
    "Run a proxy at the edge, in front of many services.",
    lambda arguments: _start("gateway", arguments),
)
