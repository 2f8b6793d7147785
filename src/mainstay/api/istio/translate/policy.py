"""PeerAuthentication and AuthorizationPolicy → ``Policy``.

In: decoded objects. Out: one policy each. What a filter could not judge is refused here, since a policy that does not compile
denies all it selects. Source: istio/api peer_authentication.proto, authorization_policy.proto and Istio's validation.
"""

from __future__ import annotations

import re
from typing import Final

from mainstay.api.findings import Findings
from mainstay.api.hosts import is_block
from mainstay.api.istio import authorization_policy as written
from mainstay.api.istio.peer_authentication import PeerAuthentication as WrittenAuthentication
from mainstay.api.kind import Defaults, Fact
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.api.problems import shorten
from mainstay.model.key import PolicyKey, labels_of
from mainstay.model.policy import (
    Authorization,
    AuthorizationAction,
    AuthorizationRule,
    Condition,
    MtlsMode,
    Operation,
    PeerAuthentication,
    Policy,
    Source,
)
from mainstay.model.problem import Problem

DRY_RUN = "istio.io/dry-run"
"""Annotation: count what the policy would refuse, and refuse nothing."""

CONDITION_KEYS: Final = (
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.serviceAccount",
    "source.trustDomain",
    "source.principal",
    "destination.ip",
    "destination.port",
    "connection.sni",
)
"""Attributes of `when`, beside request.headers[…]."""

_LATER_KEYS: Final = re.compile(r"request\.auth\..*|experimental\..*")
_HEADER_KEY: Final = re.compile(r"request\.headers\[([!#$%&'*+.^_`|~0-9A-Za-z-]+)\]")
_ADDRESS_KEYS: Final = ("source.ip", "remote.ip", "destination.ip")


