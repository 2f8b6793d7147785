"""Our sidecar, as a process, under the rules of `rules.for_clients`: each by itself, in every variant and form of stream."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rules.for_clients import RULES
from rules.proxies import Applications, applications, bootstrap
from rules.server import ServerTester
from rules.steps import Rule, Streams, Variant

from ports import free_port

CASES = [
    pytest.param(rule, variant, streams, id=f"{rule.name} ({variant}, {streams})")
    for rule in RULES
    for variant in rule.variants
    for streams in rule.streams
]


@pytest.fixture(scope="module", name="behind")
def applications_behind() -> Iterator[Applications]:
    with applications() as found:
        yield found


@pytest.mark.parametrize(("rule", "variant", "streams"), CASES)
def test_the_client_keeps_the_rule(
    rule: Rule, variant: Variant, streams: Streams, behind: Applications, tmp_path: Path
) -> None:
    listener = free_port()
    tester = ServerTester(variant, streams, listener, behind.maker(variant, streams, listener))
    file, log = tmp_path / "bootstrap.json", tmp_path / "log"
    file.write_text(json.dumps(bootstrap(variant, streams, tester.port)))
    command = [sys.executable, "-m", "mainstay", "sidecar", "--bootstrap", str(file), "--concurrency", "1"]
    for role in ("admin", "health", "metrics"):
        command += [f"--{role}-port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        tester.run(rule)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()}") from None
    finally:
        process.kill()
        process.wait()


def test_rules_have_names_of_their_own() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
