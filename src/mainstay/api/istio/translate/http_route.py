"""HTTP rules of a VirtualService: matches and actions.

In: ``HTTPRoute`` parts. Out: the model's rules and matches. A regular expression is checked here, so that no proxy has to
refuse it. Source: istio/api virtual_service.proto; defaults of retries are Istio's.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from mainstay.api.expression import check_expression
from mainstay.api.findings import Findings
from mainstay.api.istio import virtual_service as written
from mainstay.api.istio.translate.headers import read_headers, read_name
from mainstay.api.istio.translate.route_destination import destination, weighted
from mainstay.api.kind import Defaults
from mainstay.api.node import Path
from mainstay.api.problems import shorten
from mainstay.model.key import labels_of
from mainstay.model.route import (
    DEFAULT_RETRY,
    NO_REWRITE,
    DirectResponse,
    Forward,
    HttpMatch,
    HttpRule,
    Mirror,
    NamedMatch,
    Redirect,
    Retry,
    Rewrite,
    StringMatch,
)

RETRY_CONDITIONS: Final = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
"""Envoy's conditions (``x-envoy-retry-on`` and ``x-envoy-retry-grpc-on``) without those that need headers of their own."""

_REDIRECT_CODES: Final = (301, 302, 303, 307, 308)
_MILLION: Final = 10_000  # parts per million of one percent


def http_rule(route: written.HTTPRoute, found: Findings, path: Path, defaults: Defaults) -> HttpRule:
    """Return a rule without its matches."""
    action: Forward | Redirect | DirectResponse
    if route.redirect:
        action = _redirect(route.redirect, found, (*path, "redirect"))
    elif route.direct_response:
        action = _direct(route.direct_response, found, (*path, "directResponse"))
    else:
        action = _forward(route, found, path, defaults)
    if not isinstance(action, Forward):
        _refuse_beside_answers(route, found, path)
    return HttpRule(action, (), read_headers(route.headers, found, (*path, "headers")), route.name or "")


def read_matches(
    matches: tuple[written.HTTPMatchRequest, ...], found: Findings, path: Path
) -> tuple[HttpMatch, ...]:
    """Return the matches of a rule, in order."""
    return tuple(_match(match, found, (*path, at)) for at, match in enumerate(matches))


def _match(match: written.HTTPMatchRequest, found: Findings, path: Path) -> HttpMatch:
    def text(name: str, value: written.StringMatch | None, ignore_case: bool = False) -> StringMatch | None:
        if value is None:
            return None
        made = _string(value, found, (*path, name), ignore_case)
        if made.kind == "present":
            found.add("MS1013", (*path, name), "one of exact, prefix, regex is needed", "Add one of them")
        return made

    headers = _named(match.headers, found, (*path, "headers"), header=True)
    headers += _named(match.without_headers, found, (*path, "withoutHeaders"), header=True, invert=True)
    query = _named(match.query_params, found, (*path, "queryParams"))
    for name, value in match.query_params.items():
        if value.prefix is not None:
            here = (*path, "queryParams", name, "prefix")
            found.add("MS1012", here, "query parameters are not matched by prefix", "Use exact or regex")
    return HttpMatch(
        text("uri", match.uri, match.ignore_uri_case),
        text("scheme", match.scheme),
        text("method", match.method),
        text("authority", match.authority),
        tuple(sorted(headers, key=lambda entry: entry.name)),
        tuple(sorted(query, key=lambda entry: entry.name)),
        match.port or 0,
        labels_of(match.source_labels),
        match.source_namespace or "",
        match.name or "",
    )


def _string(
    match: written.StringMatch, found: Findings, path: Path, ignore_case: bool = False
) -> StringMatch:
    if match.regex is not None:
        # An expression says by itself (`(?i)`) whether case counts.
        check_expression(match.regex, found, (*path, "regex"))
        return StringMatch("regex", match.regex)
    if match.exact is not None:
        return StringMatch("exact", match.exact, ignore_case)
    if match.prefix is not None:
        return StringMatch("prefix", match.prefix, ignore_case)
    return StringMatch("present")


def _named(
    matches: dict[str, written.StringMatch],
    found: Findings,
    path: Path,
    *,
    header: bool = False,
    invert: bool = False,
) -> list[NamedMatch]:
    made = []
    for name, match in matches.items():
        here = (*path, name)
        shown = read_name(name, found, here, pseudo=True) if header else name
        made.append(NamedMatch(shown, _string(match, found, here), invert))
    return made


def _forward(route: written.HTTPRoute, found: Findings, path: Path, defaults: Defaults) -> Forward:
    return Forward(
        weighted(route.route, found, (*path, "route"), defaults),
        _rewrite(route.rewrite, found, (*path, "rewrite")) if route.rewrite else NO_REWRITE,
        route.timeout or None,  # 0s is Istio's way of saying "no limit"
        _retry(route.retries, found, (*path, "retries")) if route.retries else DEFAULT_RETRY,
        _mirrors(route, found, path, defaults),
    )


