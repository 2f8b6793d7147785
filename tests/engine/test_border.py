"""The border itself: its stub, its keys, its timers and signals, and what a fork leaves of it."""

from __future__ import annotations

import ast
import inspect
import os
import signal
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from engine_live import Live

from mainstay import _engine
from mainstay.engine import EngineError, GrpcClosed, Signal, Timer

STUB = Path(_engine.__file__).with_name("_engine.pyi")


def test_the_stub_says_what_the_module_has() -> None:
    nodes = ast.parse(STUB.read_text()).body
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    assert set(classes) | functions == {name for name in vars(_engine) if not name.startswith("_")}
    stub = {
        node.name: [argument.arg for argument in node.args.args]
        for node in classes["Engine"].body
        if isinstance(node, ast.FunctionDef) and node.name != "__init__"
    }
    module = {
        name: list(inspect.signature(member).parameters)
        for name, member in vars(_engine.Engine).items()
        if not name.startswith("_")
    }
    assert stub == module


def test_keys_stay_inside_unless_exported() -> None:
    engine = Live().engine
    key = engine.generate_key()
    request = x509.load_der_x509_csr(engine.make_csr(key, "spiffe://cluster.local/ns/shop/sa/cart"))
    assert request.is_signature_valid
    exported = engine.export_key(key)
    again = engine.import_key(exported)
    assert again != key
    public = serialization.load_pem_private_key(exported, None).public_key()
    assert public == request.public_key()
    engine.forget_key(key)
    with pytest.raises(EngineError, match="not there"):
        engine.export_key(key)
    with pytest.raises(EngineError):
        engine.import_key(b"nonsense")
    engine.shutdown(1_000)


def test_timers_come_back_in_order_and_move() -> None:
    live = Live()
    live.engine.set_timer(3_600_000, 1)
    live.engine.set_timer(20, 2)
    live.engine.set_timer(1, 1)
    assert [live.event(Timer), live.event(Timer)] == [Timer(1), Timer(2)]
    live.engine.shutdown(1_000)


def test_signals_come_back_as_events() -> None:
    live = Live()
    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    former = signal.set_wakeup_fd(live.engine.signal_descriptor(), warn_on_full_buffer=False)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert live.event(Signal) == Signal(signal.SIGUSR1)
    finally:
        signal.set_wakeup_fd(former)
        signal.signal(signal.SIGUSR1, handler)
        live.engine.shutdown(1_000)


def test_a_call_on_no_cluster_is_closed_at_once() -> None:
    live = Live()
    call = live.engine.open_grpc("nowhere", "/a.B/C")
    closed = live.event(GrpcClosed)
    assert isinstance(closed, GrpcClosed)
    assert (closed.call, closed.status) == (call, 14)
    live.engine.shutdown(1_000)


def test_what_is_refused_as_a_whole_raises() -> None:
    with pytest.raises(EngineError, match="workers"):
        Live(workers=0)
    live = Live()
    with pytest.raises(EngineError, match="scope"):
        live.engine.drain("outbound", 0, 0)  # type: ignore[arg-type]
    live.engine.shutdown(1_000)


def test_a_forked_child_only_gets_errors() -> None:
    live = Live()
    child = os.fork()
    if child == 0:
        try:
            live.engine.wait(0)
        except EngineError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    live.engine.shutdown(1_000)
