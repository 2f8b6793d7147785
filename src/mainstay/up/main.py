"""`mainstay up`: the composition root of a mesh on one machine.

In: arguments. Out: an exit code: 0 well · 1 requests failed or what was expected did not hold · 2 usage · 3 the file was
refused · 4 something did not get ready · 5 gave up restarting · 130 interrupted. Called by `mainstay.cli.up`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from mainstay.api.kinds import KINDS
from mainstay.api.publish import schema_document
from mainstay.model.problem import Problem
from mainstay.model.problem_text import count, describe_problems
from mainstay.settings import HelpAsked, OperatorError, load
from mainstay.settings.up import UpSettings
from mainstay.sidecar.agent.find import find_envoy
from mainstay.up.claims import Claims
from mainstay.up.events import Event, Events
from mainstay.up.file import MeshFile
from mainstay.up.machine import free_port, is_free, look_at_machine
from mainstay.up.plan import plan
from mainstay.up.planned import Plan
from mainstay.up.programs import Folder
from mainstay.up.read import FileRefused, find_file, read_file
from mainstay.up.report import INTERRUPTED, REFUSED, USAGE, WELL, build_report
from mainstay.up.run import Outcome, Run, install_signals
from mainstay.up.table import Row, Screen


def main(arguments: Sequence[str]) -> int:
    """Run a mesh; returns the exit code."""
    try:
        loaded = load(UpSettings, "up", arguments, os.environ, positional=1)
    except HelpAsked as asked:
        print(asked.text)
        return WELL
    settings = loaded.settings
    if settings.print_schema:
        kind = next(kind for kind in KINDS if kind.name == "Mesh")
        print(json.dumps(schema_document(kind), indent=2, ensure_ascii=False))
        return WELL
    if not loaded.positional:
        raise OperatorError(
            "mainstay up: which mesh? Give a file, a folder or an example, such as `mainstay up shop`", USAGE
        )
    try:
        mesh = read_file(find_file(loaded.positional[0]))
    except FileRefused as refused:
        show_problems(refused.problems, refused.texts, sys.stderr)
        return REFUSED
    return _run_in_folder(mesh, settings)


def show_problems(problems: Sequence[Problem], texts: dict[str, str], stream: TextIO) -> None:
    """Each problem with the line it speaks of."""
    told = [msgspec.to_builtins(problem) for problem in problems]
    for text in describe_problems(told, texts, coloured=stream.isatty()):
        stream.write(f"{text}\n")
    stream.write(f"refused: {count(len(problems), 'problem')}; nothing was started\n")


def _run_in_folder(mesh: MeshFile, settings: UpSettings) -> int:
    """Run with a folder of its own, kept where the user asked for it or something failed."""
    if "envoy" in [*(each.proxy for each in mesh.workloads), *(each.proxy for each in mesh.gateways)]:
        find_envoy(settings.proxy_path, os.environ)  # now, not when half of the mesh runs
    kept = settings.state is not None
    path = (
        settings.state.expanduser()
        if settings.state
        else Path(tempfile.mkdtemp(prefix=f"mainstay-{mesh.name}-"))
    )
    folder = Folder(path)
    try:
        folder.prepare()
    except OSError as error:
        raise OperatorError(
            f"cannot use the folder {path}: {error.strerror}; --state chooses another", USAGE
        ) from None
    with Claims() as claims:
        planned = plan(
            mesh, look_at_machine(), lambda address: is_free(address) and claims.claim(address), free_port
        )
        outcome = asyncio.run(_run(planned, settings, folder))
    if outcome.code in (WELL, INTERRUPTED) and not kept:
        shutil.rmtree(path, ignore_errors=True)
    else:
        print(f"logs and state are in {path}", file=sys.stderr)
    return outcome.code


async def _run(planned: Plan, settings: UpSettings, folder: Folder) -> Outcome:
    as_json = settings.output == "json"
    stream = sys.stderr if as_json else sys.stdout
    view = _View(planned, folder, Screen(stream))
    events = Events(view.tell)
    for entry in planned.left_out:
        events.tell("left out", entry.workload, entry.reason)
    run = Run(planned, settings, folder, events, view.ready, view.show)
    interrupted = asyncio.Event()
    install_signals(run, interrupted)
    try:
        outcome = await run.run(interrupted)
    finally:
        run.close()
        view.close()
    for problem in outcome.unmet:
        print(f"not as expected: {problem}", file=sys.stderr)
    if as_json:
        json.dump(
            build_report(outcome.pairs, outcome.load, events.all, outcome.unmet),
            sys.stdout,
            ensure_ascii=False,
        )
        sys.stdout.write("\n")
    else:
        view.conclude(outcome)
    return outcome


class _View:
    """What people see: lines while it starts, then the table with the latest events below."""

    def __init__(self, planned: Plan, folder: Folder, screen: Screen) -> None:
        self._planned, self._folder, self._screen = planned, folder, screen
        self._events: list[str] = []
        self._hints: list[str] = []
        self._began = time.monotonic()

    def tell(self, event: Event) -> None:
        self._events.append(event.line)
        self._screen.note(event.line)

    def ready(self) -> None:
        """Everything runs."""
        self._began = time.monotonic()
        mesh = self._planned.mesh
        twins = [each.name for each in self._planned.instances if each.workload.needs]
        if twins:
            self._screen.note(f"run-times found here: {', '.join(twins)} joined")
        self._hints = [
            f"in another terminal: export MAINSTAY_CONTEXT={self._folder.context}",
            *(f"  {hint}" for hint in mesh.hints),
        ]
        for line in self._hints:
            self._screen.note(line)
        self._screen.open()

    def show(self, rows: list[Row]) -> None:
        workloads = count(len(self._planned.instances), "workload")
        title = f"mainstay up {self._planned.mesh.name}: {workloads}, Ctrl-C ends all of them"
        self._screen.show(title, rows, self._events, self._hints)

    def close(self) -> None:
        self._screen.close()

    def conclude(self, outcome: Outcome) -> None:
        """The whole run as one table."""
        seconds = max(0.001, time.monotonic() - self._began)
        self._screen.conclude([Row(pair, pair.requests / seconds) for pair in outcome.pairs])