def _rewrite(rewrite: written.HTTPRewrite, found: Findings, path: Path) -> Rewrite:
    expression = rewrite.uri_regex_rewrite
    if expression:
        check_expression(expression.match, found, (*path, "uriRegexRewrite", "match"))
    if not (rewrite.uri or rewrite.authority or expression):
        found.add("MS1010", path, "the rewrite changes nothing", "Add uri, authority or uriRegexRewrite")
    return Rewrite(
        rewrite.uri or "",
        rewrite.authority or "",
        expression.match if expression else "",
        expression.rewrite if expression else "",
    )


def _retry(retries: written.HTTPRetry, found: Findings, path: Path) -> Retry:
    retry_on, statuses = DEFAULT_RETRY.retry_on, DEFAULT_RETRY.statuses
    if retries.retry_on:
        retry_on, statuses = _conditions(retries.retry_on, found, (*path, "retryOn"))
    for name, value in (("perTryTimeout", retries.per_try_timeout), ("backoff", retries.backoff)):
        if value == 0:
            found.add("MS1105", (*path, name), "0s is no time limit", "Give at least 1ms, or leave it out")
    ignore = retries.retry_ignore_previous_hosts
    return Retry(
        retries.attempts,
        retry_on,
        statuses,
        retries.per_try_timeout or None,
        bool(retries.retry_remote_localities),
        True if ignore is None else ignore,
        retries.backoff or None,
    )


def _conditions(text: str, found: Findings, path: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    statuses = {
        int(word) for word in words if word.isascii() and word.isdigit() and 100 <= int(word[:4]) <= 599
    }
    classes = {word for word in words if not (word.isascii() and word.isdigit())}
    for word in words:
        if word.isascii() and word.isdigit() and int(word[:4]) not in statuses:
            found.add("MS1109", path, f"{shorten(word)} is no HTTP status", "Write a status from 100 to 599")
    for word in sorted(classes - RETRY_CONDITIONS):
        reason = f"{shorten(word)} is no retry condition"
        found.add(
            "MS1109", path, reason, f"Use some of {', '.join(sorted(RETRY_CONDITIONS))}, or status codes"
        )
    if statuses:
        classes.add("retriable-status-codes")
    return tuple(sorted(classes)), tuple(sorted(statuses))


def _mirrors(route: written.HTTPRoute, found: Findings, path: Path, defaults: Defaults) -> tuple[Mirror, ...]:
    if route.mirror:
        to = destination(route.mirror, found, (*path, "mirror"), defaults)
        return (Mirror(to, _share(route.mirror_percentage)),)
    if route.mirror_percentage:
        reason = "mirrorPercentage is given without mirror"
        found.add("MS1106", (*path, "mirrorPercentage"), reason, "Add mirror, or use mirrors[].percentage")
    return tuple(
        Mirror(
            destination(entry.destination, found, (*path, "mirrors", at, "destination"), defaults),
            _share(entry.percentage),
        )
        for at, entry in enumerate(route.mirrors)
    )


def _share(percent: written.Percent | None) -> int:
    return 100 * _MILLION if percent is None else round(percent.value * _MILLION)


def _redirect(redirect: written.HTTPRedirect, found: Findings, path: Path) -> Redirect:
    code = redirect.redirect_code
    if code not in _REDIRECT_CODES:
        reason, remedy = f"{code} is no redirect", "Use 301, 302, 303, 307 or 308"
        found.add("MS1012", (*path, "redirectCode"), reason, remedy)
        code = 301
    match redirect.derive_port:
        case "FROM_PROTOCOL_DEFAULT":
            derived = "protocol"
        case "FROM_REQUEST_PORT":
            derived = "request"
        case _:
            derived = ""
    parts = (
        redirect.uri,
        redirect.prefix_rewrite,
        redirect.authority,
        redirect.scheme,
        redirect.port,
        derived,
    )
    if not any(parts):
        found.add(
            "MS1010", path, "the redirect leads back to the same place", "Add uri, authority, scheme or port"
        )
    return Redirect(
        redirect.uri or "",
        redirect.prefix_rewrite or "",
        redirect.authority or "",
        redirect.scheme or "",
        redirect.port or 0,
        derived,  # type: ignore[arg-type]
        code,  # type: ignore[arg-type]
    )


def _direct(answer: written.HTTPDirectResponse, found: Findings, path: Path) -> DirectResponse:
    body = b""
    if answer.body and answer.body.string is not None:
        body = answer.body.string.encode()
    elif answer.body and answer.body.bytes is not None:
        try:
            body = base64.b64decode(answer.body.bytes, validate=True)
        except (binascii.Error, ValueError):
            found.add(
                "MS1012", (*path, "body", "bytes"), "the text is no base64", "Write base64 with padding"
            )
    if len(body) > 1 << 20:
        found.add("MS1012", (*path, "body"), "the body exceeds 1 MiB", "Serve it from an application")
    return DirectResponse(answer.status, body)


def _refuse_beside_answers(route: written.HTTPRoute, found: Findings, path: Path) -> None:
    """What needs a destination has no meaning beside an answer."""
    beside = {
        "rewrite": route.rewrite,
        "timeout": route.timeout,
        "retries": route.retries,
        "mirror": route.mirror,
        "mirrors": route.mirrors,
    }
    what = "redirect" if route.redirect else "directResponse"
    for name, value in beside.items():
        if value:
            reason = f"{name} has no meaning beside {what}, which has no destination"
            found.add("MS1106", (*path, name), reason, f"Remove {name}, or use route")
