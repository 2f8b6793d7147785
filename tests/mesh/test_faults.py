"""What is lost when a part of the mesh is killed or restarted under load: nothing, or what was in flight on it.

Two instances of an HTTP and of a gRPC service at 200 requests a second, and a TCP service, as `mainstay up` runs them. One mesh
has routes that retry, one has none; each outlives what is done to it, and the last test of each ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mainstay import examples
from mainstay.up.plane import ask

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.xdist_group("mesh"),
    pytest.mark.machine,
    pytest.mark.timeout(300),
]

SHOP = Path(examples.__file__).parent / "shop"
HERE = Path(__file__).parent / "applications"
OUT_OF_ROTATION_S = 5.0
"""How soon nobody is sent to an instance any more that is gone."""
CONNECTIONS = 16
CALLERS = {"web": ("edge",), "prices": ("web-1", "web-2"), "echo": ("web-1", "web-2")}

MESH = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: faults}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services:
  - {{name: web, ports: [{{name: http, number: 8000, protocol: http}}]}}
  - {{name: prices, ports: [{{name: grpc, number: 9000, protocol: grpc}}]}}
  - {{name: echo, ports: [{{name: tcp, number: 7000, protocol: tcp}}]}}
  workloads:
  - name: web
    service: web
    command: [$PYTHON, {HERE}/held.py, {HERE}/web.py]
    env: {{SHOP: {SHOP}, HELD: FOLDER}}
    calls: [prices, echo]
    probe: {{path: /healthz}}
    instances: 2
  - name: prices
    service: prices
    command: [$PYTHON, {HERE}/held.py, {SHOP}/prices.py]
    env: {{HELD: FOLDER}}
    instances: 2
  - name: echo
    service: echo
    command: [$PYTHON, {HERE}/held.py, {HERE}/echo.py]
    env: {{HELD: FOLDER}}
    instances: 2
  gateways:
  - {{name: edge}}
  config:
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: web}}
    spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: web, port: {{number: 8000}}}}}}], RETRIES}}]}}
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: prices}}
    spec: {{hosts: [prices], http: [{{route: [{{destination: {{host: prices}}}}], RETRIES}}]}}
  expect: {{failures: 100000}}
  load:
  - {{to: edge, path: /, rate: 200, connections: {CONNECTIONS}}}
"""
RETRYABLE = "retries: {attempts: 3, retryOn: 'connect-failure,refused-stream,reset,503,unavailable'}"
"""Calls are idempotent: whatever is lost on the way is sent again."""
NOT_RETRYABLE = "retries: {attempts: 0}"
"""Nothing that may have been processed is sent again, and nobody is ejected."""


