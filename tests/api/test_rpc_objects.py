"""What is written about private RPC: ports, protocols, routes, and rules that have no meaning for calls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from api_reading import check, facts_of, refusals
from test_translate import an

from mainstay.model.protocol import PortProtocol
from mainstay.model.route import DirectResponse, Forward, RouteTable
from mainstay.model.rpc import RpcProtocol, detectable, settle_port
from mainstay.model.service import written_port
from mainstay.protocols.kind import shipped_protocols
from mainstay.protocols.read import read_descriptions

VOLT = (Path(__file__).resolve().parents[1] / "protocols" / "volt.yaml").read_text()
QUOTES = an("Service", "{ports: [{name: bolt, number: 12200}], selector: {app: quotes}}", "quotes")
MIXED = an(
    "Service",
    "{ports: [{name: bolt, number: 12200}, {name: http, number: 80}], selector: {app: quotes}}",
    "quotes",
)
KNOWN = {"bolt", "dubbo", "my-own", "thrift"}


@pytest.mark.parametrize(
    ("name", "app_protocol", "expected", "rpc"),
    [
        ("bolt", "", PortProtocol.RPC, "bolt"),
        ("bolt-orders", "", PortProtocol.RPC, "bolt"),
        ("Bolt-Orders", "", PortProtocol.RPC, "bolt"),
        ("my-own-port", "", PortProtocol.RPC, "my-own"),
        ("bolted", "", PortProtocol.AUTO, ""),
        ("rpc", "", PortProtocol.AUTO, ""),
        ("rpc", "Dubbo", PortProtocol.RPC, "dubbo"),
        ("rpc", "mainstay.dev/thrift", PortProtocol.RPC, "thrift"),
        ("bolt", "http", PortProtocol.HTTP, ""),
        ("http-bolt", "", PortProtocol.HTTP, ""),
        ("http", "dubbo", PortProtocol.RPC, "dubbo"),
        ("http", "unheard-of", PortProtocol.HTTP, ""),
        ("bolt", "unheard-of", PortProtocol.RPC, "bolt"),
        ("x", "rpc", PortProtocol.AUTO, ""),
    ],
)
def test_a_port_speaks_the_protocol_that_it_names(
    name: str, app_protocol: str, expected: PortProtocol, rpc: str
) -> None:
    port = settle_port(written_port(7000, name, app_protocol, 7000), KNOWN.__contains__)
    assert (port.protocol, port.rpc, port.claims) == (expected, rpc, ())


def test_a_protocol_becomes_a_document_that_reads_as_it_was_written() -> None:
    [fact] = facts_of(VOLT)
    assert isinstance(fact, RpcProtocol)
    (sent,), problems = read_descriptions([("sent", fact.description)])
    assert not problems
    (written,), _ = read_descriptions([("volt.yaml", VOLT)])
    assert (sent.name, sent.description) == ("volt", written.description)
    [again] = facts_of(VOLT.replace("  name: volt", "  name: volt\n  labels: {a: b}"))
    assert again == fact, "labels are nothing that a proxy has to know"


def test_of_protocols_that_begin_alike_the_older_is_detected() -> None:
    [young] = facts_of(VOLT.replace("name: volt", "name: ampere\n  creationTimestamp: 2026-02-01T00:00:00Z"))
    [old] = facts_of(VOLT.replace("name: volt", "name: volt\n  creationTimestamp: 2026-01-01T00:00:00Z"))
    assert isinstance(young, RpcProtocol)
    assert isinstance(old, RpcProtocol)
    found = [protocol.name for protocol in detectable([young, old, *shipped_protocols()])]
    assert found == ["bolt", "dubbo", "thrift", "thrift-compact", "volt"]


def test_a_route_without_destinations_keeps_calls_where_they_go() -> None:
    [table] = facts_of(
        an(
            "RPCRoute",
            "{parentRefs: [{name: quotes}], rules: [{retry: {attempts: 1, idempotent: true, outcomes: [timeout]}},"
            " {filters: [{type: Reply, reply: {outcome: notFound}}]}]}",
        )
    )
    assert isinstance(table, RouteTable)
    assert not table.http
    kept, answered = (rule.action for rule in table.rpc)
    assert isinstance(kept, Forward)
    assert kept.destinations[0].destination.host == "quotes.shop.svc.cluster.local"
    assert kept.retry.statuses == (504,)
    assert "reset" in kept.retry.retry_on
    assert answered == DirectResponse(404)


def test_a_route_of_another_namespace_counts_for_its_own_callers() -> None:
    producer, consumer = facts_of(
        an("RPCRoute", "{parentRefs: [{name: com.acme.Quotes:1.0}], rules: [{}]}", "one")
        + "---\n"
        + an("RPCRoute", "{parentRefs: [{name: quotes, namespace: bank}], rules: [{}]}", "two")
    )
    assert isinstance(producer, RouteTable)
    assert isinstance(consumer, RouteTable)
    assert (producer.key.host, producer.visible_to) == ("com.acme.Quotes:1.0", ("*",))
    assert (consumer.key.host, consumer.visible_to) == ("quotes.bank.svc.cluster.local", ("shop",))


def route(rule: str, parent: str = "{name: quotes}") -> str:
    return an("RPCRoute", f"{{parentRefs: [{parent}], rules: [{rule}]}}")


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        (route("{matches: [{method: {type: Exact}}]}"), "MS1010", "spec.rules[0].matches[0].method"),
        (
            route("{matches: [{method: {type: RegularExpression, service: '(a'}}]}"),
            "MS1102",
            "spec.rules[0].matches[0].method.service",
        ),
        (
            route("{matches: [{headers: [{name: a, value: b}, {name: A, value: c}]}]}"),
            "MS1107",
            "spec.rules[0].matches[0].headers[1].name",
        ),
        (route("{backendRefs: [{name: quotes, weight: 0}]}"), "MS1104", "spec.rules[0].backendRefs"),
        (route("{retry: {outcomes: [serverError]}}"), "MS1109", "spec.rules[0].retry.outcomes[0]"),
        (
            route("{filters: [{type: Reply, requestHeaderModifier: {}}]}"),
            "MS1106",
            "spec.rules[0].filters[0].type",
        ),
        (
            route("{filters: [{type: Reply, reply: {outcome: denied}}], backendRefs: [{name: quotes}]}"),
            "MS1106",
            "spec.rules[0].backendRefs",
        ),
        (
            route(
                "{backendRefs: [{name: quotes, filters: [{type: Reply, reply: {outcome: denied}}]}]}",
            ),
            "MS1106",
            "spec.rules[0].backendRefs[0].filters[0].type",
        ),
        (
            route("{timeouts: {request: 1s, backendRequest: 2s}}"),
            "MS1106",
            "spec.rules[0].timeouts.backendRequest",
        ),
        (route("{}", "{name: quotes}, {name: quotes}"), "MS1107", "spec.parentRefs[1]"),
        (VOLT.replace("name: volt", "name: http-2"), "MS1012", "metadata.name"),
        (VOLT.replace("id: call", "id: nothing"), "MS1112", "spec.id"),
    ],
)
def test_what_could_not_work_is_refused_at_its_place(text: str, code: str, path: str) -> None:
    assert [(problem.code, problem.path) for problem in refusals(text)] == [(code, path)]


def test_a_description_too_long_to_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.protocols.kind.MAX_DESCRIPTION", 1_000)
    (problem,) = refusals(VOLT)
    assert (problem.code, problem.path) == ("MS1005", "spec")
    assert re.fullmatch(r"the description has \d,\d{3} bytes", problem.reason)


def virtual(http: str) -> str:
    return an("VirtualService", f"{{hosts: [quotes], http: [{http}]}}")


TO_QUOTES = "route: [{destination: {host: quotes, port: {number: 12200}}}]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (QUOTES + "---\n" + virtual(f"{{match: [{{method: {{exact: POST}}}}], {TO_QUOTES}}}"), []),
        (
            QUOTES + "---\n" + virtual(f"{{match: [{{method: {{exact: GET}}}}], {TO_QUOTES}}}"),
            [("MS2007", "spec.http[0].match[0].method")],
        ),
        (
            QUOTES + "---\n" + virtual(f"{{match: [{{queryParams: {{a: {{exact: b}}}}}}], {TO_QUOTES}}}"),
            [("MS2007", "spec.http[0].match[0].queryParams")],
        ),
        (
            QUOTES + "---\n" + virtual("{redirect: {uri: /elsewhere}}"),
            [("MS2007", "spec.http[0].redirect")],
        ),
        (MIXED + "---\n" + virtual(f"{{match: [{{method: {{exact: GET}}}}], {TO_QUOTES}}}"), []),
        (
            MIXED + "---\n" + virtual(f"{{match: [{{method: {{exact: GET}}, port: 12200}}], {TO_QUOTES}}}"),
            [("MS2007", "spec.http[0].match[0].method")],
        ),
        (
            QUOTES + "---\n" + route("{backendRefs: [{name: quotes, subset: v9}]}"),
            [("IST0101", "spec.rules[0].backendRefs[0].subset")],
        ),
        (QUOTES + "---\n" + route("{}", "{name: quots}"), [("IST0101", "spec.parentRefs[0].name")]),
        (QUOTES + "---\n" + route("{}", "{name: quotes, port: 1}"), [("MS2003", "spec.parentRefs[0].port")]),
        (MIXED + "---\n" + route("{}", "{name: quotes, port: 80}"), [("MS2007", "spec.parentRefs[0]")]),
        (MIXED + "---\n" + route("{}"), []),
        (
            QUOTES.replace("bolt", "volt") + "---\n" + route("{}"),
            [("IST0101", "spec.parentRefs[0]")],
        ),
        (VOLT + "---\n" + QUOTES.replace("bolt", "volt") + "---\n" + route("{}"), []),
        (route("{}", "{name: com.acme.Quotes:1.0}"), []),
    ],
)
def test_what_does_not_fit_the_services_is_reported(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(problem.code, problem.path) for problem in check(text)] == expected
