"""Authorisation rules as RBAC: Istio's texts, HTTP's fields on byte streams, and what nobody can judge."""

import pytest

from mainstay.compile.filters.rbac.rules import RuleError, compile_rule
from mainstay.compile.resource import Fields
from mainstay.model.policy import AuthorizationAction, AuthorizationRule, Condition, Operation, Source

ANY: Fields = {"any": True}


def only(fields: Fields | None, part: str) -> Fields:
    """The single member of a single-valued ``or`` of a rule's principals or permissions."""
    assert fields is not None
    (entry,) = fields[part]
    ((_, inner),) = entry.items()
    ((_, (value,)),) = inner.items()
    return dict(value)


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ("cluster.local/ns/a/sa/b", {"exact": "spiffe://cluster.local/ns/a/sa/b"}),
        ("cluster.local/ns/a/*", {"prefix": "spiffe://cluster.local/ns/a/"}),
        ("*/sa/b", {"suffix": "/sa/b"}),
        ("*", {"safe_regex": {"regex": ".+"}}),
    ],
)
def test_principals(text: str, matcher: Fields) -> None:
    rule = AuthorizationRule(sources=(Source(principals=(text,)),))
    compiled = compile_rule(rule, "ALLOW", http=True)
    assert only(compiled, "principals") == {"authenticated": {"principal_name": matcher}}


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ("/a", {"exact": "/a"}),
        ("/a*", {"prefix": "/a"}),
        ("*/z", {"suffix": "/z"}),
        ("/a/{*}/z", {"safe_regex": {"regex": "/a/[^/]+/z"}}),
        ("/a/{**}", {"safe_regex": {"regex": "/a/.*"}}),
        ("/a.b/{*}", {"safe_regex": {"regex": r"/a\.b/[^/]+"}}),
    ],
)
def test_paths(text: str, matcher: Fields) -> None:
    rule = AuthorizationRule(operations=(Operation(paths=(text,)),))
    assert only(compile_rule(rule, "ALLOW", http=True), "permissions") == {"url_path": {"path": matcher}}


def test_namespace_text_cannot_smuggle_an_expression() -> None:
    rule = AuthorizationRule(sources=(Source(namespaces=("a.*|b",)),))
    compiled = only(compile_rule(rule, "ALLOW", http=True), "principals")
    assert compiled["authenticated"]["principal_name"]["safe_regex"]["regex"] == r".*/ns/a\.[^/]*\|b/.*"


def test_rule_without_parts_fits_everything() -> None:
    assert compile_rule(AuthorizationRule(), "ALLOW", http=True) == {
        "permissions": [ANY],
        "principals": [ANY],
    }


HTTP_ONLY = [
    AuthorizationRule(operations=(Operation(methods=("GET",)),)),
    AuthorizationRule(operations=(Operation(not_paths=("/a",)),)),
    AuthorizationRule(operations=(Operation(hosts=("a",)),)),
    AuthorizationRule(conditions=(Condition("request.headers[x]", ("a",)),)),
]


@pytest.mark.parametrize("rule", HTTP_ONLY)
def test_allow_rule_with_http_fields_never_fits_a_byte_stream(rule: AuthorizationRule) -> None:
    assert compile_rule(rule, "ALLOW", http=False) is None


@pytest.mark.parametrize("rule", HTTP_ONLY)
def test_deny_rule_on_a_byte_stream_goes_without_http_fields(rule: AuthorizationRule) -> None:
    assert compile_rule(rule, "DENY", http=False) == {"permissions": [ANY], "principals": [ANY]}


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize(
    "rule",
    [
        AuthorizationRule(conditions=(Condition("request.auth.claims[a]", ("b",)),)),
        AuthorizationRule(sources=(Source(service_accounts=("alone",)),)),
        AuthorizationRule(sources=(Source(ip_blocks=("10.0.0.0/x",)),)),
        AuthorizationRule(operations=(Operation(ports=("http",)),)),
        AuthorizationRule(operations=(Operation(ports=("70000",)),)),
    ],
)
def test_what_cannot_be_judged_is_refused(rule: AuthorizationRule, action: AuthorizationAction) -> None:
    with pytest.raises(RuleError):
        compile_rule(rule, action, http=True)
