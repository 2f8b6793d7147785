"""Real processes: how they start and end, and that none outlives its program."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.supervise import Program, spawn
from mainstay.supervise.reaper import read_groups
from mainstay.supervise.spawn import find_program

SLEEP = (sys.executable, "-c", "import sys, time; print('here', flush=True); time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, sys, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)",
)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


def is_there(pid: int) -> bool:
    """Whether a process runs (one that has ended and waits to be collected does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    """Blocks on the process itself where it is not our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([descriptor], [], [], 20)
        assert ready, f"process {pid} lives on"
    finally:
        os.close(descriptor)


def test_a_process_leads_its_own_group_and_writes_to_its_file(tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = spawn(
        Program((sys.executable, "-c", "print('hello')"), environment(), str(tmp_path), str(output))
    )
    assert process.wait() == 0
    assert output.read_text() == "hello\n"
    process = spawn(Program(SLEEP, environment()))
    assert os.getpgid(process.pid) == process.pid
    process.terminate()
    assert process.wait() == -signal.SIGTERM


def test_what_a_process_started_ends_with_it() -> None:
    script = (
        "import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    process = spawn(Program((sys.executable, "-c", script), environment()))
    assert process.wait() == 0
    with pytest.raises(ProcessLookupError):
        knock_for_ever(process.pid)


def knock_for_ever(group: int) -> None:
    """Raises once no process of the group is left; killed ones take a moment to go."""
    while True:
        os.killpg(group, 0)


def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-program"):
        spawn(Program(("no-such-program",), environment()))
    assert find_program(["no-such-program"], os.environ) == "there is no program no-such-program in PATH"
    assert find_program([str(tmp_path / "x")], {}) == f"{tmp_path / 'x'} cannot be executed"
    assert find_program([sys.executable], {}) is None


def test_groups_that_were_told_and_not_forgotten_are_left() -> None:
    assert read_groups(io.BytesIO(b"+12\n+13\njunk\n-12\n+14\n+")) == {13, 14}


PROGRAM = f"""
import os, signal, sys
from mainstay.supervise import Program, Reaper, spawn
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
reaper = Reaper()
environment = {{**os.environ, **reaper.environment()}}
told = spawn(Program({SLEEP!r}, environment))
reaper.tell(told.pid)
stubborn = spawn(Program({STUBBORN!r}, environment))
reaper.tell(stubborn.pid)
untold = spawn(Program({SLEEP!r}, environment))
print(told.pid, stubborn.pid, untold.pid, flush=True)
sys.stdin.readline()
if sys.argv[1] == "close":
    reaper.close()
    print("closed", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes of others by pidfd")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_its_program_however_that_died(end: int) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "die"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert program.stdout is not None
    pids = [int(text) for text in program.stdout.readline().split()]
    assert len(pids) == 3
    assert all(is_there(pid) for pid in pids)
    program.send_signal(end)
    program.wait()
    for pid in pids:
        wait_until_gone(pid)
    assert not any(is_there(pid) for pid in pids)


def test_closing_ends_what_is_left_and_the_reaper() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "close"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert program.stdout is not None
    assert program.stdin is not None
    pids = [int(text) for text in program.stdout.readline().split()]
    program.stdin.write(b"\n")
    program.stdin.flush()
    assert program.stdout.readline() == b"closed\n"
    assert not any(is_there(pid) for pid in pids)
    program.communicate(b"\n")


def test_a_process_can_be_looked_at_without_waiting() -> None:
    process = spawn(Program(SLEEP, environment()))
    assert process.poll() is None
    process.kill_group()
    wait_until_gone(process.pid)
    assert process.poll() == -signal.SIGKILL
    assert process.poll() == -signal.SIGKILL, "also once it was collected"


def test_output_can_go_where_ours_goes() -> None:
    code = (
        "import os, sys\n"
        "from mainstay.supervise import INHERITED, Program, spawn\n"
        "child = (sys.executable, '-c', \"import sys; print('out'); print('err', file=sys.stderr)\")\n"
        "sys.exit(spawn(Program(child, dict(os.environ), output=INHERITED)).wait())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
