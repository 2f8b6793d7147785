"""The rows are whole: their bars are about figures and peers that they have, and their configuration can be made."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml
from bench.__main__ import chosen
from bench.certificates import Certificates
from bench.measure import Drive, Ports
from bench.rows import ROWS, RPC_ROWS
from bench.rpc import PROTOCOLS, SERVICES
from bench.traffic import Traffic, drive_of

from bench import peers, transport
from mainstay.sidecar import plan
from mainstay.sidecar.bootstrap.read import read_bootstrap

SPEECHES = ("clear", "clear_http2", "outbound", "inbound")


def speech(name: str, folder: Path) -> dict[str, str]:
    if name in ("clear", "clear_http2"):
        made: dict[str, str] = getattr(transport, name)()
        return made
    certificates = Certificates.make(folder)
    if name == "outbound":
        return transport.outbound(certificates, http2=True)
    return transport.inbound(certificates)


@pytest.mark.parametrize("name", ROWS)
def test_bars_compare_peers_that_the_row_has(name: str) -> None:
    row = ROWS[name]
    traffic = getattr(row.measure, "args", (None,))[0]
    if isinstance(traffic, Traffic):
        assert {bar.peer for bar in row.bars if bar.peer} <= {*traffic.setup.peers}
        assert (peers.CONFIGS / f"{traffic.setup.template}.envoy.yaml").exists()


@pytest.mark.parametrize("name", SPEECHES)
@pytest.mark.parametrize("template", ["bare", "features"])
def test_mainstay_takes_each_file_as_it_stands(template: str, name: str, tmp_path: Path) -> None:
    hop = peers._Hop(20_000, 20_001, speech(name, tmp_path))
    command = peers.command("mainstay", peers.Setup(template), hop, tmp_path / "a")
    config = Path(command[command.index("--bootstrap") + 1])
    assert read_bootstrap(config, "test").static
    assert yaml.safe_load(config.read_text())["static_resources"]["listeners"]


def test_envoy_and_mainstay_get_the_same_file(tmp_path: Path) -> None:
    hop = peers._Hop(20_000, 20_001, transport.clear())
    texts = []
    for name in ("envoy", "mainstay"):
        peers.command(name, peers.Setup("features"), hop, tmp_path / name)
        texts.append((tmp_path / f"{name}.envoy.yaml").read_text())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("speech", PROTOCOLS)
def test_mainstay_takes_the_file_for_rpc(speech: str, pair: bool, tmp_path: Path) -> None:
    values = transport.inbound_rpc(Certificates.make(tmp_path)) if pair else transport.clear()
    hop = peers._Hop(20_000, 20_001, values, speech)
    command = peers.command("mainstay", peers.Setup("rpc"), hop, tmp_path / "a")
    made = read_bootstrap(Path(command[command.index("--bootstrap") + 1]), "test").static
    (body,) = [each.resource.body for each in made if each.resource.kind == "listener"]
    (chain,) = msgspec.msgpack.decode(body, type=plan.Listener).chains
    assert isinstance(chain.terminal, plan.HttpTerminal)
    manager = chain.terminal.manager
    (codec,) = manager.rpc
    assert isinstance(codec, plan.RpcDescribedCodec)
    assert (manager.protocol, codec.protocol.name) == ("rpc", PROTOCOLS[speech])
    assert (chain.tls is not None) == pair
    assert isinstance(manager.routes, plan.InlineRoutes)
    (called,) = [
        host for host in manager.routes.table.virtual_hosts if host.domains == (SERVICES[PROTOCOLS[speech]],)
    ]
    assert len(called.routes) == 50


def test_a_group_stands_for_its_rows() -> None:
    assert chosen(["rpc"]) == list(RPC_ROWS)
    assert chosen(["rpc-1", "tcp", "rpc-1"]) == ["rpc-1", "tcp"]
    assert not {*chosen([])} & {*RPC_ROWS}


def test_a_peer_named_after_a_protocol_is_driven_with_it() -> None:
    traffic = Traffic(peers.Setup("rpc", rpc="dubbo"), Drive(64), 128)
    assert drive_of(traffic, "bolt") == Drive(64, rpc="bolt", body=128)
    assert drive_of(traffic, "relay") == Drive(64, rpc="dubbo", body=128)


def test_a_peer_named_after_a_protocol_is_set_up_for_it(tmp_path: Path) -> None:
    setup = peers.Setup("rpc", ("bolt", "mainstay"), rpc="dubbo")
    for name, protocol in (("bolt", "bolt"), ("mainstay", "dubbo")):
        (made,) = peers.make_peers(setup, 20_001, Ports(), tmp_path, (name,))
        assert f"protocol: {protocol}" in (tmp_path / f"{name}-0.envoy.yaml").read_text()
        assert made.port == made.processes[0].port
