"""Our sidecar under the servers of go-control-plane and java-control-plane: traffic moves from one application to another while
both clusters, endpoints and routes are exchanged at once."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from rules.proxies import NODE, Applications, applications, bootstrap
from rules.resources import parse_all
from rules.snapshots import GO, JAVA, Snapshots
from rules.steps import ANY, BOTH, Streams, Variant

from ports import free_port

pytestmark = pytest.mark.elsewhere
PATIENCE_S = 20.0
FIRST = ("cluster a@1>a", "endpoint a@1", "route r@1>a", "listener l@1>r")
SECOND = ("cluster b@1>b", "endpoint b@1", "route q@1>b", "listener l@2>q")


@pytest.fixture(scope="module", name="behind")
def applications_behind() -> Iterator[Applications]:
    with applications() as found:
        yield found


def ask(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
    except (OSError, http.client.HTTPException):
        return "closed"


CASES: list[tuple[str, tuple[str, ...], Variant, Streams, bool]] = [
    *(
        ("go-control-plane", GO, variant, streams, node_always)
        for variant in BOTH
        for streams in ANY
        for node_always in (False, True)
    ),
    # It does not remember the node. In ADS and SotW it does not answer who names anything that its newest snapshot lacks: names
    # have to stay there, or a proxy has to forget the old ones before it has the new ones.
    ("java-control-plane", JAVA, "sotw", "single", True),
    ("java-control-plane", JAVA, "delta", "single", True),
    ("java-control-plane", JAVA, "delta", "ads", True),
]


@pytest.mark.parametrize(
    ("command", "variant", "streams", "node_always"),
    [
        pytest.param(*case, id=f"{name}, {case[1]}, {case[2]}, node {'always' if case[3] else 'once'}")
        for name, *case in CASES
    ],
)
def test_traffic_moves_without_a_gap(
    command: tuple[str, ...],
    variant: Variant,
    streams: Streams,
    node_always: bool,
    behind: Applications,
    tmp_path: Path,
) -> None:
    listener = free_port()
    maker = behind.maker(variant, streams, listener, node_always=node_always)
    server = Snapshots(NODE, *command)
    file, log = tmp_path / "bootstrap.json", tmp_path / "log"
    port = int(server.address.rpartition(":")[2])
    file.write_text(json.dumps(bootstrap(variant, streams, port, node_always=node_always)))
    flags = ["--concurrency", "1", *(f"--{role}-port=0" for role in ("admin", "health", "metrics"))]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mainstay", "sidecar", "--bootstrap", str(file), *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        seen: list[str] = []
        for texts, last in ((FIRST, "a"), (SECOND, "b")):
            server.show({text: maker.make(text) for text in map(parse_all, texts)})
            until = time.monotonic() + PATIENCE_S
            while not seen or seen[-1] != last:
                assert time.monotonic() < until, f"{last} does not come but {seen[-1:]}:\n{log.read_text()}"
                seen.append(ask(listener))
                threading.Event().wait(0.005)
        since = seen[seen.index("a") :]
        assert since == sorted(since), f"between a and b there was {set(since)}"
    finally:
        process.kill()
        process.wait()
        server.stop()