class Faulty:
    """A mesh under load, and who may not be started again in it."""

    def __init__(self, up: Callable[..., Any], retries: str, held: Path) -> None:
        self._held = held
        text = MESH.replace("RETRIES", retries).replace("FOLDER", str(held))
        self.mesh = up(text)
        self.mesh.wait_for("requests/s to")
        [edge] = [line for line in self.mesh.lines if "edge: gateway at" in line]
        self._edge = edge.rpartition("//")[2].partition(":")[0]
        self._addresses = {
            name: self.mesh.environment(name)["HOST"]
            for service in CALLERS
            for name in (f"{service}-1", f"{service}-2")
        }

    def settle(self) -> int:
        """Everything is in rotation and the load flows; returns how many requests have failed so far."""
        self.mesh.until(
            lambda: all(self.is_in_rotation(name) for name in self._addresses), "all instances in rotation"
        )
        self.mesh.carry(400)
        return int(self.mesh.count().failed)

    def is_in_rotation(self, instance: str) -> bool:
        return all(known for known in self._known(instance))

    def is_out_of_rotation(self, instance: str) -> bool:
        return not any(known for known in self._known(instance))

    def _known(self, instance: str) -> Iterator[bool]:
        service = instance.rpartition("-")[0]
        for caller in CALLERS[service]:
            found = self.mesh.endpoints(caller, service)
            assert found, f"{caller} knows nobody of {service}"
            yield self._addresses[instance] in found

    def restarts(self, child: str) -> int:
        return sum(f"{child}: started again" in line for line in self.mesh.lines)

    @contextlib.contextmanager
    def away(self, instance: str) -> Iterator[None]:
        """Kills an application, which cannot start again until the end."""
        hold = self._held / instance
        hold.touch()
        os.kill(self.mesh.application(instance), signal.SIGKILL)
        try:
            yield
        finally:
            hold.unlink()
        self.mesh.until(lambda: self.is_in_rotation(instance), f"{instance} in rotation again")

    def kill_sidecar(self, instance: str, number: int = signal.SIGKILL) -> None:
        """Kills a sidecar, or asks it to end, and waits until `up` has brought it back."""
        before = self.restarts(f"{instance}-proxy")
        os.kill(self.mesh.sidecar(instance), number)
        self.mesh.until(lambda: self.restarts(f"{instance}-proxy") > before, f"a new sidecar of {instance}")
        ready = self.mesh.state / "proxies" / f"{instance}.ready"
        self.mesh.until(ready.exists, f"the new sidecar of {instance} ready")

    @contextlib.contextmanager
    def without_control_plane(self) -> Iterator[None]:
        """Kills the control plane, which cannot start again until the end: a file stands where it keeps its state."""
        state, aside = self.mesh.state / "control-plane", self.mesh.state / "aside"
        before = self.restarts("control-plane")
        state.rename(aside)
        state.touch()
        os.kill(self.mesh.control_plane(), signal.SIGKILL)
        try:
            self.mesh.until(lambda: self.restarts("control-plane") > before, "a control plane that fails")
            yield
        finally:
            state.unlink()
            aside.rename(state)
        self.mesh.until((self.mesh.state / "control-plane.ready").exists, "the control plane back")

    def has_served(self, instance: str) -> bool:
        """Whether this life of its sidecar has brought requests to the application."""
        status, text = ask(self._addresses[instance], 15_090, "GET", "/stats/prometheus")
        return status == 200 and bool(
            re.search(r'^istio_requests_total{.*reporter="destination".*} [1-9]', text, re.M)
        )

    def sessions(self) -> dict[str, list[Session]]:
        """Connections to the TCP service, by the instance that answers: some to each."""
        place = self.mesh.environment("web-1")["ECHO_ADDR"]
        found: dict[str, list[Session]] = {}
        while len(found) < 2 or sum(map(len, found.values())) < 8:
            assert sum(map(len, found.values())) < 64, found.keys()
            session = Session(place)
            found.setdefault(session.ask(), []).append(session)
        return found


