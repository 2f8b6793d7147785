"""Local rate limit (`envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`)."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.refuse import Refused, at, check, known

_KNOWN = {
    "stat_prefix",
    "status",
    "token_bucket",
    "filter_enabled",
    "filter_enforced",
    "response_headers_to_add",
    "enable_x_ratelimit_headers",
}
MIN_FILL_MS = 50
"""Envoy refuses shorter intervals, and so do we."""


_LOCAL_RATE_LIMIT_FIELDS = known("envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", _KNOWN)


def http(message: Any) -> plan.LocalRateLimitFilter:
    check(message, _LOCAL_RATE_LIMIT_FIELDS)
    bucket = None
    if message.HasField("token_bucket"):
        with at("token_bucket"):
            found = message.token_bucket
            interval = values.milliseconds(found, "fill_interval") or 0
            if interval < MIN_FILL_MS:
                raise Refused("fill_interval", f"must be at least {MIN_FILL_MS} ms")
            if found.max_tokens < 1:
                raise Refused("max_tokens", "must be at least 1")
            bucket = plan.TokenBucket(found.max_tokens, values.wrapped(found, "tokens_per_fill", 1), interval)
    with at("response_headers_to_add"):
        headers = values.header_changes(message.response_headers_to_add)
    # Envoy's default for both shares is none: a bucket without them limits nobody.
    none = plan.Fraction(0, 100)
    status = message.status.code or 429
    return plan.LocalRateLimitFilter(
        message.stat_prefix,
        bucket,
        values.runtime_fraction(message.filter_enabled) if message.HasField("filter_enabled") else none,
        values.runtime_fraction(message.filter_enforced) if message.HasField("filter_enforced") else none,
        status if status >= 400 else 429,
        headers,
        message.enable_x_ratelimit_headers == 1,
    )
