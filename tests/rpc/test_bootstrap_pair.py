"""RPC from Envoy's bootstrap files alone: two sidecars, mutual TLS between them, no control plane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rpc_bolt import Answer, ask, called, request
from rpc_bootstrap import (
    TYPE,
    chain,
    check,
    cluster,
    described,
    first_of,
    listener,
    table,
    to,
    when,
    write,
    write_caller,
    write_pair,
    write_server,
)

from mainstay.protocols.read import shipped_texts
from mainstay.sidecar.bootstrap.read import read_bootstrap
from waiting import until

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
        request(3, "shop.Cart:1.0", "add", b"", **{"X-User": "kim"}),
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


NOT_SENT = 8
"""Bolt's status of a call that could not be sent."""
PREVIOUS_HOSTS = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {"@type": TYPE + "retry.host.previous_hosts.v3.PreviousHostsPredicate"},
}
ISTIOS_RETRIES = {
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    "retriable_status_codes": [503],
    "num_retries": 2,
    "retry_host_predicate": [PREVIOUS_HOSTS],
    "host_selection_retry_max_attempts": 5,
}
"""What the control plane gives routes that say nothing."""


def test_calls_to_an_application_that_is_down_go_to_another(
    start: Start, serve: Serve, ports: Ports, leaves: Any, tmp_path: Path
) -> None:
    port, dead, alive = ports(), ports(), ports()
    start("mainstay", write_server(tmp_path / "dead.yaml", "bolt", dead, ports(), leaves), dead)
    application = serve(called("alive"))
    start("mainstay", write_server(tmp_path / "alive.yaml", "bolt", alive, application.port, leaves), alive)
    only = when(check("method", exact="only"), to("dead"))
    beside = {
        "@type": "type.googleapis.com/envoy.config.route.v3.Route",
        "route": {"retry_policy": ISTIOS_RETRIES},
    }
    routes = table(first_of(only, otherwise=to("both", per_filter_config={"mainstay.route": beside})))
    upstreams = {"both": [dead, alive], "dead": [dead]}
    start("mainstay", write_caller(tmp_path / "caller.yaml", "bolt", port, upstreams, routes, leaves), port)
    for number in range(1, 21):
        assert ask(port, request(number, "shop.Cart:1.0", "add")) == [Answer(number, 0, b"alive add ")]
    [told] = ask(port, request(1, "shop.Cart:1.0", "only"))
    assert told.status == NOT_SENT, "where nobody else is, the caller hears that nothing was sent"


def write_resource(path: Path, kind: str, resource: dict[str, Any]) -> None:
    """A file that is a source, exchanged as a whole."""
    url = f"type.googleapis.com/envoy.{kind}"
    aside = path.with_suffix(".new")
    aside.write_text(yaml.safe_dump({"resources": [{"@type": url, **resource}]}))
    aside.rename(path)


def test_routes_from_a_file_are_followed_and_bad_ones_leave_the_last_good(
    start: Start, serve: Serve, ports: Ports, tmp_path: Path
) -> None:
    port = ports()
    clusters = [cluster(name, serve(called(name)).port) for name in ("one", "two")]
    file = tmp_path / "routes.yaml"
    kind = "extensions.filters.network.generic_proxy.v3.RouteConfiguration"
    write_resource(file, kind, table(first_of(otherwise=to("one"))))
    made = chain(described("bolt"), {})
    proxy = made["filters"][0]["typed_config"]
    del proxy["route_config"]
    source = {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
    proxy["generic_rds"] = {"route_config_name": "routes", "config_source": source}
    start("mainstay", write(tmp_path / "named.yaml", [listener(port, made)], clusters), port)

    def who() -> str:
        (found,) = ask(port, request(1, "shop.Cart:1.0", "add"))
        return found.body.decode().split()[0]

    assert who() == "one"
    write_resource(file, kind, table(first_of(otherwise=to("two"))))
    until(lambda: who() == "two", "the other one answers")
    write_resource(file, kind, table(first_of(when(check("method", regex="("), to("one")))))
    log = tmp_path / "named-mainstay.log"
    until(lambda: "refuse" in log.read_text(), log.read_text)
    assert who() == "two"


def test_a_new_version_of_a_description_is_taken_and_a_bad_one_is_not(
    start: Start, serve: Serve, ports: Ports, tmp_path: Path
) -> None:
    port, application = ports(), serve(called("app"))
    text = shipped_texts()["bolt"]
    file = tmp_path / "listeners.yaml"

    def show(description: str) -> None:
        routes = table(first_of(when(check("method", exact="m"), to("app"))))
        made = chain(described("bolt", description), routes)
        write_resource(file, "config.listener.v3.Listener", {**listener(port, made), "name": "rpc"})

    def statuses() -> list[int]:
        return [found.status for found in ask(port, request(1, "s:1.0", "m"), request(2, "s:1.0", "none"))]

    show(text)
    source = {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
    bootstrap = write(tmp_path / "lds.yaml", [], [cluster("app", application.port)])
    document = yaml.safe_load(bootstrap.read_text()) | {"dynamic_resources": {"lds_config": source}}
    bootstrap.write_text(yaml.safe_dump(document))
    start("mainstay", bootstrap, port)
    assert statuses() == [0, 6]
    log = tmp_path / "lds-mainstay.log"
    show(text.replace("detection: certain", "detection: sometimes"))
    until(lambda: "spec.detection" in log.read_text(), log.read_text)
    assert statuses() == [0, 6]
    # What callers are told of a method that nobody has is another number in the new version.
    show(text.replace("{outcome: notFound, status: 6}", "{outcome: notFound, status: 66}"))
    until(lambda: statuses() == [0, 66], "the routes of the file")


def test_the_file_of_the_page_is_taken(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "rpc-over-xds.md").read_text()
    text = page.split("```yaml rpc.yaml\n")[1].split("```")[0]
    file = tmp_path / "rpc.yaml"
    file.write_text(text)
    found = read_bootstrap(file, "1")
    assert {each.resource.name for each in found.static} == {"rpc", "plain", "canary"}
