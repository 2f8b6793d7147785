"""What an agent starts with: Envoy found or missed in plain words, settings that fit together, bootstraps, Envoy's own pages."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainstay.identity.join_wire import BundleAnswer, Joined
from mainstay.settings.define import OperatorError
from mainstay.settings.load import load
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar.agent import admin
from mainstay.sidecar.agent.envoy_bootstrap import envoy_bootstrap
from mainstay.sidecar.agent.files import CertificateFiles
from mainstay.sidecar.agent.find import find_envoy
from mainstay.sidecar.agent.grpc_bootstrap import grpc_bootstrap
from mainstay.sidecar.agent.process import leaf_of
from mainstay.sidecar.agent.start import make_beside
from mainstay.sidecar.health import PROXY_NOT_READY, Health
from mainstay.xds.client.types import HealthChanged

SERVER = "spiffe://cluster.local/ns/mainstay-system/sa/mainstay-control-plane"


def settings(*flags: str) -> SidecarSettings:
    given = ("--workload", "cart", "--namespace", "shop", "--control-plane-address", "127.0.0.1:15012")
    return load(SidecarSettings, "sidecar", [*given, *flags], {}).settings


def joined(chain: str = "", roots: str = "") -> Joined:
    bundle = BundleAnswer("cluster.local", (roots,), SERVER)
    return Joined("spiffe://cluster.local/ns/shop/sa/carts", chain, bundle, 0, 1, "shop/carts")


def program(folder: Path, says: str, status: int = 0) -> Path:
    path = folder / "envoy"
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


# --- finding Envoy ------------------------------------------------------------------------------------------------


def test_envoy_is_found_in_path_or_where_it_is_said_to_be(tmp_path: Path) -> None:
    path = program(tmp_path, "envoy  version: 1a2b/1.40.0/Clean/RELEASE/BoringSSL")
    assert find_envoy(None, {"PATH": str(tmp_path)}).path == str(path)
    assert find_envoy(path, {}).version == "1.40.0"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "no program envoy in PATH"),
        (
            lambda folder: program(folder, "envoy  version: 1a/1.29.12/Clean/RELEASE/BoringSSL"),
            "1.29.12, which is too old",
        ),
        (lambda folder: program(folder, "something else 2.0"), "'something else 2.0'"),
        (lambda folder: program(folder, "cannot load libfoo", 127), "'cannot load libfoo'"),
    ],
)
def test_what_is_wrong_with_envoy_is_said_with_a_remedy(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    make(tmp_path)
    with pytest.raises(OperatorError) as caught:
        find_envoy(None, {"PATH": str(tmp_path)})
    assert words in str(caught.value)
    assert "--proxy-path" in str(caught.value)


def test_a_named_envoy_that_is_not_there_is_not_replaced_by_another(tmp_path: Path) -> None:
    program(tmp_path, "envoy  version: 1a2b/1.40.0/Clean/RELEASE/BoringSSL")
    with pytest.raises(OperatorError, match=r"--proxy-path: .*nowhere is no program"):
        find_envoy(tmp_path / "nowhere", {"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("verb", "flags", "words"),
    [
        ("sidecar", ("--proxy", "envoy"), "needs --data"),
        ("sidecar", ("--proxy", "grpc"), "needs --data"),
        ("gateway", ("--proxy", "grpc", "--data", "x"), "is no gateway"),
        ("sidecar", ("--proxy", "envoy", "--data", "x", "--metrics-port", "0"), "needs a --metrics-port"),
        ("sidecar", ("--proxy", "grpc", "--data", "x", "--control-plane-insecure"), "TLS port"),
        ("sidecar", ("--proxy", "envoy", "--data", "x", "--bootstrap", "y"), "exclude each other"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(verb: str, flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(OperatorError) as caught:
        make_beside(settings(*flags), verb, "1", lambda: 0)
    assert words in str(caught.value)
    assert caught.value.code == 2


# --- bootstraps ---------------------------------------------------------------------------------------------------


@pytest.mark.envoy
@pytest.mark.parametrize("verb", ["sidecar", "gateway"])
@pytest.mark.parametrize("address", ["127.0.0.1:15012", "control.example:15012"])
def test_envoy_takes_its_bootstrap(tmp_path: Path, mesh_leaf: Any, verb: str, address: str) -> None:
    CertificateFiles(tmp_path).publish(leaf_of(joined(mesh_leaf.chain, mesh_leaf.roots), mesh_leaf.key))
    flags = ("--control-plane-address", address, "--max-connections", "1000", "--locality", "eu/a")
    made = envoy_bootstrap(settings("--proxy", "envoy", *flags), verb, "1", joined())
    (tmp_path / "bootstrap.json").write_text(json.dumps(made))
    command = [
        os.environ["MAINSTAY_TEST_ENVOY"],
        "--mode",
        "validate",
        "-c",
        "bootstrap.json",
        "-l",
        "warning",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_bootstraps_hold_no_key_and_say_who_the_proxy_is(tmp_path: Path, mesh_leaf: Any) -> None:
    files = CertificateFiles(tmp_path)
    given = joined(mesh_leaf.chain, mesh_leaf.roots)
    for software, made in (
        ("envoy", envoy_bootstrap(settings("--proxy", "envoy", "--group", "carts"), "sidecar", "1", given)),
        ("grpc", grpc_bootstrap(settings("--proxy", "grpc", "--group", "carts"), "1", given, files)),
    ):
        assert "PRIVATE KEY" not in json.dumps(made)
        node = made["node"]
        assert node["id"] == "sidecar~127.0.0.1~cart.shop~shop.svc.cluster.local"
        assert node["metadata"]["MAINSTAY_AGENT"] == software
        assert node["metadata"]["SERVICE_ACCOUNT"] == "carts", "the certificate's, not what was said"
        assert "AUTO_REGISTER_GROUP" not in node["metadata"], "its agent registers"


def test_envoy_verifies_the_control_plane_by_its_spiffe_id() -> None:
    made = envoy_bootstrap(settings("--proxy", "envoy"), "sidecar", "1", joined())
    [cluster] = [each for each in made["static_resources"]["clusters"] if each["name"] == "xds-grpc"]
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]["combined_validation_context"]
    [name] = context["default_validation_context"]["match_typed_subject_alt_names"]
    assert name == {"san_type": "URI", "matcher": {"exact": SERVER}}


# --- Envoy's admin pages ------------------------------------------------------------------------------------------


def answer_once(path: Path, answer: bytes) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)

    def serve() -> None:
        connection, _ = server.accept()
        with connection, server:
            connection.recv(4096)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()


def test_chunked_answers_are_joined(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    answer_once(tmp_path / "admin.sock", head + b"4\r\nLIVE\r\n1\r\n\n\r\n0\r\n\r\n")
    assert admin.ask(tmp_path / "admin.sock", "GET", "/ready", 5) == (200, "LIVE\n")


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"HTTP/1.1 two\r\n\r\n"])
def test_what_is_no_answer_is_none(tmp_path: Path, answer: bytes) -> None:
    answer_once(tmp_path / "admin.sock", answer)
    with pytest.raises(admin.Unanswered):
        admin.ask(tmp_path / "admin.sock", "GET", "/ready", 5)


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(admin.Unanswered):
        admin.ask(tmp_path / "admin.sock", "GET", "/ready")
    with pytest.raises(admin.Unanswered):
        admin.ask(tmp_path / "no folder" / "admin.sock", "GET", "/ready")


STATS = """cluster.inbound|8000||.upstream_rq_active: 2
cluster.outbound|9000||prices.shop.svc.cluster.local.upstream_rq_active: 3
cluster.xds-grpc.upstream_rq_active: 1
cluster.prometheus_stats.upstream_rq_active: 1
cluster.inbound|8000||.upstream_rq_pending_active: 9
"""


@pytest.mark.parametrize(("scope", "active"), [("inbound", 2), ("process", 5)])
def test_what_is_under_way_is_counted_without_our_own(scope: str, active: int) -> None:
    assert admin.count_active(STATS, scope) == active


# --- health -------------------------------------------------------------------------------------------------------


def test_a_workload_whose_proxy_is_not_ready_is_not_reported_healthy() -> None:
    from mainstay.engine import EndpointHealth

    passes = EndpointHealth("probe|shop/carts", "127.0.0.1:80", True)
    health = Health(PROXY_NOT_READY)
    not_ready = HealthChanged(healthy=False, reason="the proxy is not ready")
    assert health.take(passes) == not_ready
    assert health.hindered("") == HealthChanged(healthy=True)
    assert health.hindered(PROXY_NOT_READY) == not_ready
    assert health.hindered("") == HealthChanged(healthy=True)


def test_without_a_probe_only_a_proxy_that_goes_is_told() -> None:
    health = Health(PROXY_NOT_READY)
    assert health.hindered("") is None
    assert health.hindered(PROXY_NOT_READY) == HealthChanged(healthy=False, reason="the proxy is not ready")
    assert health.hindered("") == HealthChanged(healthy=True)
