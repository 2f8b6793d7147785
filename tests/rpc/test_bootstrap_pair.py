"""RPC from Envoy's bootstrap files alone: two sidecars, mutual TLS between them, no control plane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpc_bolt import Answer, ask, called, request
from rpc_bootstrap import check, first_of, table, to, when, write_caller, write_pair, write_server

if TYPE_CHECKING:
    from engine_live import Server

Start = Callable[[str, Path, int], None]
Serve = Callable[..., "Server"]
Ports = Callable[[], int]


def test_bolt_crosses_two_sidecars_with_mutual_tls(
    start: Start, serve: Serve, ports: Ports, leaves: Any, tmp_path: Path
) -> None:
    application, port, between = serve(called("app")), ports(), ports()
    pair = write_pair(tmp_path, "bolt", port, between, application.port, leaves)
    start("mainstay", pair.server, between)
    start("mainstay", pair.caller, port)
    found = ask(port, *(request(number, "shop.Cart:1.0", "add", b"tea") for number in range(1, 51)))
    assert found == [Answer(number, 0, b"app add tea") for number in range(1, 51)]
    # Nobody comes in without a certificate.
    assert application.accepted == 1


def test_calls_go_by_service_method_and_header(
    start: Start, serve: Serve, ports: Ports, leaves: Any, tmp_path: Path
) -> None:
    port, inbound = ports(), {name: ports() for name in ("plain", "canary", "writes")}
    for name, between in inbound.items():
        application = serve(called(name))
        file = write_server(tmp_path / f"{name}.yaml", "bolt", between, application.port, leaves)
        start("mainstay", file, between)
    cart = first_of(
        when(check("x-user", exact="kim"), to("canary")),
        when(check("method", regex="add|remove"), to("writes")),
        otherwise=to("plain"),
    )
    routes = table(first_of(), {"shop.Cart:1.0": cart})
    upstreams = {name: [between] for name, between in inbound.items()}
    file = write_caller(tmp_path / "caller.yaml", "bolt", port, upstreams, routes, leaves)
    start("mainstay", file, port)
    found = ask(
        port,
        request(1, "shop.Cart:1.0", "add"),
        request(2, "shop.Cart:1.0", "list"),
        request(3, "shop.Cart:1.0", "add", **{"X-User": "kim"}),
        request(4, "shop.Cart:1.0", "adder"),
        request(5, "shop.cart:1.0", "add"),
    )
    assert [(answer.status, answer.body) for answer in found[:4]] == [
        (0, b"writes add "),
        (0, b"plain list "),
        (0, b"canary add "),
        (0, b"plain adder "),
    ]
    assert found[4].status != 0
