"""Keys of the graph, as `mainstay why` tells them."""

from __future__ import annotations

from typing import Any

import pytest

from mainstay.compile.traits import ClusterTraits, OutboundTraits, VirtualOutboundTraits
from mainstay.control.objects import ObjectId
from mainstay.control.rest.show_key import show_key
from mainstay.model.endpoints import Health
from mainstay.model.key import ServiceKey, WorkloadKey

CART = ServiceKey("shop", "cart.shop.svc.cluster.local")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("a text", "a text"),
        (ObjectId("networking.istio.io", "Sidecar", "shop", "web"), "Sidecar/shop/web"),
        (WorkloadKey("shop", "web-1"), "shop/web-1"),
        (ClusterTraits("outbound|80||cart", CART), "outbound|80||cart"),
        (VirtualOutboundTraits(True), "passthrough"),
        (VirtualOutboundTraits(False), "not passthrough"),
        (
            OutboundTraits("0.0.0.0", 80, "shop", (CART,), labels=(("app", "web"),)),
            "address 0.0.0.0, port 80, namespace shop, services shop/cart.shop.svc.cluster.local, passthrough, labels app, web",
        ),
        (("shop", Health.DRAINING), "shop, draining"),
        (frozenset({"b", "a"}), "a, b"),
        (None, "None"),
    ],
)
def test_key_in_words(key: Any, words: str) -> None:
    assert show_key(key) == words
