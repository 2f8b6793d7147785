"""The rows are whole: their bars are about figures and peers that they have, and their configuration can be made."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from bench.certificates import Certificates
from bench.rows import ROWS
from bench.traffic import Traffic

from bench import peers, transport
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
        assert {bar.peer for bar in row.bars} <= {*traffic.setup.peers}
        assert (peers.CONFIGS / f"{traffic.setup.template}.envoy.yaml").exists()


@pytest.mark.parametrize("name", SPEECHES)
@pytest.mark.parametrize("template", ["bare", "features"])
def test_mainstay_takes_each_file_as_it_stands(template: str, name: str, tmp_path: Path) -> None:
    hop = peers._Hop(20_000, 20_001, speech(name, tmp_path))
    command = peers.command("mainstay", template, hop, tmp_path / "a")
    config = Path(command[command.index("--bootstrap") + 1])
    assert read_bootstrap(config, "test").static
    assert yaml.safe_load(config.read_text())["static_resources"]["listeners"]


def test_envoy_and_mainstay_get_the_same_file(tmp_path: Path) -> None:
    hop = peers._Hop(20_000, 20_001, transport.clear())
    texts = []
    for name in ("envoy", "mainstay"):
        peers.command(name, "features", hop, tmp_path / name)
        texts.append((tmp_path / f"{name}.envoy.yaml").read_text())
    assert texts[0] == texts[1]
