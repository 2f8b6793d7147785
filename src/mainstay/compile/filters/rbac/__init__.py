"""envoy.filters.http.rbac and envoy.filters.network.rbac from AuthorizationPolicies.

Order and meaning are Istio's: DENY before ALLOW; no ALLOW policy allows, one without rules denies all. A policy that
cannot be compiled denies everything it selects, and is reported.
"""

from mainstay.compile.facts import Facts
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.filters.rbac.rules import RuleError, compile_rule
from mainstay.compile.lookup import selecting_policies
from mainstay.compile.resource import Fields, extension
from mainstay.model.policy import Authorization, AuthorizationAction, Policy
from mainstay.model.problem import Problem

_HTTP = ("envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC")
_NETWORK = ("envoy.filters.network.rbac", "envoy.extensions.filters.network.rbac.v3.RBAC")
_EVERYTHING: Fields = {"permissions": [{"any": True}], "principals": [{"any": True}]}


def http_filters(facts: Facts, context: FilterContext, problems: list[Problem]) -> list[Fields]:
    """Return up to two filters, DENY then ALLOW."""
    return [extension(*_HTTP, rules) for rules in _rule_sets(facts, context, problems, http=True)]


def network_filters(facts: Facts, context: FilterContext, problems: list[Problem]) -> list[Fields]:
    """Return up to two filters for connections, where HTTP's fields do not exist."""
    sets = _rule_sets(facts, context, problems, http=False)
    return [extension(*_NETWORK, {**rules, "stat_prefix": "tcp."}) for rules in sets]


def _rule_sets(facts: Facts, context: FilterContext, problems: list[Problem], http: bool) -> list[Fields]:
    if context.place == "outbound":
        return []
    policies = selecting_policies(facts, "AuthorizationPolicy", context.namespace, context.labels)
    sets: list[Fields] = []
    for action in ("DENY", "ALLOW"):
        if fields := _rule_set(policies, action, http, problems):
            sets.append(fields)
    return sets


def _rule_set(
    policies: tuple[Policy, ...], action: AuthorizationAction, http: bool, problems: list[Problem]
) -> Fields | None:
    """Return enforced and shadow rules of one action, None where no policy has it."""
    enforced: dict[str, Fields] = {}
    shadow: dict[str, Fields] = {}
    enforces = shadows = False
    for policy in policies:
        body = policy.body
        if not isinstance(body, Authorization) or body.action != action:
            continue
        enforces |= not body.dry_run
        shadows |= body.dry_run
        (shadow if body.dry_run else enforced).update(_compiled(policy, body, http, problems))
    if not enforces and not shadows:
        return None
    fields: Fields = {}
    if enforces and (enforced or action == "ALLOW"):
        fields["rules"] = {"action": action, "policies": enforced}
    if shadows:
        fields["shadow_rules"] = {"action": action, "policies": shadow}
        fields["shadow_rules_stat_prefix"] = f"istio_dry_run_{action.lower()}_"
    return fields or None


def _compiled(policy: Policy, body: Authorization, http: bool, problems: list[Problem]) -> dict[str, Fields]:
    label = f"ns[{policy.key.namespace}]-policy[{policy.key.name}]"
    compiled: dict[str, Fields] = {}
    for index, rule in enumerate(body.rules):
        try:
            fields = compile_rule(rule, body.action, http)
        except RuleError as error:
            problems.append(_problem(policy, index, error))
            # An ALLOW rule that cannot be understood allows nobody; a DENY rule denies everybody.
            fields = _EVERYTHING if body.action == "DENY" else None
        if fields is not None:
            compiled[f"{label}-rule[{index}]"] = fields
    return compiled


def _problem(policy: Policy, index: int, error: RuleError) -> Problem:
    return Problem(
        code="MS4101",
        severity="error",
        object=f"AuthorizationPolicy/{policy.key.namespace}/{policy.key.name}",
        path=f"spec.rules[{index}]",
        reason=str(error),
        remedy="Use a condition this release knows; until then the rule denies whatever it selects.",
    )
