"""`mainstay up` as a process: its JSON, its exit codes, a terminal's Ctrl-C, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_run import mesh_file

from mainstay.up.machine import look_at_machine

FOLDER = Path(__file__).parent
PATIENCE_S = 60

pytestmark = [
    pytest.mark.skipif(not look_at_machine().own_addresses, reason="each workload needs a loopback address"),
    pytest.mark.xdist_group("mesh"),
]


def start(
    folder: Path, *arguments: str, output: int = subprocess.PIPE, error: int | None = None
) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(FOLDER.parents[1] / "src"),
        "JOURNAL": str(folder / "journal"),
        "TMPDIR": str(folder),
    }
    command = [sys.executable, str(FOLDER / "driver.py"), *arguments]
    return subprocess.Popen(command, stdout=output, stderr=error, text=True, env=environment)


def children_of(folder: Path) -> Iterator[int]:
    """Processes of this test's run, by the journal in their environment; the zombies of others are none."""
    wanted = f"JOURNAL={folder / 'journal'}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)
        except OSError:
            continue


def wait_until_gone(pids: list[int]) -> None:
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
        os.close(descriptor)
        assert ready, f"process {pid} lives on"


def test_json_is_the_only_thing_on_stdout(tmp_path: Path) -> None:
    up = start(
        tmp_path, str(mesh_file(tmp_path)), "--for", "500ms", "--output", "json", error=subprocess.PIPE
    )
    out, err = up.communicate(timeout=PATIENCE_S)
    assert up.returncode == 0, err
    report = json.loads(out)
    assert report["pairs"][0]["source"] == "edge"
    assert report["pairs"][0]["requests"] == report["load"][0]["requests"]
    assert {event["what"] for event in report["events"]} >= {"ready", "started"}
    assert "export MAINSTAY_CONTEXT=" in err
    assert not list(tmp_path.glob("mainstay-*")), "the folder of a good run is removed"
    assert not list(children_of(tmp_path))


def test_a_failed_run_keeps_its_logs_and_says_where(tmp_path: Path) -> None:
    file = mesh_file(tmp_path, application="crash")
    up = start(tmp_path, str(file), "--for", "1s", "--ready-timeout", "1s", error=subprocess.PIPE)
    _, err = up.communicate(timeout=PATIENCE_S)
    assert up.returncode == 4
    [folder] = tmp_path.glob("mainstay-*")
    assert f"logs and state are in {folder}" in err
    assert "I cannot" in (folder / "logs" / "front.log").read_text()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes of others by pidfd")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_it_however_it_dies(tmp_path: Path, number: int) -> None:
    up = start(tmp_path, str(mesh_file(tmp_path)))
    assert up.stdout is not None
    for line in up.stdout:
        if "requests/s to" in line:
            break
    pids = [pid for pid in children_of(tmp_path) if pid != up.pid]
    assert len(pids) >= 5
    up.send_signal(number)
    assert up.wait(PATIENCE_S) == (-number if number == signal.SIGKILL else 130)
    wait_until_gone(pids)
    assert not list(children_of(tmp_path))


def test_on_a_terminal_there_is_a_live_table_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    up = start(tmp_path, str(mesh_file(tmp_path)), output=slave, error=slave)
    os.close(slave)
    seen = b""
    sent = False
    while True:
        try:
            piece = os.read(master, 65_536)
        except OSError:  # the other end is closed: it has ended
            break
        seen += piece
        if not sent and b"SOURCE" in seen:
            up.send_signal(signal.SIGINT)
            sent = True
    os.close(master)
    assert up.wait(PATIENCE_S) == 130
    text = seen.decode()
    assert "\x1b[2J" in text
    assert "Ctrl-C ends all of them" in text
    assert "edge" in text.rpartition("SOURCE")[2], "the whole run as a table, at the end"


def test_it_ends_with_its_terminal(tmp_path: Path) -> None:
    pid, master = pty.fork()
    if pid == 0:
        environment = {
            **os.environ,
            "PYTHONPATH": str(FOLDER.parents[1] / "src"),
            "JOURNAL": str(tmp_path / "journal"),
            "TMPDIR": str(tmp_path),
        }
        file = str(mesh_file(tmp_path))
        os.execve(sys.executable, [sys.executable, str(FOLDER / "driver.py"), file], environment)
    seen = b""
    while b"SOURCE" not in seen:
        seen += os.read(master, 65_536)
    pids = list(children_of(tmp_path))
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    wait_until_gone(pids)
