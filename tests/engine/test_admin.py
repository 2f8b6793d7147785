"""The engine's own listeners: admin, metrics, health."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engine_live import Live
from engine_plans import LOOPBACK, http_chain, listener, routes

from mainstay.engine import Asked, Drained, EngineError, ListenerBound, Signal
from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY = plan.Socket(LOOPBACK, 0)


@pytest.fixture
def watched() -> Iterator[Live]:
    engine = Live(admin=ANY, metrics=ANY, health=ANY)
    yield engine
    engine.engine.shutdown(1_000)


def addresses(live: Live) -> dict[str, str]:
    found: dict[str, str] = {}
    while not {"admin", "metrics", "health"} <= found.keys():
        bound = live.event(ListenerBound)
        assert isinstance(bound, ListenerBound)
        found[bound.name] = bound.address
    return found


def fetch(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    asked = urllib.request.Request(f"http://{address}{path}", method=method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_readiness_is_what_was_set_until_the_drain(watched: Live) -> None:
    health = addresses(watched)["health"]
    assert fetch(health, "/healthz/ready")[0] == 503
    watched.engine.set_ready(True)
    assert fetch(health, "/healthz/ready")[0] == 200
    watched.engine.drain("process", 0, 100)
    assert fetch(health, "/healthz/ready")[0] == 503
    watched.event(Drained)


def test_pages_show_what_is_in_force(watched: Live) -> None:
    respond = plan.RespondAction(plan.DirectResponse(200, b"x"))
    watched.apply(listener("web", http_chain(routes(("/", respond)))))
    found = addresses(watched)
    assert f"{LOOPBACK}:{watched.port('web')}" in fetch(found["admin"], "/listeners")[1]
    with watched.dial("web") as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        client.recv(1_000)
    status, text = fetch(found["metrics"], "/stats/prometheus")
    assert status == 200
    assert "envoy_http_downstream_rq_total" in text
    assert fetch(found["metrics"], "/config_dump")[0] == 404
    assert watched.engine.render("/listeners").decode() == fetch(found["admin"], "/listeners")[1]


def test_pages_of_the_application_are_asked_for(watched: Live) -> None:
    admin = addresses(watched)["admin"]
    answers: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: answers.append(fetch(admin, "/mainstay/status")))
    asking.start()
    asked = watched.event(Asked)
    assert isinstance(asked, Asked)
    assert (asked.asker, asked.path) == ("operator", "/mainstay/status")
    watched.engine.answer(asked.token, 200, "application/json", b"{}")
    asking.join()
    assert answers == [(200, "{}")]


def test_requests_of_the_application_are_asked_with_their_bodies() -> None:
    live = Live(registry=ANY)
    bound = live.event(ListenerBound)
    assert isinstance(bound, ListenerBound)
    assert bound.name == "registry"
    answers: list[bytes] = []

    def publish() -> None:
        request = urllib.request.Request(f"http://{bound.address}/services/publish", b'{"serviceName":"a"}')
        with urllib.request.urlopen(request, timeout=10) as answer:
            answers.append(answer.read())

    asking = threading.Thread(target=publish)
    asking.start()
    asked = live.event(Asked)
    assert isinstance(asked, Asked)
    assert (asked.asker, asked.method, asked.path, asked.body) == (
        "application",
        "POST",
        "/services/publish",
        b'{"serviceName":"a"}',
    )
    live.engine.answer(asked.token, 200, "application/json", b'{"success":true}')
    asking.join()
    assert answers == [b'{"success":true}']
    live.engine.shutdown(1_000)


def test_quitting_reaches_python_as_a_signal(watched: Live) -> None:
    admin = addresses(watched)["admin"]
    assert fetch(admin, "/quitquitquit")[0] == 405
    assert fetch(admin, "/quitquitquit", "POST")[0] == 200
    assert watched.event(Signal) == Signal(15)


def test_an_admin_beyond_loopback_must_be_wanted() -> None:
    with pytest.raises(EngineError, match="loopback"):
        Live(admin=plan.Socket("0.0.0.0", 0))
    wanted = Live(admin=plan.Socket("0.0.0.0", 0), admin_beyond_loopback=True)
    wanted.engine.shutdown(1_000)


def test_levels_are_set_by_room(watched: Live) -> None:
    watched.engine.set_log_level("tls", "debug")
    assert "tls: debug" in watched.engine.render("/logging").decode()
    with pytest.raises(EngineError, match="kitchen"):
        watched.engine.set_log_level("kitchen", "debug")


def test_filters_are_listed() -> None:
    live = Live()
    assert any("rbac" in name for name in live.engine.extensions())
    live.engine.shutdown(1_000)


def test_pages_and_traffic_go_on_while_python_is_stuck() -> None:
    program = Path(__file__).with_name("stuck_python.py")
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        for path in ("/stats", "/stats/prometheus", "/clusters", "/listeners", "/certs", "/server_info"):
            assert fetch(told["admin"], path)[0] == 200, path
        assert fetch(told["admin"], "/ready")[0] == 503, "nobody has said that it is"
        assert fetch(told["admin"], "/config_dump")[0] == 200, "what the engine knows by itself"
        assert fetch(told["admin"], "/logging?level=debug", "POST")[0] == 200
        assert fetch(f"{LOOPBACK}:{told['web']}", "/") == (200, "x")
    finally:
        process.kill()
        process.communicate()
