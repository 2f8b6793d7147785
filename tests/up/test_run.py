"""A whole run of `up` with stand-ins for the mesh's own programs: order, figures, crashes, interruption, exit codes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mainstay.settings.up import UpSettings
from mainstay.up.events import Event, Events
from mainstay.up.machine import free_port, is_free, look_at_machine
from mainstay.up.plan import plan
from mainstay.up.programs import Folder
from mainstay.up.read import read_file
from mainstay.up.run import Outcome, Run, install_signals

FOLDER = Path(__file__).parent
FAKE = (sys.executable, str(FOLDER / "fake_mainstay.py"))

pytestmark = [
    pytest.mark.skipif(not look_at_machine().own_addresses, reason="each workload needs a loopback address"),
    pytest.mark.xdist_group("mesh"),
    pytest.mark.machine,
]


def mesh_file(folder: Path, *, application: str = "", more: str = "") -> Path:
    file = folder / "mesh.yaml"
    file.write_text(f"""\
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: test-{os.getpid()}}}
spec:
  namespace: shop
  services:
  - {{name: front, ports: [{{name: http, number: 8000}}]}}
  workloads:
  - {{name: front, service: front, command: [$PYTHON, {FOLDER}/fake_application.py, {application}], probe: {{path: /}}}}
  gateways: [{{name: edge}}]
  load: [{{to: edge, rate: 50}}]
  config:
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: shop}}
    spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: front}}}}]}}]}}
{more}""")
    return file


class Ran:
    """A finished run."""

    def __init__(self, folder: Path, outcome: Outcome, events: Events) -> None:
        self.outcome, self.events = outcome, events
        journal = folder / "journal"
        self.journal = journal.read_text().splitlines() if journal.exists() else []

    def position(self, entry: str) -> int:
        return self.journal.index(entry)


def run(
    folder: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    on_event: Callable[[Run, Event], None] = lambda _run, _event: None,
    **changes: object,
) -> Ran:
    monkeypatch.setenv("JOURNAL", str(folder / "journal"))
    settings = msgspec.structs.replace(UpSettings(for_=600, ready_timeout=20_000, drain=0), **changes)
    state = Folder(folder / "state")
    state.prepare()

    async def main() -> tuple[Outcome, Events]:
        interrupted = asyncio.Event()
        events = Events(lambda event: on_event(made, event))
        planned = plan(read_file(file), look_at_machine(), is_free, free_port)
        made = Run(planned, settings, state, events, lambda: None, lambda _rows: None, FAKE)
        install_signals(made, interrupted)
        try:
            return await made.run(interrupted), events
        finally:
            made.close()

    return Ran(folder, *asyncio.run(main()))


def test_everything_starts_and_ends_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(tmp_path, mesh_file(tmp_path), monkeypatch)
    assert ran.outcome.unmet == []
    assert ran.outcome.code == 0
    order = [
        "starts control-plane",
        "applied control-plane",
        "starts front",
        "starts application front",
        "ends edge",
        "drained front",
        "ends application front",
        "ends front",
        "ends control-plane",
    ]
    positions = [ran.position(entry) for entry in order]
    assert positions == sorted(positions), ran.journal


def test_figures_are_the_proxies_own_and_agree_with_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(tmp_path, mesh_file(tmp_path), monkeypatch)
    [pair] = ran.outcome.pairs
    [load] = ran.outcome.load
    assert (pair.source, pair.destination, pair.mtls, pair.failures) == ("edge", "front", True, 0)
    assert pair.requests == load.count.sent > 0


def test_failed_requests_are_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL_EACH", "5")
    ran = run(tmp_path, mesh_file(tmp_path), monkeypatch)
    assert ran.outcome.code == 1
    assert any(text.startswith("load on edge:") for text in ran.outcome.unmet)


def test_what_is_expected_and_does_not_hold_is_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "  expect: {pairs: [{from: edge, to: front, requests: 100000}]}\n"
    ran = run(tmp_path, mesh_file(tmp_path, more=more), monkeypatch)
    assert ran.outcome.code == 1
    assert ran.outcome.unmet[0].startswith("edge → front: ")


def test_steps_are_applied_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a}, spec: {host: front}}"
    more = f"  steps: [{{after: 100ms, note: moved, apply: [{step}]}}]\n"
    ran = run(tmp_path, mesh_file(tmp_path, more=more), monkeypatch)
    assert ran.outcome.code == 0
    assert [event.text for event in ran.events.all if event.what == "step"] == ["moved"]
    assert ran.journal.count("applied control-plane") == 2


def test_a_killed_application_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill_once(made: Run, event: Event) -> None:
        if event.what == "started" and event.who == "load-1":
            process = made._stage.children["front"].process
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)

    ran = run(tmp_path, mesh_file(tmp_path), monkeypatch, on_event=kill_once, for_=1_000)
    assert ran.outcome.code == 0
    assert [event.what for event in ran.events.all if event.who == "front"] == [
        "ready",
        "crashed",
        "restarted",
    ]
    assert ran.journal.count("starts application front") == 2


def test_what_never_gets_ready_ends_the_run_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(tmp_path, mesh_file(tmp_path, application="crash"), monkeypatch, ready_timeout=1_500)
    assert ran.outcome.code == 4
    assert ran.outcome.unmet == ["the application front did not get ready in time; last: I cannot"]
    assert ran.journal[-1] == "ends control-plane"


def test_refused_objects_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSE_APPLY", "it is wrong")
    ran = run(tmp_path, mesh_file(tmp_path), monkeypatch)
    assert ran.outcome.code == 4
    assert ran.outcome.unmet == [
        "the control plane: nothing was changed: Service/shop/x spec: it is wrong. Do"
    ]


def test_an_interruption_ends_everything_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_made: Run, event: Event) -> None:
        if event.what == "started" and event.who == "load-1":
            os.kill(os.getpid(), signal.SIGINT)

    ran = run(tmp_path, mesh_file(tmp_path), monkeypatch, on_event=interrupt, for_=None)
    assert ran.outcome.code == 130
    assert ran.journal[-3:] == ["ends application front", "ends front", "ends control-plane"]


def test_an_interruption_while_it_starts_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_made: Run, event: Event) -> None:
        if event.what == "ready" and event.who == "control-plane":
            os.kill(os.getpid(), signal.SIGTERM)

    ran = run(tmp_path, mesh_file(tmp_path), monkeypatch, on_event=interrupt)
    assert ran.outcome.code == 130
    started = sum(entry.startswith("starts") for entry in ran.journal)
    assert started >= 1


def test_listening_wider_than_loopback_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(tmp_path, mesh_file(tmp_path, application="wide"), monkeypatch)
    [warning] = [event for event in ran.events.all if event.what == "warning"]
    assert warning.who == "front"
    assert "listens on 0.0.0.0:18000" in warning.text


def test_workloads_are_restarted_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def roll(_made: Run, event: Event) -> None:
        if event.what == "started" and event.who == "load-1":
            os.kill(os.getpid(), signal.SIGHUP)
        if event.text == "every workload has been restarted":
            os.kill(os.getpid(), signal.SIGINT)

    ran = run(tmp_path, mesh_file(tmp_path), monkeypatch, on_event=roll, for_=None)
    assert ran.outcome.code == 130
    again = ran.journal[ran.position("drained front") :]
    wanted = [
        "drained front",
        "ends application front",
        "ends front",
        "starts front",
        "starts application front",
    ]
    assert again[:5] == wanted


def test_a_killed_control_plane_comes_back_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_once(made: Run, event: Event) -> None:
        if event.what == "started" and event.who == "load-1":
            process = made._stage.children["control-plane"].process
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)

    step = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a}, spec: {host: front}}"
    more = f"  steps: [{{after: 1s, note: moved, apply: [{step}]}}]\n"
    ran = run(tmp_path, mesh_file(tmp_path, more=more), monkeypatch, on_event=kill_once, for_=1_500)
    assert ran.outcome.code == 0, ran.outcome.unmet
    assert ran.journal.count("starts control-plane") == 2
    assert ran.journal.count("applied control-plane") == 2, "the step reached the restarted one"


def test_what_a_proxy_refuses_is_told_once_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUSED", "I cannot do this")
    ran = run(tmp_path, mesh_file(tmp_path), monkeypatch, for_=2_500)
    told = [event.text for event in ran.events.all if event.what == "warning"]
    assert told == ["refused routes 80: I cannot do this"]
