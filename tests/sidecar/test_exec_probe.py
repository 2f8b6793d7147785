"""Probes that are commands: when they run, what they may do, and what the control plane hears of it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from fake_control_plane import ControlPlane, View
from hypothesis import given
from hypothesis import strategies as st
from test_sources import Proxy, bootstrap, service

from mainstay._proto import pool
from mainstay.settings.define import OperatorError
from mainstay.sidecar.command import Command, Runner
from mainstay.sidecar.convert.exec_check import ExecCheck
from mainstay.sidecar.convert.refuse import Refused
from mainstay.sidecar.convert.table import convert
from mainstay.sidecar.exec_probe import NOT_ALLOWED, POLL_MS, ExecProbes, Verdict

CHECK = ExecCheck(
    ("check",), timeout=1_000, interval=5_000, initial_delay=0, healthy_threshold=1, unhealthy_threshold=3
)
USER = "nobody" if os.geteuid() == 0 else ""


class Program:
    """A program that ends when and as the test says."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.killed = False

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.killed = True


class Machine:
    def __init__(self, check: ExecCheck = CHECK) -> None:
        self.started: list[Program] = []
        self.probes = ExecProbes(self.start)
        self.now = 0
        self.probes.set("probe|x", check, 0)

    def start(self, command: tuple[str, ...]) -> Program:
        assert command == ("check",)
        self.started.append(Program())
        return self.started[-1]

    def run(self, status: int) -> list[Verdict]:
        """The next run, which ends so at once."""
        deadline = self.probes.next_deadline(self.now)
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.probes.tick(self.now)
        self.started[-1].status = status
        self.now += POLL_MS
        return self.probes.tick(self.now)


def test_first_result_decides_and_thresholds_count_from_then_on() -> None:
    machine = Machine()
    assert machine.run(0) == [Verdict("probe|x", True, "")]
    assert machine.run(1) == []
    assert machine.run(1) == []
    assert machine.run(1) == [Verdict("probe|x", False, "check ended with 1")]
    assert machine.run(0) == [Verdict("probe|x", True, "")]


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_verdict_changes_exactly_when_enough_results_in_a_row_say_so(
    results: list[bool], up: int, down: int
) -> None:
    machine = Machine(ExecCheck(("check",), 1_000, 5_000, 0, up, down))
    verdict: bool | None = None
    for count in range(1, len(results) + 1):
        told = machine.run(0 if results[count - 1] else 1)
        needed = up if results[count - 1] else down
        row = results[max(0, count - needed) : count]
        turns = verdict is None or (len(row) == needed and all(each != verdict for each in row))
        assert [each.healthy for each in told] == ([results[count - 1]] if turns else [])
        verdict = results[count - 1] if turns else verdict


def test_command_that_does_not_end_is_killed_and_has_failed() -> None:
    machine = Machine()
    machine.probes.tick(0)
    assert machine.probes.tick(999) == []
    assert machine.probes.tick(1_000) == [Verdict("probe|x", False, "check did not end within 1000 ms")]
    assert machine.started[0].killed
    assert len(machine.started) == 1
    machine.probes.tick(6_000)
    assert len(machine.started) == 2


def test_delay_and_interval_are_kept() -> None:
    machine = Machine(ExecCheck(("check",), 1_000, 5_000, 2_000, 1, 1))
    assert machine.probes.tick(1_999) == []
    assert machine.started == []
    assert machine.probes.next_deadline(0) == 2_000
    machine.now = 2_000
    machine.run(0)
    assert machine.probes.next_deadline(machine.now) == machine.now + 5_000


def test_probe_that_goes_or_changes_takes_its_command_with_it() -> None:
    machine = Machine()
    machine.probes.tick(0)
    machine.probes.set("probe|x", CHECK, 10)
    assert not machine.started[0].killed
    machine.probes.set("probe|x", ExecCheck(("check",), 1_000, 6_000, 0, 1, 3), 20)
    assert machine.started[0].killed
    machine.probes.tick(30)
    machine.probes.forget("probe|x")
    assert machine.started[1].killed
    assert machine.probes.next_deadline(40) is None


