"""Lets the tests of this folder import their common parts by name."""

import sys
import time
from pathlib import Path

import pytest

from mainstay.identity import certificates
from mainstay.identity.authority import open_authority
from mainstay.identity.signer import LeafRequest
from mainstay.sidecar.agent.files import Leaf

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent / "golden"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


@pytest.fixture(scope="session")
def mesh_leaf(tmp_path_factory: pytest.TempPathFactory) -> Leaf:
    """A leaf as a mesh's authority signs it."""
    authority = open_authority(
        tmp_path_factory.mktemp("ca"), "cluster.local", lambda: time.time_ns() // 1_000_000
    )
    key = certificates.make_key()
    chain = authority.sign(LeafRequest("spiffe://cluster.local/ns/shop/sa/cart", key.public_key()))
    roots = "".join(authority.bundle().roots)
    return Leaf(chain.pem, certificates.pem_of_key(key).decode(), roots)
