"""The process: what it loads, and how it outlives its brain."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from fake_control_plane import ControlPlane, golden_view
from fake_engine import FakeEngine

from mainstay.engine import Event, Signal
from mainstay.settings.define import OperatorError
from mainstay.settings.sidecar import ControlPlane as ControlPlaneSettings
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar import main as program
from mainstay.sidecar.bootstrap import own
from mainstay.sidecar.brain import Brain
from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.status import Status

SOURCES = Path(__file__).resolve().parents[2] / "src"
FORBIDDEN = (
    "asyncio",
    "ssl",
    "hashlib",
    "_hashlib",
    "grpc",
    "cryptography",
    "click",
    "yaml",
    "email",
    "http",
    "urllib.request",
    "socket",
    "multiprocessing",
    "concurrent",
    "starlette",
    "google.protobuf.json_format",
)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": str(SOURCES), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_idle_sidecar_loads_nothing_heavy() -> None:
    """Everything it works with is imported and used once: settings, log, pool, converters, machines."""
    loaded = run_python(
        """
        import sys
        from mainstay.sidecar import main
        from mainstay.settings.load import load
        from mainstay.settings.sidecar import SidecarSettings
        from mainstay.sidecar.convert.table import convert
        from mainstay._proto import pool
        from mainstay.identity import join_wire
        settings = load(
            SidecarSettings, "sidecar", ["--workload", "w", "--control-plane-address", "127.0.0.1:1"], {}
        ).settings
        main._configure_log(settings)
        boot = main.read_boot(settings, "sidecar")
        main.engine_settings(settings, boot)
        cluster = "envoy.config.cluster.v3.Cluster"
        convert(cluster, pool.message_class(cluster)(name="x").SerializeToString())
        print("\\n".join(sys.modules))
        """
    ).split()
    assert "mainstay.sidecar.brain" in loaded
    found = [name for name in loaded if any(name == bad or name.startswith(bad + ".") for bad in FORBIDDEN)]
    assert found == []


def test_help_and_usage_errors_need_no_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["sidecar", "--help"]) == 0
    assert "--control-plane-address" in capsys.readouterr().out
    assert program.main(["sidecar", "--no-such-flag"]) == 2
    assert program.main(["sidecar"]) == 2
    assert "--workload or --bootstrap" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--workload", "--control-plane-address"])
def test_a_bootstrap_takes_nothing_of_what_it_says_itself(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["sidecar", "--bootstrap", "there-is-none", flag, "a:1"]) == 2
    assert f"{flag} and --bootstrap exclude each other" in capsys.readouterr().err


def test_a_port_of_its_own_that_is_taken_is_told_with_the_setting_that_moves_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = ["--workload", "w", "--namespace", "n", "--service-account", "a", "--addresses", "127.0.0.1"]
        server = [
            "--control-plane-address",
            "127.0.0.1:1",
            "--control-plane-insecure",
            "--data",
            str(tmp_path),
        ]
        ports = ["--admin-port", "0", "--health-port", "0", "--metrics-port", str(port)]
        assert program.main(["sidecar", *given, *server, *ports]) == 1
    told = capsys.readouterr().err
    assert f"metrics: 127.0.0.1:{port} cannot be bound" in told
    assert "--metrics-port moves ours" in told


def keeper(
    engine: FakeEngine, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> program.Keeper:
    monkeypatch.setattr(program, "monotonic_ms", engine.clock)
    monkeypatch.setattr(program, "wall_ms", engine.wall_clock)
    engine.servers[own.XDS_CLUSTER] = control_plane.call
    settings = SidecarSettings(workload="w", control_plane=ControlPlaneSettings("127.0.0.1:1", insecure=True))
    return program.Keeper(engine, settings, own.own_boot(settings, "sidecar", "0"), Status("0"))


def test_a_brain_that_dies_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    control_plane = ControlPlane(golden_view("direct-response"))
    turns = 0
    turn = Brain.turn

    def turn_or_die(brain: Brain) -> None:
        nonlocal turns
        turns += 1
        if turns in (20, 40):
            raise RuntimeError("a bug")
        if turns == 80:
            engine.signal(15)
        turn(brain)

    monkeypatch.setattr(Brain, "turn", turn_or_die)
    keep = keeper(engine, control_plane, monkeypatch)
    keep.run()
    assert keep._status.deaths == 2
    assert len(control_plane.nodes) == 3
    assert engine.stopped
    assert engine.names("cluster")
    assert turns > 80


XDS: Reference = ("cluster", own.XDS_CLUSTER)


def test_what_the_bootstrap_says_and_the_engine_refuses_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = FakeEngine()
    engine.refuse[XDS] = ("connect_timeout", "is too odd")
    keep = keeper(engine, ControlPlane(golden_view("direct-response")), monkeypatch)
    with pytest.raises(OperatorError) as refused:
        keep.run()
    assert (refused.value.code, keep._status.deaths, engine.names("cluster")) == (3, 0, [])
    assert str(refused.value).endswith(f"\n  cluster {own.XDS_CLUSTER}: connect_timeout: is too odd")


def test_who_has_served_goes_on_with_what_is_refused_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A brain that follows another offers the bootstrap again, and what its files hold may have changed."""
    engine = FakeEngine()
    turns = 0
    turn = Brain.turn

    def turn_or_die(brain: Brain) -> None:
        nonlocal turns
        turns += XDS in engine.resources or turns > 0
        if turns == 1:
            engine.refuse[XDS] = ("connect_timeout", "is too odd")
            raise RuntimeError("a bug")
        if turns == 40:
            engine.signal(signal.SIGTERM)
        turn(brain)

    monkeypatch.setattr(Brain, "turn", turn_or_die)
    keep = keeper(engine, ControlPlane(golden_view("direct-response")), monkeypatch)
    keep.run()
    assert (keep._status.deaths, engine.stopped) == (1, True)
    assert XDS in keep._status.refusals


