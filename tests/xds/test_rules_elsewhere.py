"""The rules themselves are right: Envoy keeps those for clients, go-control-plane's server those for servers, but for what
`rules.differences` lists with its reason."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rules import for_clients, for_servers
from rules.client import NODE_ID, ClientTester
from rules.differences import ENVOY, GO_CONTROL_PLANE, Difference
from rules.proxies import Applications, applications, bootstrap
from rules.resources import Maker
from rules.server import ServerTester
from rules.snapshots import GO, Snapshots
from rules.steps import Rule, Streams, Variant

from ports import free_port

pytestmark = pytest.mark.elsewhere


def cases(rules: tuple[Rule, ...], differences: Mapping[str, Difference]) -> list[Any]:
    """All rules in all forms; where there is a difference, it has to show."""
    assert differences.keys() <= {rule.name for rule in rules}
    found = []
    forms = [
        (rule, variant, streams) for rule in rules for variant in rule.variants for streams in rule.streams
    ]
    for rule, variant, streams in forms:
        other = differences.get(rule.name)
        marks = []
        if other is not None and variant in other.variants:
            marks = [pytest.mark.xfail(reason=other.does, strict=other.always, raises=AssertionError)]
        found.append(
            pytest.param(rule, variant, streams, id=f"{rule.name} ({variant}, {streams})", marks=marks)
        )
    return found


@pytest.fixture(scope="module", name="behind")
def applications_behind() -> Iterator[Applications]:
    with applications() as found:
        yield found


@pytest.mark.parametrize(("rule", "variant", "streams"), cases(for_clients.RULES, ENVOY))
def test_envoy_keeps_the_rule(
    rule: Rule, variant: Variant, streams: Streams, behind: Applications, tmp_path: Path
) -> None:
    listener = free_port()
    tester = ServerTester(variant, streams, listener, behind.maker(variant, streams, listener))
    file, log = tmp_path / "bootstrap.json", tmp_path / "log"
    file.write_text(json.dumps(bootstrap(variant, streams, tester.port)))
    flags = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning", "--drain-time-s", "1"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [os.environ["MAINSTAY_TEST_ENVOY"], "-c", str(file), *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        tester.run(rule)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()}") from None
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def go_control_plane() -> Iterator[Snapshots]:
    found = Snapshots(NODE_ID, *GO)
    yield found
    found.stop()


@pytest.mark.parametrize(("rule", "variant", "streams"), cases(for_servers.RULES, GO_CONTROL_PLANE))
def test_go_control_plane_keeps_the_rule(
    rule: Rule, variant: Variant, streams: Streams, go_control_plane: Snapshots
) -> None:
    maker = Maker({"ads": {}, "resource_api_version": "V3"}, {}, {})
    ClientTester(go_control_plane, variant, streams, maker).run(rule)
