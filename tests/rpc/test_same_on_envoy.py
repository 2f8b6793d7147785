"""One Dubbo bootstrap on real Envoy and on Mainstay: the same trees of matchers send the same calls to the same clusters.

Inputs that Envoy's Dubbo codec reads otherwise are left out: its path is the service alone.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rpc_dubbo as dubbo
from rpc_bootstrap import (
    ENVOY_DUBBO,
    PROXY,
    TYPE,
    Fields,
    chain,
    check,
    cluster,
    first_of,
    listener,
    table,
    to,
    when,
    write,
    write_pair,
)

from waiting import until

if TYPE_CHECKING:
    from engine_live import Server

pytestmark = pytest.mark.envoy

Start = Callable[[str, Path, int], None]
Serve = Callable[..., "Server"]
Ports = Callable[[], int]

CLUSTERS = ("red", "green", "blue")
METHODS = ("add", "adder", "remove", "")
VALUES = (None, "", "a", "ab", "B")
"""Of the property `x`; `None`: it is absent."""
TREES = 80


class Trees:
    """Trees of matchers, always the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def matcher(self, depth: int = 0) -> Fields:
        made = self._map(depth) if self._random.random() < 0.3 else self._list(depth)
        return made if self._random.random() < 0.5 else {**made, "on_no_match": self._then(depth)}

    def _list(self, depth: int) -> Fields:
        entries = [when(self._predicate(), self._then(depth)) for _ in range(self._random.randint(1, 3))]
        return first_of(*entries)

    def _map(self, depth: int) -> Fields:
        kind, keys = self._random.choice(
            [
                ("exact_match_map", ["add", "a", "remove"]),
                ("prefix_match_map", ["a", "ad", "adder", "r"]),
            ]
        )
        chosen = self._random.sample(keys, self._random.randint(1, len(keys)))
        entries = {key: self._then(depth) for key in chosen}
        return {"matcher_tree": {"input": self._input(), kind: {"map": entries}}}

    def _then(self, depth: int) -> Fields:
        if depth < 2 and self._random.random() < 0.4:
            return {"matcher": self.matcher(depth + 1)}
        return to(self._random.choice(CLUSTERS))

    def _input(self) -> Fields:
        found: Fields = check(self._random.choice(["method", "x"]), exact="")["single_predicate"]["input"]
        return found

    def _predicate(self, depth: int = 0) -> Fields:
        kind = self._random.choice(["one"] * 5 + ["not", "or", "and", "request"]) if depth < 2 else "one"
        match kind:
            case "not":
                return {"not_matcher": self._predicate(depth + 1)}
            case "or" | "and":
                several = [self._predicate(depth + 1) for _ in range(2)]
                return {f"{kind}_matcher": {"predicate": several}}
            case "request":
                return self._whole()
        return check(self._random.choice(["method", "x", "host"]), **self._pattern())

    def _pattern(self) -> Fields:
        text = self._random.choice(["a", "ad", "add", "b", "r", "shop"])
        kind = self._random.choice(["exact", "prefix", "suffix", "contains", "regex"])
        if kind == "regex":
            return {"regex": self._random.choice([f"{text}.*", ".*", "[^d]*", f"(?i){text}|", "[a-z]+"])}
        if self._random.random() < 0.2:
            return {kind: text.upper(), "ignore_case": True}
        return {kind: text}

    def _whole(self) -> Fields:
        config: Fields = {"@type": f"{PROXY}matcher.v3.RequestMatcher", "method": {"prefix": "a"}}
        if self._random.random() < 0.7:
            config["properties"] = [{"name": "x", "string_match": {"prefix": "a"}}]
        whole = {"name": "request", "typed_config": {"@type": f"{PROXY}matcher.v3.RequestMatchInput"}}
        custom = {"name": "request", "typed_config": config}
        return {"single_predicate": {"input": whole, "custom_match": custom}}


def routes() -> Fields:
    """A tree for each service, wildcards, and one for all other services."""
    trees = Trees(20_26)
    hosts = {f"shop.S{number}": trees.matcher() for number in range(TREES)}
    hosts |= {
        "*.cart": first_of(otherwise=to("red")),
        "*.big.cart": first_of(otherwise=to("green")),
        "shop.*": first_of(otherwise=to("blue")),
    }
    return table(trees.matcher(), hosts)