def test_a_child_that_ends_while_the_brain_is_dead_ends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    turns = 0
    turn = Brain.turn

    def turn_or_die(brain: Brain) -> None:
        nonlocal turns
        turns += 1
        if turns == 20:
            engine.signal(signal.SIGCHLD)
            raise RuntimeError("a bug")
        if turns == 60:
            engine.signal(signal.SIGTERM)
        turn(brain)

    monkeypatch.setattr(Brain, "turn", turn_or_die)
    keep = keeper(engine, ControlPlane(golden_view("direct-response")), monkeypatch)
    keep.run()
    assert turns > 60
    assert keep._status.deaths == 1


def test_the_end_is_not_put_off_by_a_dead_brain(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    keep = keeper(engine, ControlPlane(golden_view("direct-response")), monkeypatch)
    died = False
    turn = Brain.turn

    def die_once(brain: Brain) -> None:
        nonlocal died
        if not died:
            died = True
            engine.signal(15)
            raise RuntimeError("a bug")
        turn(brain)

    monkeypatch.setattr(Brain, "turn", die_once)
    keep.run()
    assert engine.stopped
    assert engine.now < 1_000, "who never was ready has nothing to drain"


@pytest.mark.parametrize("when", ["turn", "start", "taken"])
def test_a_brain_that_dies_of_everything_does_not_keep_the_process_alive(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    engine = FakeEngine()
    keep = keeper(engine, ControlPlane(golden_view("direct-response")), monkeypatch)
    deaths = 0
    take = Brain._take

    def die(*_: object) -> None:
        nonlocal deaths
        deaths += 1
        assert deaths < 4
        if deaths == 2:
            engine.signal(15)
        raise RuntimeError("a bug")

    def die_once_told(brain: Brain, event: Event, now: int) -> None:
        take(brain, event, now)
        if isinstance(event, Signal):
            raise RuntimeError("a bug")

    if when == "taken":
        engine.signal(15)
        monkeypatch.setattr(Brain, "_take", die_once_told)
    else:
        monkeypatch.setattr(Brain, when, die)
    keep.run()
    assert engine.stopped
    assert engine.now < 2_000, "what never was ready has nothing to see off"
    assert engine.ready[-1:] == [False]


def test_one_that_dies_again_and_again_waits_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    keep = keeper(engine, ControlPlane(golden_view("direct-response")), monkeypatch)
    pauses = []
    for _ in range(6):
        pauses.append(keep._next_pause())
        engine.now += pauses[-1]
    assert pauses == [100, 400, 1_600, 5_000, 30_000, 30_000]
