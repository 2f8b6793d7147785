"""LocalRateLimit → ``Policy``.

In: a decoded LocalRateLimit. Out: one policy.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.kind import Defaults, Fact
from mainstay.api.mainstay.local_rate_limit import LocalRateLimit as Written
from mainstay.api.object import Object
from mainstay.model.key import PolicyKey, labels_of
from mainstay.model.policy import LocalRateLimit, Policy
from mainstay.model.problem import Problem

MIN_INTERVAL = 50
"""Milliseconds: proxies add tokens no more often (Envoy's limit)."""


def translate_local_rate_limit(thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the policy."""
    found = Findings(thing)
    limit: Written = thing.spec
    if limit.interval < MIN_INTERVAL:
        reason = f"tokens are not added more often than each {MIN_INTERVAL}ms"
        found.add("MS1012", ("spec", "interval"), reason, "Use a longer interval with more tokens")
    burst = limit.burst or limit.tokens
    if burst < limit.tokens:
        reason = "the bucket would never hold the tokens of one interval"
        found.add("MS1106", ("spec", "burst"), reason, "Make burst at least as large as tokens")
    body = LocalRateLimit(limit.tokens, limit.interval, burst, tuple(sorted(set(limit.ports))), limit.status)
    selector = labels_of(limit.selector.match_labels if limit.selector else {})
    key = PolicyKey(thing.kind.name, thing.namespace, thing.name)
    return found.or_facts([Policy(key, body, selector, thing.created)])
