"""Servers of other projects, each over its snapshot cache: programs that serve what they are told."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping

from .resources import Text

GO = (os.environ.get("MAINSTAY_TEST_GO_CONTROL_PLANE_SNAPSHOTS", "go-control-plane-snapshots"),)
_JAVA = os.environ.get("MAINSTAY_TEST_JAVA_CONTROL_PLANE", "java-control-plane")
JAVA = ("java", "-cp", f"{_JAVA}/classes:{_JAVA}/lib/*", "Snapshots")
"""How they are started; `make interop` builds them."""


class Snapshots:
    """A server over a snapshot cache: a program that serves what it is told."""

    def __init__(self, node: str, *command: str) -> None:
        self._process = subprocess.Popen(
            [*command, node], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the server ended"
        return line

    def show(self, resources: Mapping[Text, bytes]) -> None:
        told: dict[str, dict[str, str]] = {}
        for text, body in resources.items():
            told.setdefault(text.kind, {})[text.name] = base64.b64encode(body).decode()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        assert self._read() == "in force"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
