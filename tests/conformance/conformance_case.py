"""Cases as data: a file of YAML holds one subject, and becomes one bootstrap that Envoy and Mainstay are both started from.

In: `cases/*.yaml`. Out: frozen cases, or an error that names file, case and field. What each field means is told in `README.md`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CASES = Path(__file__).resolve().parent / "cases"
_FILE_KEYS = {"subject", "manager", "cases"}
_CASE_KEYS = {
    "name",
    "source",
    "routes",
    "route",
    "host",
    "manager",
    "route_config",
    "filters",
    "listener",
    "tls",
    "tcp",
    "network_filters",
    "chains",
    "log",
    "log_filter",
    "upstreams",
    "clusters",
    "exchanges",
    "request",
    "talk",
    "client",
    "connection",
    "repeat",
    "together",
    "expect",
    "then",
    "mainstay",
}
_EXCHANGE_KEYS = {
    "await",
    "until",
    "admin",
    "request",
    "talk",
    "client",
    "connection",
    "repeat",
    "together",
    "expect",
    "mainstay",
}
_EXPECT_KEYS = {
    "status",
    "headers",
    "body",
    "trailers",
    "interim",
    "closed",
    "reset",
    "tls",
    "alpn",
    "names",
    "saw",
    "counts",
    "took_ms",
    "said",
    "goaway",
}
_THEN_KEYS = {"stats", "log", "counts", "saw"}
_DIFFERS_KEYS = {"differs", "known", "why"}
_TOKEN = re.compile(r"\$\$|\$\{?([a-z][a-z0-9_]*)(?:\.(port|endpoint))?\}?")


class CaseError(ValueError):
    """A case that cannot be run as it is written."""


@dataclass(frozen=True)
class Exchange:
    """What a client does once, and what must come of it."""

    does: dict[str, Any]
    expect: dict[str, Any]
    mainstay: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One behaviour. `slug` names its virtual host, its clusters and its listener."""

    slug: str
    name: str
    source: str
    fields: dict[str, Any]
    exchanges: tuple[Exchange, ...]
    then: dict[str, Any]

    @property
    def domain(self) -> str:
        return f"{self.slug}.test"

    @property
    def differences(self) -> list[dict[str, Any]]:
        """What is expected of Mainstay otherwise, with the reasons."""
        own = self.fields.get("mainstay")
        return ([own] if own else []) + [one.mainstay for one in self.exchanges if one.mainstay]


@dataclass(frozen=True)
class Subject:
    """A file of cases."""

    stem: str
    title: str
    manager: dict[str, Any]
    cases: tuple[Case, ...]


def load_subjects() -> list[Subject]:
    """All files, by name."""
    return [load_subject(path) for path in sorted(CASES.glob("*.yaml"))]


def load_subject(path: Path) -> Subject:
    document = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    _only(document, _FILE_KEYS, path.name)
    cases = tuple(
        _case(f"{path.stem}-{index:02}", fields, f"{path.name}: {fields.get('name', index)}")
        for index, fields in enumerate(document["cases"], 1)
    )
    return Subject(path.stem, document["subject"], document.get("manager", {}), cases)


def _case(slug: str, fields: dict[str, Any], where: str) -> Case:
    _only(fields, _CASE_KEYS, where)
    if not fields.get("name") or not fields.get("source"):
        raise CaseError(f"{where}: needs a name and a source")
    written = fields.get("exchanges") or [{key: fields[key] for key in _EXCHANGE_KEYS if key in fields}]
    exchanges = []
    for one in written:
        _only(one, _EXCHANGE_KEYS, where)
        _only(one.get("expect", {}), _EXPECT_KEYS, where)
        difference = one.get("mainstay", {}) if "exchanges" in fields else {}
        _only(difference, _DIFFERS_KEYS, where)
        if difference and not difference.get("why"):
            raise CaseError(f"{where}: a difference needs its reason")
        exchanges.append(Exchange(one, one.get("expect", {}), difference))
    then = fields.get("then", {})
    _only(then, _THEN_KEYS, where)
    _only(fields.get("mainstay", {}), _DIFFERS_KEYS, where)
    if fields.get("mainstay") and not fields["mainstay"].get("why"):
        raise CaseError(f"{where}: a difference needs its reason")
    return Case(slug, fields["name"], fields["source"], fields, tuple(exchanges), then)


def _only(fields: dict[str, Any], allowed: set[str], where: str) -> None:
    unknown = set(fields) - allowed
    if unknown:
        raise CaseError(f"{where}: does not know {sorted(unknown)}")


def fill(value: Any, meanings: dict[str, Any], where: str) -> Any:
    """`$name`, `${name}`, `$name.port` replaced in all strings; one that is nothing else takes the type of what it stands for."""
    if isinstance(value, dict):
        return {fill(key, meanings, where): fill(item, meanings, where) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, meanings, where) for item in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    whole = _TOKEN.fullmatch(value)
    if whole and value != "$$":
        return _meaning(whole, meanings, where)
    return _TOKEN.sub(lambda found: "$" if found[0] == "$$" else str(_meaning(found, meanings, where)), value)


def _meaning(found: re.Match[str], meanings: dict[str, Any], where: str) -> Any:
    key = f"{found[1]}.{found[2]}" if found[2] else found[1]
    if key not in meanings:
        raise CaseError(f"{where}: {found[0]} means nothing here")
    return meanings[key]


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, mapping by mapping."""
    made = dict(base)
    for key, value in over.items():
        old = made.get(key)
        made[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return made
