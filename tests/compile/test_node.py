"""Nodes as proxies."""

import pytest

from mainstay.compile.node import proxy_of_node
from mainstay.model.key import labels_of
from mainstay.model.rpc import RpcProtocol

ID = "sidecar~10.0.0.1~front-1.shop~shop.svc.cluster.local"


def test_node_of_a_sidecar() -> None:
    metadata = {
        "NAMESPACE": "web",
        "LABELS": {"b": "2", "a": "1"},
        "INSTANCE_IPS": "10.0.0.1,::1",
        "INTERCEPTION_MODE": "NONE",
    }
    proxy = proxy_of_node(ID, metadata, "mainstay/0.1")
    assert (proxy.kind, proxy.namespace, proxy.interception) == ("sidecar", "web", "NONE")
    assert proxy.labels == labels_of({"a": "1", "b": "2"})
    assert proxy.addresses == ("10.0.0.1", "::1")
    assert proxy.capability.h2_tunnel


def test_a_sidecar_tells_which_protocols_it_has_and_an_older_one_has_fewer() -> None:
    told = proxy_of_node(ID, {"MAINSTAY_PROTOCOLS": "tars,bolt"}, "mainstay/2").capability
    older = proxy_of_node(ID, {}, "mainstay/1").capability
    names = ("bolt", "tars", "thrift-compact")
    assert [told.speaks(RpcProtocol(name)) for name in names] == [True, True, False]
    assert [older.speaks(RpcProtocol(name)) for name in names] == [True, False, False]
    assert older.speaks(RpcProtocol("tars", "its description")), "which is sent along"


def test_defaults_are_istios() -> None:
    proxy = proxy_of_node(ID.replace("sidecar", "router"), {}, "envoy")
    assert (proxy.kind, proxy.namespace, proxy.interception) == ("gateway", "shop", "REDIRECT")
    assert proxy.addresses == ("10.0.0.1",)
    assert not proxy.capability.h2_tunnel


@pytest.mark.parametrize(
    ("node_id", "metadata", "reason"),
    [
        ("", {}, "node id"),
        ("sidecar~a~b", {}, "node id"),
        ("ztunnel~a~b.c~d", {}, "node id"),
        ("sidecar~a~b~d", {}, "names no workload"),
        (ID, {"INTERCEPTION_MODE": "TPROXY"}, "INTERCEPTION_MODE"),
        (ID, {"LABELS": "app=front"}, "LABELS"),
    ],
)
def test_node_that_says_something_else_is_refused(
    node_id: str, metadata: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        proxy_of_node(node_id, metadata, "envoy")
