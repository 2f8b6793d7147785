"""What a run comes to: the JSON report, what was expected and did not hold, and the exit code. Pure.

In: pairs of the whole run, counts of the load generators, events, expectations. Out: `Outcome`. The report's fields are API:
`{pairs: [{source, destination, protocol, requests, failures, p50_ms, p99_ms, mtls, versions}], load: […], unmet: […],
events: [{at_ms, what, who, text}]}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from mainstay.up.events import Event
from mainstay.up.figures import OUTSIDE, Pair
from mainstay.up.file import Expectation, ExpectedPair
from mainstay.up.load import Count

WELL, FAILED, USAGE, REFUSED, NOT_READY, GAVE_UP, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class LoadResult(msgspec.Struct, frozen=True):
    """What one load generator counted, and what the mesh reported of the same gateway."""

    gateway: str
    count: Count


def unmet(
    pairs: Sequence[Pair], load: Sequence[LoadResult], expect: Expectation, *, whole: bool, restarted: bool
) -> list[str]:
    """Return what did not hold, in words. Of a run that was cut short (not `whole`) only failures count; after restarts
    figures may lack what a killed proxy had not told."""
    found = list(_failures(pairs, load, expect.failures))
    if not whole:
        return found
    if expect.mtls is not None:
        found += [
            f"{_name(pair)}: mutual TLS was {'not used' if expect.mtls else 'used'}"
            for pair in pairs
            if pair.mtls is not None and pair.mtls != expect.mtls
        ]
    for each in expect.pairs:
        found += _unmet_pair(pairs, each)
    if not restarted:
        found += _disagreements(pairs, load)
    return found


def _failures(pairs: Sequence[Pair], load: Sequence[LoadResult], tolerated: int) -> Iterator[str]:
    failed = sum(pair.failures for pair in pairs)
    of_load = sum(each.count.failed for each in load)
    if max(failed, of_load) <= tolerated:
        return
    for pair in pairs:
        if pair.failures:
            yield f"{_name(pair)}: {pair.failures} of {pair.requests} failed"
    for each in load:
        if each.count.failed:
            yield (
                f"load on {each.gateway}: {each.count.failed} of {each.count.sent} failed, the last with:"
                f" {each.count.last_failure}"
            )


def _unmet_pair(pairs: Sequence[Pair], wanted: ExpectedPair) -> Iterator[str]:
    name = f"{wanted.source} → {wanted.destination}"
    found = [pair for pair in pairs if (pair.source, pair.destination) == (wanted.source, wanted.destination)]
    requests = sum(pair.requests for pair in found)
    if requests < wanted.requests:
        yield f"{name}: {requests} requests, at least {wanted.requests} were expected"
        return
    for pair in found:
        if wanted.mtls is not None and pair.mtls != wanted.mtls:
            yield f"{name}: mutual TLS was {'not used' if wanted.mtls else 'used'}"
        tail = pair.duration.quantile(0.99)
        if wanted.p99 is not None and tail is not None and tail > wanted.p99:
            yield f"{name}: p99 was {tail:.1f} ms, at most {wanted.p99} ms was expected"
    for version, share in wanted.versions.items():
        had = 100 * sum(pair.versions.get(version, 0) for pair in found) / max(1, requests)
        if had < share:
            yield f"{name}: version {version} had {had:.1f} %, at least {share:g} % was expected"


def _disagreements(pairs: Sequence[Pair], load: Sequence[LoadResult]) -> Iterator[str]:
    """The mesh's own figures against those of whoever made the requests."""
    for gateway in sorted({each.gateway for each in load}):
        sent = sum(each.count.succeeded + each.count.failed for each in load if each.gateway == gateway)
        reported = reported_by(pairs, gateway)
        if sent != reported:
            yield f"load on {gateway}: {sent} requests were made, but its proxy reports {reported}"


def reported_by(pairs: Iterable[Pair], gateway: str) -> int:
    """Return the requests that came in at a gateway, as its proxy counted them."""
    return sum(pair.requests for pair in pairs if pair.source == gateway and pair.protocol != "tcp")


def exit_code(*, gave_up: bool, unmet_count: int, interrupted: bool) -> int:
    """Return the code of a run that came to its end; what is worse wins."""
    if gave_up:
        return GAVE_UP
    if unmet_count:
        return FAILED
    return INTERRUPTED if interrupted else WELL


def build_report(
    pairs: Sequence[Pair], load: Sequence[LoadResult], events: Sequence[Event], problems: Sequence[str]
) -> dict[str, Any]:
    """Return the report as JSON values."""
    return {
        "pairs": [_show_pair(pair) for pair in pairs],
        "load": [
            {
                "gateway": each.gateway,
                "requests": each.count.sent,
                "succeeded": each.count.succeeded,
                "failures": each.count.failed,
                "reported": reported_by(pairs, each.gateway),
            }
            for each in load
        ],
        "unmet": list(problems),
        "events": [
            {"at_ms": event.at, "what": event.what, "who": event.who, "text": event.text, **event.data}
            for event in events
        ],
    }


def _show_pair(pair: Pair) -> dict[str, Any]:
    return {
        "source": pair.source,
        "destination": pair.destination,
        "protocol": pair.protocol,
        "requests": pair.requests,
        "failures": pair.failures,
        "p50_ms": _rounded(pair.duration.quantile(0.5)),
        "p99_ms": _rounded(pair.duration.quantile(0.99)),
        "mtls": pair.mtls,
        "versions": dict(sorted(pair.versions.items())),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _name(pair: Pair) -> str:
    source = "outside" if pair.source == OUTSIDE else pair.source
    return f"{source} → {pair.destination} ({pair.protocol})"