def test_where_commands_are_not_allowed_the_probe_fails_in_words() -> None:
    probes = ExecProbes(None)
    probes.set("probe|x", CHECK, 0)
    assert probes.tick(0) == [Verdict("probe|x", False, NOT_ALLOWED)]


# --- real programs ----------------------------------------------------------------------------------------------------


def ended(command: Command) -> int:
    until = time.monotonic() + 20
    while (status := command.poll()) is None:
        assert time.monotonic() < until
        os.sched_yield()
    return status


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ('[ "$(id -u)" -ne 0 ] && [ "$PWD" = / ] && [ -z "$SECRET" ] && [ -z "$HOME" ]', 0),
        ("[ -t 0 ]", 1),
        ("read line", 1),
        ("[ -e /proc/self/fd/FILE ]", 1),
    ],
    ids=["success", "failure", "no rights, no environment", "no terminal", "no input", "no files of ours"],
)
def test_command_has_as_little_as_can_be(script: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    file = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(file, True)
    try:
        script = script.replace("FILE", str(file))
        assert ended(Runner(USER)(("/bin/sh", "-c", script))) == status
    finally:
        os.close(file)


def alive(group: int) -> list[int]:
    """Processes of a group that are not dead; those may wait for their parent a little longer."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            state, _, process_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state not in "ZX":
            found.append(int(folder.name))
    return found


def test_killed_command_leaves_no_child_behind() -> None:
    command = Runner(USER)(("/bin/sh", "-c", "sleep 1000 & sleep 1000"))
    group = command._popen.pid
    while len(alive(group)) < 3:
        os.sched_yield()
    command.kill()
    # The kernel takes the orphans of the group when it gets to them.
    while alive(group):
        os.sched_yield()


def test_program_that_is_not_there_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        Runner(USER)(("no-such-program",))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
@pytest.mark.parametrize(
    ("user", "words"), [("", "set --probe-user"), ("root", "not run as root"), ("nosuch", "no user")]
)
def test_root_gives_its_rights_up_or_does_not_start(user: str, words: str) -> None:
    with pytest.raises(OperatorError, match=words):
        Runner(user)


# --- in the sidecar ---------------------------------------------------------------------------------------------------


def probe_cluster(cluster: str = "probe|x", **check: Any) -> dict[str, Any]:
    custom = {
        "name": "mainstay.dev/exec",
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": "mainstay.dev/exec",
            "value": {"command": ["check"]},
        },
    }
    health = {"timeout": "1s", "interval": "2s", "unhealthy_threshold": 1, "healthy_threshold": 1}
    return {
        "name": cluster,
        "type": "STATIC",
        "health_checks": [{**health, "custom_health_check": {**custom, **check}}],
    }


def test_outcome_is_reported_upward(tmp_path: Path) -> None:
    plane = ControlPlane(View())
    programs: list[Program] = []

    def start(_: tuple[str, ...]) -> Program:
        program = Program()
        program.status = 0 if len(programs) < 2 else 1
        programs.append(program)
        return program

    dynamic = {"ads_config": service("delta")["api_config_source"], "cds_config": {"ads": {}}}
    proxy = Proxy(tmp_path, bootstrap(dynamic, clusters=[probe_cluster()]), start, xds=plane)
    assert [(each.healthy, each.reason) for each in plane.health] == [(True, "")]
    proxy.run(5_000)
    assert [(each.healthy, each.reason) for each in plane.health[1:]] == [
        (False, "probe by command fails: check ended with 1")
    ]


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (probe_cluster("app"), "only a workload's own probe may be a command"),
        (probe_cluster(name="other"), "'other' is not supported"),
        (
            probe_cluster(
                typed_config={
                    "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
                    "value": {"command": []},
                }
            ),
            "must be a program",
        ),
    ],
)
def test_other_checks_of_this_shape_are_refused(cluster: dict[str, Any], words: str) -> None:
    kind = "envoy.config.cluster.v3.Cluster"
    with pytest.raises(Refused, match=words):
        convert(kind, pool.from_json(kind, cluster).SerializeToString())