def translate_peer_authentication(thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the policy."""
    found = Findings(thing)
    policy: WrittenAuthentication = thing.spec
    selector = labels_of(policy.selector.match_labels if policy.selector else {})
    ports: dict[int, MtlsMode] = {}
    for text, level in policy.port_level_mtls.items():
        path = ("spec", "portLevelMtls", text)
        number = _port(text)
        if number is None:
            found.add("MS1012", path, f"{shorten(text)} is not a port", "Write a number from 1 to 65535")
        else:
            ports[number] = level.mode
    if ports and not selector:
        reason = "ports belong to workloads, and no workload is selected"
        found.add("MS1106", ("spec", "portLevelMtls"), reason, "Add selector.matchLabels")
    body = PeerAuthentication(policy.mtls.mode if policy.mtls else "UNSET", tuple(sorted(ports.items())))
    return found.or_facts([Policy(_key(thing), body, selector, thing.created)])


def translate_authorization_policy(thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the policy."""
    found = Findings(thing)
    policy: written.AuthorizationPolicy = thing.spec
    selector = labels_of(policy.selector.match_labels if policy.selector else {})
    rules = tuple(_rule(rule, found, ("spec", "rules", at)) for at, rule in enumerate(policy.rules))
    action: AuthorizationAction = "DENY" if policy.action == "DENY" else "ALLOW"
    dry_run = thing.metadata.annotations.get(DRY_RUN, "").lower() == "true"
    body = Authorization(action, rules, dry_run)
    return found.or_facts([Policy(_key(thing), body, selector, thing.created)])


def _key(thing: Object) -> PolicyKey:
    return PolicyKey(thing.kind.name, thing.namespace, thing.name)


def _rule(rule: written.Rule, found: Findings, path: Path) -> AuthorizationRule:
    return AuthorizationRule(
        tuple(
            _source(entry.source, found, (*path, "from", at, "source")) for at, entry in enumerate(rule.from_)
        ),
        tuple(
            _operation(entry.operation, found, (*path, "to", at, "operation"))
            for at, entry in enumerate(rule.to)
        ),
        tuple(_condition(entry, found, (*path, "when", at)) for at, entry in enumerate(rule.when)),
    )


def _source(source: written.Source, found: Findings, path: Path) -> Source:
    made = Source(
        _texts(source.principals),
        _texts(source.not_principals),
        _texts(source.namespaces),
        _texts(source.not_namespaces),
        _accounts(source.service_accounts, found, (*path, "serviceAccounts")),
        _accounts(source.not_service_accounts, found, (*path, "notServiceAccounts")),
        _texts(source.trust_domains),
        _texts(source.not_trust_domains),
        _blocks(source.ip_blocks, found, (*path, "ipBlocks")),
        _blocks(source.not_ip_blocks, found, (*path, "notIpBlocks")),
        _blocks(source.remote_ip_blocks, found, (*path, "remoteIpBlocks")),
        _blocks(source.not_remote_ip_blocks, found, (*path, "notRemoteIpBlocks")),
    )
    if made == Source():
        found.add("MS1010", path, "the source says nothing", "Add principals, namespaces or another field")
    _check_texts("principals", (*source.principals, *source.not_principals), found, path)
    return made


def _operation(operation: written.Operation, found: Findings, path: Path) -> Operation:
    for name, texts in (("ports", operation.ports), ("notPorts", operation.not_ports)):
        for at, text in enumerate(texts):
            if _port(text) is None:
                here = (*path, name, at)
                found.add(
                    "MS1012",
                    here,
                    f"{shorten(text)} is not a port",
                    "Write a number from 1 to 65535 in quotes",
                )
    for name, texts in (("paths", operation.paths), ("notPaths", operation.not_paths)):
        for at, text in enumerate(texts):
            _check_path(text, found, (*path, name, at))
    made = Operation(
        _texts(operation.hosts),
        _texts(operation.not_hosts),
        _texts(operation.ports),
        _texts(operation.not_ports),
        _texts(operation.methods),
        _texts(operation.not_methods),
        _texts(operation.paths),
        _texts(operation.not_paths),
    )
    if made == Operation():
        found.add("MS1010", path, "the operation says nothing", "Add paths, methods, hosts or ports")
    return made


def _condition(condition: written.Condition, found: Findings, path: Path) -> Condition:
    key = condition.key
    if not (condition.values or condition.not_values):
        found.add("MS1010", path, "the condition has no values", "Add values or notValues")
    if _LATER_KEYS.fullmatch(key):
        reason = f"{shorten(key)} is not supported yet: JSON Web Tokens and filter metadata"
        found.add("MS1009", (*path, "key"), reason, "Use another attribute")
    elif key not in CONDITION_KEYS and not _HEADER_KEY.fullmatch(key):
        remedy = f"Use request.headers[name] or one of {', '.join(CONDITION_KEYS)}"
        found.add("MS1110", (*path, "key"), f"{shorten(key)} is no attribute", remedy)
    for name, values in (("values", condition.values), ("notValues", condition.not_values)):
        for at, value in enumerate(values):
            _check_value(key, value, found, (*path, name, at))
    return Condition(key, condition.values, condition.not_values)


def _check_value(key: str, value: str, found: Findings, path: Path) -> None:
    if key in _ADDRESS_KEYS and not is_block(value):
        reason = f"{shorten(value)} is neither an IP address nor a CIDR block"
        found.add("MS1103", path, reason, "Write e.g. 10.1.2.3 or 10.1.0.0/16")
    elif key == "destination.port" and _port(value) is None:
        found.add(
            "MS1012", path, f"{shorten(value)} is not a port", "Write a number from 1 to 65535 in quotes"
        )
    elif key == "source.serviceAccount" and value.count("/") != 1:
        found.add("MS1012", path, f"{shorten(value)} is not an account", "Write namespace/account")


def _texts(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _accounts(values: tuple[str, ...], found: Findings, path: Path) -> tuple[str, ...]:
    full = set()
    for at, value in enumerate(values):
        namespace, slash, account = value.rpartition("/")
        if not account or "/" in namespace or (slash and not namespace) or "*" in value:
            found.add(
                "MS1012",
                (*path, at),
                f"{shorten(value)} is not an account",
                "Write account or namespace/account",
            )
        full.add(f"{namespace or found.namespace}/{account}")
    return tuple(sorted(full))


def _blocks(values: tuple[str, ...], found: Findings, path: Path) -> tuple[str, ...]:
    for at, value in enumerate(values):
        if not is_block(value):
            reason = f"{shorten(value)} is neither an IP address nor a CIDR block"
            found.add("MS1103", (*path, at), reason, "Write e.g. 10.1.2.3 or 10.1.0.0/16")
    return _texts(values)


def _check_texts(name: str, values: tuple[str, ...], found: Findings, path: Path) -> None:
    for value in values:
        if value.startswith("spiffe://"):
            reason = f"{shorten(value)} begins with spiffe://, which no principal does"
            found.add("MS1012", (*path, name), reason, "Write <trust domain>/ns/<namespace>/sa/<account>")


def _check_path(text: str, found: Findings, path: Path) -> None:
    if "{" not in text and "}" not in text:
        return
    if re.sub(r"\{\*\*?\}", "", text).strip("/").count("*") or re.search(
        r"[{}]", re.sub(r"\{\*\*?\}", "", text)
    ):
        remedy = "Use {*} for one segment and {**} for several, and no * beside them"
        found.add("MS1012", path, f"{shorten(text)} is no path template", remedy)


def _port(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65_535:
        return int(text)
    return None
