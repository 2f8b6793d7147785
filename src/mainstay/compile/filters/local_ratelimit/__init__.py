"""envoy.filters.http.local_ratelimit from mainstay.dev LocalRateLimit: a token bucket in the proxy itself.

Connections of byte streams are not limited. Several policies are several buckets; a request needs a token of each.
"""

from mainstay.compile.facts import Facts
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.lookup import selecting_policies
from mainstay.compile.resource import Fields, duration, extension
from mainstay.model.policy import LocalRateLimit, Policy
from mainstay.model.problem import Problem

_NAME = "envoy.filters.http.local_ratelimit"
_MESSAGE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def http_filters(facts: Facts, context: FilterContext, _problems: list[Problem]) -> list[Fields]:
    """Return one filter per policy that selects the workload and port."""
    if context.place == "outbound":
        return []
    policies = selecting_policies(facts, "LocalRateLimit", context.namespace, context.labels)
    return [
        _filter(policy, policy.body)
        for policy in policies
        if isinstance(policy.body, LocalRateLimit)
        and (not policy.body.ports or context.port in policy.body.ports)
    ]


def _filter(policy: Policy, body: LocalRateLimit) -> Fields:
    fields: Fields = {
        "stat_prefix": f"{policy.key.namespace}.{policy.key.name}",
        "token_bucket": {
            "max_tokens": body.burst,
            "tokens_per_fill": {"value": body.tokens},
            "fill_interval": duration(body.interval),
        },
        "filter_enabled": _ALWAYS,
        "filter_enforced": _ALWAYS,
    }
    if body.status != 429:
        fields["status"] = {"code": body.status}
    return extension(_NAME, _MESSAGE, fields)
