"""HTTP/2 as h2spec judges it; `make conformance` installs h2spec and runs this."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from engine_plans import LOOPBACK, cluster, forward, http_chain, listener, routes
from engine_wire import echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

pytestmark = pytest.mark.h2spec


def test_every_case_passes(live: Live, serve: Callable[..., Server]) -> None:
    # The protocol is fixed: where it is detected, a wrong preface is answered as HTTP/1 is.
    chain = http_chain(routes(("/", forward("app"))), protocol="http2")
    live.apply(cluster("app", serve(echo).port), listener("web", chain))
    h2spec = os.environ.get("MAINSTAY_TEST_H2SPEC", "")
    assert h2spec, "run `make conformance`, which installs h2spec"
    command = [h2spec, "-h", LOOPBACK, "-p", str(live.port("web")), "--timeout", "5"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stdout[-6_000:]
