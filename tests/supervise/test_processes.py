"""Real processes: output arrives in lines, groups end whole, and all of them end when their parent is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from mainstay.supervise import Policy, Reaper, Spawner
from mainstay.supervise.child import Report


class Ears:
    """What the children reported and printed."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Report]] = []
        self.lines: list[str] = []
        self.heard = asyncio.Event()

    def report(self, name: str, report: Report) -> None:
        self.reports.append((name, report))
        self.heard.set()

    def output(self, _name: str, line: str) -> None:
        self.lines.append(line)
        self.heard.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.heard.clear()
                await self.heard.wait()


def play(scenario: Callable[[Spawner, Ears], Awaitable[None]]) -> None:
    async def run() -> None:
        ears, reaper = Ears(), Reaper()
        try:
            await scenario(Spawner(reaper, ears.report, ears.output), ears)
        finally:
            await asyncio.to_thread(reaper.close)

    asyncio.run(run())


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def test_output_comes_line_by_line_and_a_crash_restarts() -> None:
    async def scenario(spawner: Spawner, ears: Ears) -> None:
        code = "import os; print('up'); print('x' * 100_000); os._exit(3)"
        child = spawner.child("app", python(code), os.environ, Policy(first_backoff_ms=1, restarts=1))
        child.start()
        await child.ended.wait()
        assert ears.lines.count("up") == 2
        assert sum(line.count("x") for line in ears.lines) == 200_000
        assert [report.what for _, report in ears.reports] == ["started", "restarting", "started", "given up"]

    play(scenario)


def test_what_a_child_started_ends_with_it() -> None:
    async def scenario(spawner: Spawner, ears: Ears) -> None:
        code = (
            "import subprocess, sys, time\n"
            "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            "print(p.pid)\ntime.sleep(600)"
        )
        child = spawner.child("app", python(code), os.environ)
        child.start()
        await ears.until(lambda: ears.lines)
        grandchild = os.pidfd_open(int(ears.lines[0]))
        await child.stopped()
        await ends(grandchild)
        os.close(grandchild)

    play(scenario)


def test_program_that_does_not_exist_is_told_by_name() -> None:
    async def scenario(spawner: Spawner, ears: Ears) -> None:
        child = spawner.child("app", ["/nowhere/app"], os.environ, Policy(restart=False))
        child.start()
        await child.ended.wait()
        assert ears.reports[-1][1].reason == "cannot start /nowhere/app: No such file or directory"

    play(scenario)


def test_killed_parent_leaves_no_process() -> None:
    """A parent that never gets to stop anything: its children, stubborn ones too, end all the same."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    code = f"""
import asyncio, os
from mainstay.supervise import Reaper, Spawner

async def main():
    spawner = Spawner(Reaper(), lambda *_: None, lambda *_: print(child.pid, flush=True))
    global child
    child = spawner.child("app", [{sys.executable!r}, "-c", {stubborn!r}], os.environ)
    child.start()
    await asyncio.sleep(600)

asyncio.run(main())
"""
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    reaper = next(each for each in children_of(parent.pid) if each != child)
    processes = (os.pidfd_open(reaper), os.pidfd_open(child))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for process in processes:
        asyncio.run(ends(process))
        os.close(process)


async def ends(descriptor: int) -> None:
    """A process's descriptor is readable once it has ended."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    await asyncio.wait_for(gone.wait(), 20)
    loop.remove_reader(descriptor)


def children_of(parent: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