class Session:
    """A connection that lives on from one line to the next."""

    def __init__(self, place: str) -> None:
        host, _, port = place.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._lines = self._socket.makefile("rb")

    def ask(self) -> str:
        """The name of who answers; none once the connection is lost."""
        try:
            self._socket.sendall(b"who\n")
            return self._lines.readline().decode().partition(" ")[0]
        except ConnectionError:
            return ""

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture(scope="module")
def retrying(up: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    return Faulty(up, RETRYABLE, tmp_path_factory.mktemp("held"))


@pytest.fixture(scope="module")
def plain(up: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    return Faulty(up, NOT_RETRYABLE, tmp_path_factory.mktemp("held"))


# --- with retries ---------------------------------------------------------------------------------------------------


def test_killed_control_plane_costs_no_request_and_no_connection(retrying: Faulty) -> None:
    failed, mesh = retrying.settle(), retrying.mesh
    sessions = retrying.sessions()
    os.kill(mesh.control_plane(), signal.SIGKILL)
    mesh.carry(200)
    mesh.until(lambda: retrying.restarts("control-plane"), "a new control plane")
    assert retrying.settle() == failed, mesh.count().last_failure
    for name, each in sessions.items():
        assert [session.ask() for session in each] == [name] * len(each)
        for session in each:
            session.close()


@pytest.mark.parametrize("instance", ["web-1", "prices-1"])
def test_killed_application_costs_nothing_on_retryable_routes(retrying: Faulty, instance: str) -> None:
    failed, mesh = retrying.settle(), retrying.mesh
    with retrying.away(instance):
        mesh.until(
            lambda: retrying.is_out_of_rotation(instance), f"{instance} out of rotation", OUT_OF_ROTATION_S
        )
    assert retrying.settle() == failed, mesh.count().last_failure


@pytest.mark.parametrize("instance", ["web-1", "prices-1"])
def test_killed_sidecar_costs_nothing_on_retryable_routes(retrying: Faulty, instance: str) -> None:
    failed = retrying.settle()
    retrying.kill_sidecar(instance)
    assert retrying.settle() == failed, retrying.mesh.count().last_failure


@pytest.mark.parametrize("what", ["application", "sidecar"])
def test_killed_tcp_instance_loses_only_its_own_connections(retrying: Faulty, what: str) -> None:
    failed, mesh = retrying.settle(), retrying.mesh
    sessions = retrying.sessions()
    with contextlib.ExitStack() as stack:
        if what == "application":
            stack.enter_context(retrying.away("echo-1"))
            mesh.until(lambda: retrying.is_out_of_rotation("echo-1"), "echo-1 out", OUT_OF_ROTATION_S)
        else:
            retrying.kill_sidecar("echo-1")
        assert [session.ask() for session in sessions["echo-1"]] == [""] * len(sessions["echo-1"])
        assert [session.ask() for session in sessions["echo-2"]] == ["echo-2"] * len(sessions["echo-2"])
    assert retrying.settle() == failed, mesh.count().last_failure
    for session in (*sessions["echo-1"], *sessions["echo-2"]):
        session.close()


def test_sidecar_that_starts_without_control_plane_serves_what_it_had(retrying: Faulty) -> None:
    failed, mesh = retrying.settle(), retrying.mesh
    with retrying.without_control_plane():
        for instance in ("web-1", "prices-1"):
            retrying.kill_sidecar(instance)
            mesh.until(partial(retrying.has_served, instance), f"requests through {instance}'s new sidecar")
        mesh.carry(200)
    # Its peers may take half a minute to look for the control plane again, which this need not wait for.
    mesh.carry(200)
    assert mesh.count().failed == failed, mesh.count().last_failure


def test_interrupt_ends_everything_in_order(retrying: Faulty) -> None:
    mesh = retrying.mesh
    mesh.carry(200)
    failed = mesh.count().failed
    mesh.signal(signal.SIGINT)
    report = mesh.report()
    assert failures(report) == failed, report["progress"]
    assert [pair for pair in report["pairs"] if pair["mtls"] is False] == []
    assert report["code"] == 130, report["progress"]
    assert mesh.pids() == []


def failures(report: dict[str, Any]) -> int:
    return sum(each["failures"] for each in report["load"])


# --- without ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["application", "sidecar"])
@pytest.mark.parametrize("instance", ["web-1", "prices-1"])
def test_killed_instance_loses_at_most_what_was_in_flight_on_it(
    plain: Faulty, instance: str, what: str
) -> None:
    failed, mesh = plain.settle(), plain.mesh
    if what == "sidecar":
        plain.kill_sidecar(instance)
    else:
        with plain.away(instance):
            mesh.until(
                lambda: plain.is_out_of_rotation(instance), f"{instance} out of rotation", OUT_OF_ROTATION_S
            )
    assert plain.settle() <= failed + CONNECTIONS, mesh.count().last_failure


@pytest.mark.parametrize("instance", ["web-1", "prices-1"])
def test_sidecar_that_is_asked_to_end_sees_its_traffic_off(plain: Faulty, instance: str) -> None:
    failed = plain.settle()
    plain.kill_sidecar(instance, signal.SIGTERM)
    assert plain.settle() == failed, plain.mesh.count().last_failure


def test_restart_of_every_workload_in_turn_costs_no_request(plain: Faulty) -> None:
    failed, mesh = plain.settle(), plain.mesh
    before = {pid for pid in mesh.pids() if pid != mesh.control_plane()}
    mesh.signal(signal.SIGHUP)
    mesh.wait_for("every workload has been restarted", seconds=200)
    told = [line for line in mesh.lines if "stopped in order, starts again" in line]
    for service in CALLERS:
        for name in (f"{service}-1", f"{service}-2"):
            assert sum(f"{name}:" in line for line in told) == 1, json.dumps(told, indent=1)
            assert {mesh.application(name), mesh.sidecar(name)}.isdisjoint(before)
    assert plain.settle() == failed, mesh.count().last_failure


def test_killed_up_leaves_no_process(plain: Faulty) -> None:
    mesh = plain.mesh
    children = mesh.pids()
    assert len(children) >= 15
    descriptors = [os.pidfd_open(pid) for pid in children]
    os.kill(mesh.pid, signal.SIGKILL)
    for descriptor in descriptors:
        wait_until_ended(descriptor)
        os.close(descriptor)
    assert mesh.pids() == []


def wait_until_ended(descriptor: int) -> None:
    """A process's descriptor is readable once it has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(20_000), "a process outlived `up`"
