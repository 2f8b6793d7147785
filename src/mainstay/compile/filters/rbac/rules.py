"""Authorisation rules as RBAC policies: principals from sources, permissions from operations.

In: ``AuthorizationRule``, action, whether requests or connections are judged. Out: fields of
``envoy.config.rbac.v3.Policy``, or None where the rule can never fit. Any source and any operation and every condition.
For connections HTTP's fields do not exist: an ALLOW rule with one never fits, a DENY rule goes without it (Istio's rules).
"""

import re

from mainstay.compile.resource import Fields
from mainstay.model.policy import AuthorizationAction, AuthorizationRule, Condition, Operation, Source

_HEADER_KEY = re.compile(r"request\.headers\[([^\]]+)\]")
_SPIFFE = "spiffe://"
_ANY: Fields = {"any": True}


class RuleError(Exception):
    """The rule says something no filter of ours can judge."""


class _HttpOnly(Exception):  # noqa: N818  control flow within this module: the field has no meaning for connections
    pass


def compile_rule(rule: AuthorizationRule, action: AuthorizationAction, http: bool) -> Fields | None:
    """Compile one rule; raises RuleError for what cannot be judged."""
    judge = _Judge(action, http)
    try:
        conditions = [judge.condition(entry) for entry in rule.conditions]
        principals = [judge.source(entry) for entry in rule.sources] or [[]]
        permissions = [judge.operation(entry) for entry in rule.operations] or [[]]
    except _HttpOnly:
        return None
    shared_principals = [entry for kind, entries in conditions if kind == "principal" for entry in entries]
    shared_permissions = [entry for kind, entries in conditions if kind == "permission" for entry in entries]
    return {
        "permissions": [_all(entries + shared_permissions, "and_rules", "rules") for entries in permissions],
        "principals": [_all(entries + shared_principals, "and_ids", "ids") for entries in principals],
    }


class _Judge:
    def __init__(self, action: AuthorizationAction, http: bool) -> None:
        self._action = action
        self._http = http

    def source(self, source: Source) -> list[Fields]:
        ids: list[Fields] = []
        for values, excluded, make in (
            (source.principals, source.not_principals, _principal),
            (source.namespaces, source.not_namespaces, _namespace),
            (source.service_accounts, source.not_service_accounts, _service_account),
            (source.trust_domains, source.not_trust_domains, _trust_domain),
            (source.ip_blocks, source.not_ip_blocks, _direct_ip),
            (source.remote_ip_blocks, source.not_remote_ip_blocks, _remote_ip),
        ):
            ids += _ids([make(value) for value in values], [make(value) for value in excluded])
        return ids

    def operation(self, operation: Operation) -> list[Fields]:
        rules = _rules(
            [_port(value) for value in operation.ports], [_port(value) for value in operation.not_ports]
        )
        for values, excluded, make in (
            (operation.hosts, operation.not_hosts, _host),
            (operation.methods, operation.not_methods, _method),
            (operation.paths, operation.not_paths, _path),
        ):
            if (values or excluded) and self._judges_http():
                rules += _rules([make(value) for value in values], [make(value) for value in excluded])
        return rules

    def condition(self, condition: Condition) -> tuple[str, list[Fields]]:
        key, values, excluded = condition.key, condition.values, condition.not_values
        if header := _HEADER_KEY.fullmatch(key):
            if not self._judges_http():
                return "principal", []
            name = header[1]
            return "principal", _ids([_header(name, v) for v in values], [_header(name, v) for v in excluded])
        if make_id := _PRINCIPAL_KEYS.get(key):
            return "principal", _ids([make_id(v) for v in values], [make_id(v) for v in excluded])
        if make_rule := _PERMISSION_KEYS.get(key):
            return "permission", _rules([make_rule(v) for v in values], [make_rule(v) for v in excluded])
        raise RuleError(f"condition {key!r} is not supported")

    def _judges_http(self) -> bool:
        if not self._http and self._action == "ALLOW":
            raise _HttpOnly
        return self._http


