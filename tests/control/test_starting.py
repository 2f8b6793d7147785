"""What keeps `mainstay serve` from starting is told in one line, with what to do."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from waiting import until

pytestmark = pytest.mark.mesh
PATIENCE_S = 60
ANY_PORTS = ("--api-port", "0", "--xds-port", "0", "--metrics-port", "0")


def command(folder: Path, *flags: str) -> list[str]:
    files = ("--state", str(folder / "state"), "--api-context", str(folder / "context.json"))
    return [sys.executable, "-m", "mainstay", "serve", *files, *ANY_PORTS, *flags]


def fails(folder: Path, *flags: str) -> tuple[int, str]:
    done = subprocess.run(
        command(folder, *flags), capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    told = [line for line in done.stderr.splitlines() if " info " not in line]
    assert len(told) == 1, done.stderr
    return done.returncode, told[0]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    ready = tmp_path / "ready"
    process = subprocess.Popen(command(tmp_path, "--ready-file", str(ready)), stderr=subprocess.DEVNULL)
    until(lambda: ready.exists() or process.poll() is not None, "it gets ready", PATIENCE_S)
    assert process.poll() is None
    yield tmp_path
    process.kill()
    process.wait()


def test_all_of_its_log_is_json_where_that_is_asked_for(tmp_path: Path) -> None:
    """Also what the engine in front of it says, here of a client that speaks no TLS."""
    ready = tmp_path / "ready"
    flags = ("--log-format", "json", "--log-levels", "engine.tls=debug", "--ready-file", str(ready))
    process = subprocess.Popen(command(tmp_path, *flags), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = (json.loads(line) for line in process.stderr)
    try:
        next(line for line in lines if line["message"] == "control plane is up")
        place = ("127.0.0.1", json.loads(ready.read_bytes())["xds"])
        with socket.create_connection(place, PATIENCE_S) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            told = next(line for line in lines if line["message"] == "handshake with a client failed")
        assert told["room"] == "engine.tls"
    finally:
        process.kill()
        process.communicate()


def test_state_directory_belongs_to_one_control_plane(running: Path) -> None:
    code, told = fails(running)
    assert code == 1
    assert told.startswith("error: another control plane uses the state directory")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lock", "cannot write {}: Is a directory. --state chooses another directory"),
        ("audit.log", "cannot use the audit trail {}: Is a directory"),
    ],
)
def test_state_that_cannot_be_used_is_told_without_a_traceback(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "state" / name).mkdir(parents=True)
    assert fails(tmp_path) == (1, f"error: {words.format(tmp_path / 'state' / name)}")


def test_address_that_cannot_be_bound_is_told_without_a_traceback(tmp_path: Path) -> None:
    code, told = fails(tmp_path, "--xds-bind", "192.0.2.1")
    assert code == 1
    assert told.startswith("error: cannot listen on 192.0.2.1:0 for xDS")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--xds-port", "99999"), 2, "out of range"),
        (("--ca-cert", "x.pem"), 2, "belong together"),
        (("--ca-cert", "x.pem", "--ca-key", "y.pem"), 1, "No such file"),
        (("--trust-domain", "a b"), 2, "trust domain"),
        (("--log-levels", "front"), 2, "--log-levels: 'front' is not ROOM=LEVEL"),
        (("--log-levels", "front=loud"), 2, "'loud' is no log level"),
        (
            ("--log-levels", "engine.front=debug"),
            1,
            'room "front" is none of reactor, snapshot, telemetry, tls',
        ),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, flags: tuple[str, ...], code: int, words: str) -> None:
    found, told = fails(tmp_path, *flags)
    assert (found, words in told) == (code, True), told


def test_key_that_others_can_read_is_refused_with_the_remedy(running: Path) -> None:
    key = running / "other" / "state" / "ca" / "intermediate-key.pem"
    key.parent.mkdir(parents=True)
    for each in (running / "state" / "ca").iterdir():
        (key.parent / each.name).write_bytes(each.read_bytes())
        (key.parent / each.name).chmod(0o600)
    key.chmod(0o644)
    code, told = fails(running / "other")
    assert code == 1
    assert f"chmod 600 {key}" in told
