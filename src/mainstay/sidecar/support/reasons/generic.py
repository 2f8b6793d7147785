"""Fields of the generic proxy and of its matchers that are refused."""

from __future__ import annotations

from mainstay.sidecar.support.reasons.words import CORE, EXTENSION, GENERIC, XDS_MATCHER, Reasons, all_of

REFUSED: Reasons = {
    f"{CORE}.RetryPolicy": {
        "retry_priority": EXTENSION,
        **all_of(
            "other endpoints are tried where there are some",
            "retry_host_predicate",
            "host_selection_retry_max_attempts",
        ),
    },
    f"{GENERIC}.router.v3.Router": {
        "bind_upstream_connection": "a connection to an endpoint carries the calls of many clients"
    },
    f"{XDS_MATCHER}.Matcher.OnMatch": {"keep_matching": "the first that matches decides"},
    f"{XDS_MATCHER}.Matcher.MatcherTree": {"custom_match": EXTENSION},
    f"{XDS_MATCHER}.StringMatcher": {"custom": EXTENSION},
}
"""Message → field that is refused → why."""
