"""HTTP/2 as h2spec judges it, where h2spec is installed (`go install github.com/summerwind/h2spec/cmd/h2spec@latest`)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engine_plans import LOOPBACK, cluster, forward, http_chain, listener, routes
from engine_wire import echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

H2SPEC = shutil.which(
    "h2spec", path=os.pathsep.join((os.environ.get("PATH", ""), str(Path.home() / "go/bin")))
)


@pytest.mark.skipif(H2SPEC is None, reason="h2spec is not installed")
def test_every_case_passes(live: Live, serve: Callable[..., Server]) -> None:
    # The protocol is fixed: where it is detected, a wrong preface is answered as HTTP/1 is.
    chain = http_chain(routes(("/", forward("app"))), protocol="http2")
    live.apply(cluster("app", serve(echo).port), listener("web", chain))
    assert H2SPEC is not None
    command = [H2SPEC, "-h", LOOPBACK, "-p", str(live.port("web")), "--timeout", "5"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stdout[-6_000:]
