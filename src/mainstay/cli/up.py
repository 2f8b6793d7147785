"""`mainstay up`: a whole mesh on this machine; see `mainstay.up`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mainstay.cli.program import ProgramCommand


def _start(arguments: list[str]) -> int:
    from mainstay.up.main import main

    return main(arguments)


def _settings() -> type[msgspec.Struct]:
    from mainstay.settings.up import UpSettings

    return UpSettings


def _examples() -> Iterable[str]:
    from mainstay.up.read import list_examples

    return list_examples()


up = ProgramCommand("up", "Run a whole mesh on this machine, from one file.", _start, _settings, _examples)
