"""Envoy and Mainstay as processes, each started from a bootstrap file; what their admin pages say."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

KINDS = ("envoy", "mainstay")
_ENVOY = [
    "--concurrency",
    "1",
    "--use-dynamic-base-id",
    "--log-level",
    "error",
    "--drain-strategy",
    "immediate",
    "--file-flush-interval-msec",
    "50",
]
_MAINSTAY = [
    "--health-port",
    "0",
    "--metrics-port",
    "0",
    "--concurrency",
    "1",
    "--drain-min",
    "0s",
    "--drain-max",
    "0s",
]
_START_S = 30.0


class Proxy:
    """One running proxy."""

    def __init__(self, kind: str, envoy: str, bootstrap: Path, admin: int) -> None:
        self.kind = kind
        self._admin = admin
        self._log = bootstrap.with_suffix(f".{kind}.log")
        if kind == "envoy":
            command = [envoy, "-c", str(bootstrap), *_ENVOY]
        else:
            command = [sys.executable, "-m", "mainstay", "sidecar", "--bootstrap", str(bootstrap), *_MAINSTAY]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise AssertionError(f"{self.kind} ended:\n{self._log.read_text()[-4000:]}")
            with contextlib.suppress(OSError):
                if self.call("GET", "/ready")[0] == 200:
                    return
            threading.Event().wait(0.02)
        self.stop()
        raise AssertionError(f"{self.kind} is not ready:\n{self._log.read_text()[-4000:]}")

    def call(self, method: str, path: str) -> tuple[int, bytes]:
        """One page of the admin listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self._admin, timeout=5)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stat(self, name: str) -> int | None:
        """A counter or gauge by its name."""
        _, body = self.call("GET", f"/stats?format=json&filter={quote('^' + name.replace('.', '[.]') + '$')}")
        entries: list[dict[str, Any]] = json.loads(body)["stats"]
        return next((int(one["value"]) for one in entries if one.get("name") == name), None)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        """Ends it; its counters lie beside the bootstrap, for whoever looks into a failure."""
        with contextlib.suppress(OSError):
            self._log.with_suffix(".stats").write_bytes(self.call("GET", "/stats?usedonly")[1])
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
