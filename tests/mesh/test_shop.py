"""The shop, as `make demo` runs it: every protocol, every run-time, mutual TLS everywhere, a canary that moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.xdist_group("mesh"),
    pytest.mark.machine,
    pytest.mark.timeout(400),
]

INSIDE = {
    ("edge", "front"),
    *(("front", name) for name in ("catalogue", "reviews", "prices", "stock", "ledger")),
}


def test_the_shop_is_what_the_demo_promises(up: Callable[..., Any]) -> None:
    report = up("shop", "--for", "20s").report(300)
    assert report["unmet"] == [], report["progress"]
    assert report["code"] == 0

    pairs = {(pair["source"], pair["destination"]): pair for pair in report["pairs"]}
    assert all(pair["failures"] == 0 for pair in pairs.values())
    assert set(pairs) >= INSIDE
    assert all(pairs[key]["mtls"] is True for key in INSIDE)
    assert {pairs[key]["protocol"] for key in INSIDE} == {"http", "grpc", "bolt", "tcp"}

    [load] = report["load"]
    assert load["requests"] > 0
    assert load["failures"] == 0
    assert load["reported"] == load["requests"], (
        "the sidecars' figures and the load generator's own count agree"
    )

    shares = [
        event["versions"].get("v2", 0) / sum(event["versions"].values())
        for event in report["events"]
        if event["what"] == "split" and event["who"] == "front → reviews"
    ]
    assert len(shares) == 3, "before the canary's first step, between its steps, after them"
    by_customer = pairs["front", "stock"]["versions"]
    assert 0.2 < by_customer["v2"] / sum(by_customer.values()) < 0.3, (
        "every fourth call has the customer's header"
    )
    assert shares[0] < 0.3 < shares[1] < 0.7 < shares[2]
