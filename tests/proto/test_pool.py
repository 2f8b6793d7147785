"""Our subset of Envoy's types: complete, private, and what the script writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mainstay._proto import pool

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import build_proto  # noqa: E402


def test_the_file_is_what_the_script_writes() -> None:
    assert build_proto.TARGET.read_bytes() == build_proto.build(), "run tools/build_proto.py"


@pytest.mark.parametrize("name", build_proto.ROOTS)
def test_every_root_can_be_made_and_read(name: str) -> None:
    message = pool.message_class(name)()
    assert pool.parse(name, message.SerializeToString()) == message


def test_nothing_reaches_the_default_pool_and_no_package_is_needed() -> None:
    program = """
import sys
from mainstay._proto import pool
from google.protobuf import descriptor_pool
pool.message_class("envoy.config.cluster.v3.Cluster")(name="a")
try:
    descriptor_pool.Default().FindMessageTypeByName("envoy.config.cluster.v3.Cluster")
    sys.exit("registered in the default pool")
except KeyError:
    pass
found = sorted({name.split(".")[0] for name in sys.modules} & {"envoy", "xds", "udpa", "validate", "asyncio", "ssl", "grpc"})
sys.exit(f"imported {found}" if found else 0)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_any_is_opened_with_the_private_pool() -> None:
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    value = {"typed_config": {"@type": f"{pool.TYPE_URL}{manager}", "stat_prefix": "in"}, "name": "hcm"}
    message = pool.from_json("envoy.config.listener.v3.Filter", value)
    opened = pool.unpack(message.typed_config)
    assert opened is not None
    assert opened.stat_prefix == "in"
    assert pool.to_json(message) == value


def test_what_does_not_fit_says_where() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        pool.from_json("envoy.config.cluster.v3.Cluster", {"nonsense": 1})
    with pytest.raises(ValueError, match=r"not a envoy\.config"):
        pool.parse("envoy.config.cluster.v3.Cluster", b"\xff\xff")
    assert not pool.knows("envoy.nothing.Here")