def calls() -> list[tuple[str, str, str | None]]:
    services = [f"shop.S{number}" for number in range(TREES)]
    found = list(itertools.product(services, METHODS, VALUES))
    others = ("a.cart", "a.big.cart", ".cart", "shop.x", "shop.", "SHOP.S1", "shop.s1", "else", "a.CART")
    return found + [(service, "add", "a") for service in others]


@pytest.fixture
def upstreams(serve: Serve) -> dict[str, int]:
    return {name: serve(dubbo.called(name)).port for name in CLUSTERS}


def test_trees_of_matchers_decide_as_envoys_do(
    start: Start, ports: Ports, upstreams: dict[str, int], tmp_path: Path
) -> None:
    clusters = [cluster(name, port) for name, port in upstreams.items()]
    answers = {}
    for kind in ("envoy", "mainstay"):
        port = ports()
        file = write(tmp_path / f"{kind}.yaml", [listener(port, chain(ENVOY_DUBBO, routes()))], clusters)
        start(kind, file, port)
        requests = [
            dubbo.request(number, service, method, {} if value is None else {"x": value})
            for number, (service, method, value) in enumerate(calls())
        ]
        answers[kind] = dubbo.ask(port, *requests)
    seen = zip(calls(), answers["envoy"], answers["mainstay"], strict=True)
    differing = [(call, theirs, ours) for call, theirs, ours in seen if theirs.text != ours.text]
    assert not differing, f"{len(differing)} of {len(calls())}: {differing[:5]}"
    assert {answer.text for answer in answers["envoy"]} == {*CLUSTERS, ""}


FORMAT = (
    "%PROTOCOL% %HOST% %PATH% %METHOD% %GENERIC_RESPONSE_CODE% %REQUEST_PROPERTY(x)% %REQUEST_PROPERTY(host)% "
    "%REQUEST_PROPERTY(x?method)% %RESPONSE_PROPERTY(x)% %UPSTREAM_CLUSTER%\n"
)


def test_a_format_of_envoys_gives_the_same_line(
    start: Start, ports: Ports, upstreams: dict[str, int], tmp_path: Path
) -> None:
    lines = {}
    for kind in ("envoy", "mainstay"):
        port, log = ports(), tmp_path / f"{kind}.log"
        to_file = {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": TYPE + "access_loggers.file.v3.FileAccessLog",
                "path": str(log),
                "log_format": {"text_format_source": {"inline_string": FORMAT}},
            },
        }
        made = chain(ENVOY_DUBBO, table(first_of(otherwise=to("red"))), access_log=[to_file])
        file = write(tmp_path / f"{kind}.yaml", [listener(port, made)], [cluster("red", upstreams["red"])])
        start(kind, file, port)
        dubbo.ask(port, dubbo.request(1, "shop.Cart", "add", {"x": "a", "host": "b"}))
        dubbo.ask(port, dubbo.request(2, "shop.Cart", "remove"))

        def is_written(log: Path = log) -> bool:
            return log.exists() and log.read_text().count("\n") == 2

        until(is_written, f"{kind} writes two lines")
        lines[kind] = log.read_text().splitlines()
    assert lines["mainstay"] == lines["envoy"]
    assert lines["mainstay"] == [
        "dubbo shop.Cart shop.Cart add 20 a b - - red",
        "dubbo shop.Cart shop.Cart remove 20 - - - - red",
    ]


@pytest.mark.parametrize(("caller", "server"), [("mainstay", "envoy"), ("envoy", "mainstay")])
def test_one_of_a_pair_may_be_envoy(
    caller: str, server: str, start: Start, serve: Serve, ports: Ports, leaves: Any, tmp_path: Path
) -> None:
    application, port, between = serve(dubbo.called("app")), ports(), ports()
    pair = write_pair(tmp_path, "dubbo", port, between, application.port, leaves, codec=ENVOY_DUBBO)
    start(server, pair.server, between)
    start(caller, pair.caller, port)
    calls = [dubbo.request(number, "shop.Cart", "add", {"x": "a"}) for number in range(1, 21)]
    assert dubbo.ask(port, *calls) == [dubbo.Answer(number, dubbo.OK, "app") for number in range(1, 21)]
