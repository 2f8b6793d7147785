"""Names as authors write them, made unique: hosts, gateways, namespaces, addresses.

In: texts of one object, with its ``Findings``. Out: what keys of the model are made of: lower-case hosts without trailing
dot, short ones completed as Istio does (``reviews`` → ``reviews.<namespace>.svc.<suffix>``; names with a dot, ``*`` and IP
addresses stay). A text that is none of what its field takes is reported and comes back empty.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from mainstay.api.findings import Findings
from mainstay.api.kind import Defaults
from mainstay.api.node import Path
from mainstay.api.object import NAMESPACE
from mainstay.api.problems import shorten
from mainstay.model.application import is_rpc_service
from mainstay.model.key import EVERYWHERE, MESH, Visibility
from mainstay.model.scope import HostPattern

_LABEL = r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAMESPACE = re.compile(NAMESPACE.expression)
MAX_HOST = 253


def is_address(text: str) -> bool:
    """Tell whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_block(text: str) -> bool:
    """Tell whether a text is an IP address or a CIDR block (host bits may be set, as proxies take them)."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_host(text: str, wildcard: bool = False) -> bool:
    """Tell whether a text is a DNS name, with ``wildcard`` also ``*`` or ``*.suffix``."""
    if wildcard and text == "*":
        return True
    bare = text[2:] if wildcard and text.startswith("*.") else text
    return len(text) <= MAX_HOST and _HOST.fullmatch(bare) is not None


def bare_host(text: str) -> str:
    """Return a host in the one form it has in keys."""
    return text if is_rpc_service(text) else text.lower().removesuffix(".")


def read_host(text: str, found: Findings, path: Path, *, wildcard: bool = False) -> str:
    """Return a host in lower case without trailing dot, or report it. IP addresses and names of RPC services are taken as
    they are."""
    host = bare_host(text)
    if is_host(host, wildcard) or is_address(text) or is_rpc_service(text):
        return host
    allowed = "a DNS name, `*.suffix` or `*`" if wildcard else "a DNS name"
    found.add("MS1101", path, f"{shorten(text)} is not a host", f"Write {allowed}")
    return ""


def complete_host(host: str, namespace: str, defaults: Defaults) -> str:
    """Return a host's full name: short ones belong to ``namespace``."""
    if "." in host or host in ("*", "") or is_address(host) or is_rpc_service(host):
        return host
    return f"{host}.{namespace}.svc.{defaults.mesh.domain_suffix}"


def read_full_host(
    text: str, found: Findings, path: Path, defaults: Defaults, *, wildcard: bool = False
) -> str:
    """Return the full name of a host, or report it."""
    return complete_host(read_host(text, found, path, wildcard=wildcard), found.namespace, defaults)


def read_visibility(names: tuple[str, ...], found: Findings, path: Path) -> Visibility:
    """Return the namespaces of an ``exportTo``; none written means everyone."""
    if not names:
        return EVERYWHERE
    chosen: set[str] = set()
    for at, name in enumerate(names):
        if name == ".":
            chosen.add(found.namespace)
        elif name == "~":
            if len(names) > 1:
                found.add(
                    "MS1106",
                    (*path, at),
                    "`~` stands for nobody, but others are listed too",
                    "Keep `~` alone",
                )
        elif name == "*" or _NAMESPACE.fullmatch(name):
            chosen.add(name)
        else:
            found.add(
                "MS1012",
                (*path, at),
                f"{shorten(name)} is not a namespace",
                "Write `.` for this namespace, `*` for all, or a namespace's name",
            )
    return EVERYWHERE if "*" in chosen else tuple(sorted(chosen))


def read_pattern(
    text: str, found: Findings, path: Path, *, namespace_needed: bool = False
) -> HostPattern | None:
    """Return a ``namespace/host`` pattern; None for ``~``, which stands for nothing, and for what was reported.

    Without ``namespace_needed`` a host alone means any namespace.
    """
    namespace, slash, host = text.partition("/")
    if not slash:
        if namespace_needed:
            remedy = f"Write ./{text} for this namespace, */{text} for any, or another namespace's name before the slash"
            found.add("MS1101", path, f"{shorten(text)} names no namespace", remedy)
            return None
        namespace, host = "*", text
    if namespace == "~":
        return None
    if namespace == ".":
        namespace = found.namespace
    elif namespace != "*" and not _NAMESPACE.fullmatch(namespace):
        found.add("MS1012", path, f"{shorten(namespace)} is not a namespace", "Write `.`, `*`, `~` or a name")
        return None
    full = read_host(host, found, path, wildcard=True)
    return HostPattern(namespace, full) if full else None


def find_audience(text: str, namespace: str) -> str | None:
    """Return the audience a VirtualService of ``namespace`` means by a gateway's name: ``mesh``, or ``namespace/name``.

    Istio's spellings: ``name``, ``namespace/name``, ``./name``, and of old ``name.namespace[.svc.…]``.
    """
    if text == MESH:
        return MESH
    at, slash, name = text.partition("/")
    if not slash:
        name, _, rest = text.partition(".")
        at = rest.partition(".")[0] or namespace
    elif at == ".":
        at = namespace
    return f"{at}/{name}" if _NAMESPACE.fullmatch(at) and is_host(name) else None


def read_audience(text: str, found: Findings, path: Path) -> str:
    """Return the audience of a gateway's name, or report it."""
    audience = find_audience(text, found.namespace)
    if audience is None:
        reason = f"{shorten(text)} is not a gateway's name"
        found.add("MS1012", path, reason, "Write mesh, name or namespace/name")
    return audience or ""


def read_blocks(texts: Iterable[str], found: Findings, path: Path) -> tuple[str, ...]:
    """Return IP addresses and CIDR blocks, sorted, reporting what is neither."""
    good: set[str] = set()
    for at, text in enumerate(texts):
        if is_block(text):
            good.add(text)
        else:
            reason = f"{shorten(text)} is neither an IP address nor a CIDR block"
            found.add("MS1103", (*path, at), reason, "Write e.g. 10.1.2.3 or 10.1.0.0/16")
    return tuple(sorted(good))
