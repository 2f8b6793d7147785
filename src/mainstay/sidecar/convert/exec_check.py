"""A health check that is a command beside the proxy: how a WorkloadGroup's `exec` probe comes over xDS.

In: Envoy's `CustomHealthCheck` of our name. Out: `ExecCheck`, for the sidecar to run; the engine starts no programs. Only probes
of the workload itself may be commands, and only where whoever started the sidecar allows them (`--probe-commands`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay._proto import pool
from mainstay.sidecar.convert.filters.table import TYPED_STRUCTS
from mainstay.sidecar.convert.refuse import Refused

NAME = "mainstay.dev/exec"
MAX_ARGUMENTS = 64


class ExecCheck(msgspec.Struct, frozen=True):
    """Exit status 0 is success. Times in ms; thresholds count results in a row."""

    command: tuple[str, ...]
    timeout: int
    interval: int
    initial_delay: int
    healthy_threshold: int
    unhealthy_threshold: int


def command_of(message: Any) -> tuple[str, ...]:
    """The command of a `CustomHealthCheck`; raises `Refused`."""
    kind = message.typed_config.type_url.rpartition("/")[2]
    if message.name != NAME or kind not in TYPED_STRUCTS:
        raise Refused("name", f"{message.name!r} is not supported")
    try:
        value = pool.parse(kind, message.typed_config.value).value
    except ValueError as error:
        raise Refused("typed_config", str(error)) from None
    command = tuple(each.string_value for each in value.fields["command"].list_value.values)
    if not command or len(command) > MAX_ARGUMENTS or not command[0] or any("\0" in part for part in command):
        raise Refused(
            "typed_config.value.command", f"must be a program with up to {MAX_ARGUMENTS - 1} arguments"
        )
    return command
