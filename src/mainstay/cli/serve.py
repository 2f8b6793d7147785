"""`mainstay serve`: the control plane."""

from __future__ import annotations

import msgspec

from mainstay.cli.program import ProgramCommand


def _start(arguments: list[str]) -> int:
    from mainstay.control.main import main

    return main(arguments)


def _settings() -> type[msgspec.Struct]:
    from mainstay.settings.serve import ServeSettings

    return ServeSettings


serve = ProgramCommand("serve", "Run the control plane.", _start, _settings)
