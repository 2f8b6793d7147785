"""Runs a subject's cases against one proxy, several at once: each has its own upstreams, host and, where needed, listener."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance_bootstrap import Place
from conformance_case import Case, Exchange, fill, merge
from conformance_client import Observed, Session
from conformance_expect import check_outcome, check_seen, same, within
from conformance_proxy import Proxy
from conformance_upstream import Upstream
from conformance_wire import WireError

from waiting import comes

AT_ONCE = 6
_SETTLE_S = 4.0
"""How long counters and log lines may take: Mainstay writes its log about once a second."""


@dataclass(frozen=True)
class Run:
    """What one case is run with."""

    case: Case
    proxy: Proxy
    place: Place
    upstreams: dict[str, Upstream]
    certificates: Path

    def fill(self, value: Any) -> Any:
        return fill(value, self.place.meanings, self.case.name)


def run_all(runs: list[Run]) -> dict[str, list[str]]:
    """What was wrong, by slug."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip((one.case.slug for one in runs), pool.map(run_case, runs), strict=True))


def run_case(run: Run) -> list[str]:
    for upstream in run.upstreams.values():
        upstream.restart()
    _forget(Path(run.place.meanings["log"]))
    session = Session(run.place.port, run.case.domain, run.certificates)
    own = (
        {} if run.proxy.kind == "envoy" else run.fill(run.case.fields.get("mainstay", {}).get("differs", {}))
    )
    wrong: list[str] = []
    try:
        for number, exchange in enumerate(run.case.exchanges, 1):
            differs = {key: value for key, value in own.items() if key != "then"}
            found = _exchange(run, session, exchange, differs)
            wrong += [f"exchange {number}: {line}" for line in found]
        wrong += _afterwards(run, merge(run.fill(run.case.then), own.get("then", {})))
    except (WireError, OSError, EOFError, AssertionError, ValueError, KeyError) as error:
        wrong.append(f"{type(error).__name__}: {error}")
    finally:
        session.close()
    for name, upstream in run.upstreams.items():
        wrong += [f"{name}: {line}" for line in upstream.errors]
    return wrong


def _forget(log: Path) -> None:
    """Empties it: a proxy holds it open, and appends."""
    if log.exists():
        log.write_text("")


def _exchange(run: Run, session: Session, exchange: Exchange, own: dict[str, Any]) -> list[str]:
    does, expect = run.fill(exchange.does), merge(run.fill(exchange.expect), own)
    if run.proxy.kind == "mainstay":
        expect = merge(expect, run.fill(exchange.mainstay.get("differs", {})))
    for name, value in does.get("await", {}).items():
        if not within(value, _await_stat(run.proxy, name, value) or 0):
            return [f"{name} did not come to {value}"]
    if "admin" in does:
        run.proxy.call("POST", does["admin"])
    before = {name: len(one.seen) for name, one in run.upstreams.items()}
    closed = "closed" in expect

    def once(_: int) -> Observed:
        return session.do(does, closed=closed)

    if does.get("until"):
        got = [_once_as_expected(lambda: once(0), expect)]
    elif "together" in does:
        with ThreadPoolExecutor(does["together"]) as pool:
            got = list(pool.map(once, range(does["together"])))
    else:
        got = [once(number) for number in range(does.get("repeat", 1))]
    statuses = expect.get("status")
    wrong = []
    if isinstance(statuses, list):
        seen = [one.status for one in got]
        seen = sorted(seen, key=str) if "together" in does else seen
        if seen != statuses:
            wrong.append(f"statuses: wanted {statuses}, got {seen}")
        expect = {key: value for key, value in expect.items() if key != "status"}
    for one in got:
        wrong += check_outcome(expect, one)
    new = {name: one.seen[before[name] :] for name, one in run.upstreams.items()}
    if "saw" in expect:
        wrong += _saw(run, expect["saw"], before)
    if "counts" in expect:
        wrong += [
            f"{name} was asked {len(new[name])} times, wanted {count}"
            for name, count in expect["counts"].items()
            if not within(count, len(new[name]))
        ]
    return list(dict.fromkeys(wrong))


def _once_as_expected(once: Callable[[], Observed], expect: dict[str, Any]) -> Observed:
    """For what becomes true soon: does it again until it is, or for as long as that may take."""
    last = once()

    def is_so() -> bool:
        nonlocal last
        if check_outcome(expect, last):
            last = once()
        return not check_outcome(expect, last)

    comes(is_so, _SETTLE_S)
    return last


def _saw(run: Run, wanted: Any, before: dict[str, int]) -> list[str]:
    """`saw` is what `app` saw, or `{at: {name: …}}` for several."""
    wrong = []
    each = wanted["at"] if wanted and "at" in wanted else {"app": wanted}
    for name, one in each.items():
        upstream = run.upstreams[name]
        if one is not None:
            comes(lambda upstream=upstream, name=name: len(upstream.seen) > before[name], _SETTLE_S)  # type: ignore[misc]
        seen = upstream.seen[before[name] :]
        if one is not None and one.get("whole") is False:
            comes(lambda seen=seen: bool(seen) and not seen[-1].whole, _SETTLE_S)  # type: ignore[misc]
        wrong += check_seen(one, seen[-1] if seen else None, name)
    return wrong


def _afterwards(run: Run, then: dict[str, Any]) -> list[str]:
    wrong = []
    for name, count in then.get("counts", {}).items():
        upstream = run.upstreams[name]
        comes(lambda upstream=upstream, count=count: within(count, len(upstream.seen)), _SETTLE_S)  # type: ignore[misc]
        if not within(count, len(upstream.seen)):
            wrong.append(f"{name} was asked {len(upstream.seen)} times, wanted {count}")
    for name, value in then.get("stats", {}).items():
        got = _await_stat(run.proxy, name, value)
        if not (within(value, got) if got is not None else value is None):
            wrong.append(f"{name}: wanted {value}, got {got}")
    if "log" in then:
        wrong += _check_log(Path(run.place.meanings["log"]), then["log"])
    return wrong


def _await_stat(proxy: Proxy, name: str, value: Any) -> int | None:
    got: int | None = None

    def there() -> bool:
        nonlocal got
        got = proxy.stat(name)
        return value is None or (got is not None and within(value, got))

    comes(there, _SETTLE_S)
    return got


def _check_log(path: Path, wanted: list[str]) -> list[str]:
    def there() -> bool:
        return path.exists() and len(path.read_text().splitlines()) >= len(wanted)

    comes(there, _SETTLE_S)
    got = path.read_text().splitlines() if path.exists() else []
    fine = len(got) == len(wanted) and all(map(_same_line, wanted, got))
    return [] if fine else [f"log: wanted {wanted}, got {got}"]


def _same_line(wanted: Any, got: str) -> bool:
    if not isinstance(wanted, dict):
        return same(wanted, got)
    fields: dict[str, Any] = json.loads(got)
    return set(fields) == set(wanted) and all(same(value, fields[name]) for name, value in wanted.items())
