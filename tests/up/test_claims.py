"""Of two meshes that start at once, each address goes to one."""

from __future__ import annotations

import socket

import pytest

from mainstay.up.claims import Claims
from mainstay.up.file import Gateway, MeshFile, Workload
from mainstay.up.machine import look_at_machine
from mainstay.up.plan import plan

ADDRESS = "127.91.7.3"
pytestmark = pytest.mark.skipif(not look_at_machine().own_addresses, reason="the system has no 127.x.y.z")


def test_what_one_has_no_other_gets_until_its_end() -> None:
    with Claims() as first, Claims() as second:
        assert first.claim(ADDRESS)
        assert not second.claim(ADDRESS)
    with Claims() as third:
        assert third.claim(ADDRESS)


def test_no_port_of_an_application_is_in_its_way() -> None:
    with Claims() as claims, socket.create_server((ADDRESS, 14_999)):
        assert claims.claim(ADDRESS)


def test_two_plans_of_one_file_share_no_address() -> None:
    mesh = MeshFile(
        "twice", "/", workloads=(Workload("web", ("web",), instances=3),), gateways=(Gateway("edge"),)
    )

    def addresses(claims: Claims) -> set[str]:
        made = plan(mesh, look_at_machine(), claims.claim)
        return {*(each.address for each in made.instances), *(each.address for each in made.gateways)}

    with Claims() as first, Claims() as second:
        assert addresses(first).isdisjoint(addresses(second))
