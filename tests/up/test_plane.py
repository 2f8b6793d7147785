"""What `up` learns from the control plane's answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mainstay.up.plane import ControlPlane, Unanswered, read_count


class Told(ControlPlane):
    """Answers from a table."""

    def __init__(self, answers: dict[str, object]) -> None:
        super().__init__("http://127.0.0.1:1", "c")
        self._answers = answers

    def _call(self, _method: str, path: str, _body: object = None, _timeout_s: float = 5.0) -> object:
        return self._answers[path]


def host(address: str, health: str = "") -> dict[str, object]:
    place: dict[str, object] = {
        "endpoint": {"address": {"socketAddress": {"address": address, "portValue": 80}}}
    }
    return {**place, "healthStatus": health} if health else place


def test_only_what_is_in_force_and_in_rotation_takes_traffic() -> None:
    hosts = [
        host("127.1.1.1"),
        host("127.1.1.2", "UNHEALTHY"),
        host("127.1.1.3", "HEALTHY"),
        host("127.1.1.4", "DRAINING"),
    ]
    resource = {"clusterName": "a", "endpoints": [{"lbEndpoints": hosts}]}
    states = {"a": "applied", "b": "pending", "c": "refused", "d": "not asked for"}
    resources = [{"name": name, "state": state, "resource": resource} for name, state in states.items()]
    plane = Told({"/v1/proxies/n/endpoints": {"resources": resources}})
    assert plane.endpoints("n") == {"a": {"127.1.1.1", "127.1.1.3"}, "b": set()}


def test_an_api_that_is_away_is_told_apart_from_one_that_refuses(tmp_path: Path) -> None:
    context = tmp_path / "context.json"
    with pytest.raises(Unanswered, match="cannot be used"):
        ControlPlane.from_context(context)
    context.write_text(json.dumps({"server": "http://127.0.0.1:1", "credential": "c"}))
    with pytest.raises(Unanswered, match=r"127\.0\.0\.1:1/v1/status"):
        ControlPlane.from_context(context).nodes()


def test_the_last_whole_count_counts(tmp_path: Path) -> None:
    log = tmp_path / "load.log"
    assert read_count(log).sent == 0
    log.write_text(
        '{"sent": 1}\nTraceback\n{"sent": 5, "succeeded": 4, "failed": 1, "last_failure": "x"}\n{"sent": 6'
    )
    count = read_count(log)
    assert (count.sent, count.succeeded, count.failed, count.last_failure) == (5, 4, 1, "x")
