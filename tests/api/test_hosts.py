"""Hosts in the one form they have in keys: DNS names in lower case, names of RPC services as calls carry them."""

from __future__ import annotations

import pytest

from mainstay.api.hosts import bare_host, complete_host, is_rpc_service
from mainstay.api.kind import Defaults


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Reviews.Shop.", "reviews.shop"),
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("com.acme.Quotes:1.0", "com.acme.Quotes:1.0"),
        ("Quotes:v1", "Quotes:v1"),
        ("com.acme.Quotes:1.0:group", "com.acme.Quotes:1.0:group"),
        ("::1", "::1"),
        ("*.shop", "*.shop"),
    ],
)
def test_a_host_has_one_form(text: str, host: str) -> None:
    assert complete_host(bare_host(text), "shop", Defaults()) == host


@pytest.mark.parametrize(
    "text", ["reviews:9080", "127.0.0.1:80", "fe80::1", "a b:1.0", "*:1.0", "quotes", "a|b:1.0"]
)
def test_what_is_no_name_of_an_rpc_service(text: str) -> None:
    assert not is_rpc_service(text)