def _all(entries: list[Fields], key: str, inner: str) -> Fields:
    match entries:
        case []:
            return _ANY
        case [only]:
            return only
        case _:
            return {key: {inner: entries}}


def _ids(values: list[Fields], excluded: list[Fields]) -> list[Fields]:
    found = [{"or_ids": {"ids": values}}] if values else []
    return found + ([{"not_id": {"or_ids": {"ids": excluded}}}] if excluded else [])


def _rules(values: list[Fields], excluded: list[Fields]) -> list[Fields]:
    found = [{"or_rules": {"rules": values}}] if values else []
    return found + ([{"not_rule": {"or_rules": {"rules": excluded}}}] if excluded else [])


def _text(value: str, prefix: str = "") -> Fields:
    """Istio's string forms: exact, ``prefix*``, ``*suffix``, ``*`` for any text but the empty one."""
    if value == "*":
        return {"safe_regex": {"regex": ".+"}}
    if value.startswith("*"):
        return {"suffix": value[1:]}
    if value.endswith("*"):
        return {"prefix": prefix + value[:-1]}
    return {"exact": prefix + value}


def _authenticated(matcher: Fields) -> Fields:
    return {"authenticated": {"principal_name": matcher}}


def _principal(value: str) -> Fields:
    return _authenticated(_text(value, _SPIFFE))


def _namespace(value: str) -> Fields:
    return _authenticated({"safe_regex": {"regex": f".*/ns/{_pattern(value)}/.*"}})


def _service_account(value: str) -> Fields:
    namespace, slash, account = value.partition("/")
    if not slash:
        raise RuleError(f"service account {value!r} is not namespace/account")
    expression = f"spiffe://[^/]+/ns/{re.escape(namespace)}/sa/{re.escape(account)}"
    return _authenticated({"safe_regex": {"regex": expression}})


def _trust_domain(value: str) -> Fields:
    return _authenticated({"safe_regex": {"regex": f"spiffe://{_pattern(value)}/.*"}})


def _pattern(value: str) -> str:
    return "[^/]*".join(re.escape(part) for part in value.split("*"))


def _block(value: str) -> Fields:
    address, slash, length = value.partition("/")
    full = 128 if ":" in address else 32
    if slash and not length.isdecimal():
        raise RuleError(f"{value!r} is not a CIDR")
    return {"address_prefix": address, "prefix_len": {"value": int(length) if slash else full}}


def _direct_ip(value: str) -> Fields:
    return {"direct_remote_ip": _block(value)}


def _remote_ip(value: str) -> Fields:
    return {"remote_ip": _block(value)}


def _header(name: str, value: str) -> Fields:
    if value == "*":
        return {"header": {"name": name, "present_match": True}}
    return {"header": {"name": name, "string_match": _text(value)}}


def _host(value: str) -> Fields:
    if value == "*":
        return {"header": {"name": ":authority", "present_match": True}}
    return {"header": {"name": ":authority", "string_match": {**_text(value), "ignore_case": True}}}


def _method(value: str) -> Fields:
    return _header(":method", value)


def _path(value: str) -> Fields:
    if "{*}" in value or "{**}" in value:
        escaped = re.escape(value).replace(re.escape("{**}"), ".*").replace(re.escape("{*}"), "[^/]+")
        return {"url_path": {"path": {"safe_regex": {"regex": escaped}}}}
    return {"url_path": {"path": _text(value)}}


def _port(value: str) -> Fields:
    if not value.isdecimal() or not 0 < int(value) <= 65_535:
        raise RuleError(f"{value!r} is not a port")
    return {"destination_port": int(value)}


def _destination_ip(value: str) -> Fields:
    return {"destination_ip": _block(value)}


def _sni(value: str) -> Fields:
    return {"requested_server_name": _text(value)}


_PRINCIPAL_KEYS = {
    "source.principal": _principal,
    "source.namespace": _namespace,
    "source.serviceAccount": _service_account,
    "source.trustDomain": _trust_domain,
    "source.ip": _direct_ip,
    "remote.ip": _remote_ip,
}
_PERMISSION_KEYS = {"destination.ip": _destination_ip, "destination.port": _port, "connection.sni": _sni}
