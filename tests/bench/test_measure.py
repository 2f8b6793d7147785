"""Processes are started in order, always ended, and explain themselves when they do not come up."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest
from bench.measure import BenchError, Ports, Process, cpu_ns, resident_kib, running

from bench import measure

CORE = min(os.sched_getaffinity(0))
LISTENS = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listener.accept()[0].close()
"""


def listener(port: int) -> Process:
    return Process((sys.executable, "-c", LISTENS, str(port)), port)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_ports_are_free_and_given_once() -> None:
    ports = Ports()
    first = ports.take()
    assert not is_listening(first)
    assert ports.take() != first


def test_a_port_in_use_is_passed_over() -> None:
    taken = Ports().take()
    with socket.create_server(("127.0.0.1", taken)):
        assert Ports().take() != taken


def test_what_was_started_ends_with_the_block_also_by_an_error(tmp_path: Path) -> None:
    ports = Ports()
    processes = [listener(ports.take()), listener(ports.take())]
    with contextlib.suppress(KeyError), running(processes, CORE, tmp_path / "log") as pids:
        assert all(is_listening(each.port) for each in processes)
        assert cpu_ns(pids) > 0
        assert resident_kib(pids) > 1_000
        raise KeyError
    assert not any(is_listening(each.port) for each in processes)
    assert resident_kib(pids) == 0


def test_one_that_does_not_come_up_ends_the_others_and_is_quoted(tmp_path: Path) -> None:
    ports = Ports()
    good = listener(ports.take())
    bad = Process((sys.executable, "-c", "raise SystemExit('no such option')"), ports.take())
    with (
        pytest.raises(BenchError, match=r"(?s)does not listen on .*no such option"),
        running([bad, good], CORE, tmp_path / "log"),
    ):
        pytest.fail("must not come here")
    assert not is_listening(good.port)


def test_a_core_that_is_not_ours_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(BenchError, match="core 1 may not be used"):
        measure.check_cores()
