"""What is lost when a part of the mesh is killed or restarted under load: nothing, or what was in flight on it.

Two instances of an HTTP and of a gRPC service at 200 requests a second, and a TCP service, as `mainstay up` runs them.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.mesh

SHOP = Path(str(resources.files("mainstay.examples"))) / "shop"
HERE = Path(__file__).parent / "applications"

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
  workloads:
  - name: web
    service: web
    command: [$PYTHON, {HERE}/web.py]
    env: {{SHOP: {SHOP}}}
    calls: [prices]
    probe: {{path: /healthz}}
    instances: 2
  - {{name: prices, service: prices, command: [$PYTHON, {SHOP}/prices.py], instances: 2}}
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
  load:
  - {{to: edge, path: /, rate: 200, connections: 16}}
"""
RETRYABLE = "retries: {attempts: 3, retryOn: 'connect-failure,refused-stream,reset,503,unavailable'}"
NOT_RETRYABLE = "retries: {attempts: 0}"
RETRIED = MESH.replace("RETRIES", RETRYABLE)
"""Calls are idempotent: whatever is lost on the way is sent again."""
PLAIN = MESH.replace("RETRIES", NOT_RETRYABLE)


def failures(report: dict[str, Any]) -> int:
    return sum(each["failures"] for each in report["load"])


def requests(report: dict[str, Any]) -> int:
    return sum(each["requests"] for each in report["load"])


def kill(mesh: Any, *parts: str) -> None:
    os.kill(mesh.pid_of(*parts), signal.SIGKILL)


def proxy_of(name: str) -> tuple[str, ...]:
    return (" sidecar ", f"--workload {name} ")


def application_of(name: str, program: str) -> tuple[str, ...]:
    return (program, f"\nINSTANCE={name}\n")


def test_killed_control_plane_costs_no_request_and_comes_back(up: Callable[..., Any]) -> None:
    mesh = up(RETRIED, "--for", "8s")
    mesh.wait_for("load")
    kill(mesh, " serve ")
    mesh.wait_for("control-plane", count=2)
    report = mesh.report()
    assert failures(report) == 0, report["progress"]
    assert requests(report) > 1_000
    assert all(pair["mtls"] in (True, None) for pair in report["pairs"])


@pytest.mark.parametrize("who", ["web", "prices"])
@pytest.mark.parametrize("what", ["application", "sidecar"])
def test_killed_part_of_an_instance_costs_nothing_on_retryable_routes(
    up: Callable[..., Any], who: str, what: str
) -> None:
    mesh = up(RETRIED, "--for", "8s")
    mesh.wait_for("load")
    if what == "sidecar":
        kill(mesh, *proxy_of(f"{who}-1"))
    else:
        kill(mesh, *application_of(f"{who}-1", f"{who}.py"))
    mesh.wait_for("started again")
    report = mesh.report()
    assert failures(report) == 0, report["progress"]


def test_killed_instance_loses_at_most_what_was_in_flight_on_it(up: Callable[..., Any]) -> None:
    mesh = up(PLAIN, "--for", "8s")
    mesh.wait_for("load")
    kill(mesh, *application_of("web-1", "web.py"))
    report = mesh.report()
    # 16 connections at most, over two instances.
    assert failures(report) <= 16, report["progress"]


def test_restart_of_every_workload_in_turn_costs_no_request(up: Callable[..., Any]) -> None:
    mesh = up(PLAIN, "--for", "25s")
    mesh.wait_for("load")
    mesh.signal(signal.SIGHUP)
    report = mesh.report()
    restarted = [event for event in report["events"] if event["what"] == "restarted"]
    assert {event["who"] for event in restarted} >= {"web-1", "web-2", "prices-1", "prices-2"}, json.dumps(
        report["events"], indent=1
    )
    assert failures(report) == 0, report["progress"]


def test_killed_up_leaves_no_process(up: Callable[..., Any]) -> None:
    mesh = up(RETRIED)
    mesh.wait_for("load")
    children = mesh.pids()
    assert len(children) >= 10
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


def test_interrupt_ends_everything_in_order(up: Callable[..., Any]) -> None:
    mesh = up(RETRIED)
    mesh.wait_for("load")
    mesh.signal(signal.SIGINT)
    report = mesh.report()
    assert report["code"] == 130
    assert failures(report) == 0, report["progress"]
    assert mesh.pids() == []
