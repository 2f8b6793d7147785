"""The kind `Protocol`: a description as an object of the mesh, or as a file that only a program reads.

In: decoded descriptions. Out: `RpcProtocol` facts, or every fault by path: the same ones that `mainstay protocol
validate` prints. Invariant: what becomes a fact compiles, and every proxy of ours takes it.
"""

from __future__ import annotations

import functools
import hashlib
import json

from mainstay.api.encode import encode_part
from mainstay.api.findings import Findings
from mainstay.api.kind import Defaults, Fact, Kind, Lookup
from mainstay.api.mainstay.group import GROUP, VERSIONS
from mainstay.api.object import Object
from mainstay.model.problem import Problem
from mainstay.model.protocol import declared_protocol
from mainstay.model.rpc import Opening, RpcProtocol
from mainstay.protocols.check import check
from mainstay.protocols.description import Protocol, resolve
from mainstay.protocols.heartbeat import heartbeat_check
from mainstay.protocols.native import native_codecs
from mainstay.protocols.shapes import detection_of, openings_of, shapes_of
from mainstay.sidecar import plan

CONTRADICTS, ALIKE = "MS1112", "MS1113"

MAX_DESCRIPTION = 64 << 10
"""Bytes of a description on its way to a proxy; what describes a protocol has a twentieth of it."""


BAD_NAME, OTHER_NAME = "MS1012", "Give the protocol another name"
MAX_NAME = 63
"""Characters of a protocol's name, which is a label of metrics; the engine takes no longer ones."""


def name_fault(name: str) -> str:
    """Why no port could declare a protocol of this name; empty if one can."""
    if len(name) > MAX_NAME:
        return f"a protocol's name has at most {MAX_NAME} characters"
    first = name.partition("-")[0]
    return f"a port whose name begins with {first} speaks that" if declared_protocol(first) else ""


def translate_protocol(thing: Object, _defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the protocol."""
    found = Findings(thing)
    for finding in check(thing.spec):
        found.add(CONTRADICTS, ("spec", *finding.path), finding.reason, finding.remedy)
    if reason := name_fault(thing.name):
        found.add(BAD_NAME, ("metadata", "name"), reason, OTHER_NAME)
    if found.problems:
        return found.problems
    text = _document(thing.name, thing.spec)
    if len(text.encode()) > MAX_DESCRIPTION:
        reason = f"the description has {len(text.encode()):,} bytes"
        found.add("MS1005", ("spec",), reason, f"Keep it below {MAX_DESCRIPTION:,}: shorten names")
    return found.or_facts([_fact(thing.name, thing.spec, text, thing.created)])


def check_protocol(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return the protocols whose first bytes could be taken for this one's."""
    found = Findings(thing)
    mine = _openings(thing.spec) if not check(thing.spec) else ()
    if not mine:
        return []
    others = {fact.name: fact.openings for fact in shipped_protocols()}
    for other in lookup.objects(KIND.name):
        others[other.name] = _openings(other.spec) if not check(other.spec) else ()
    others.pop(thing.name, None)
    for name, theirs in sorted(others.items()):
        if any(one.meets(two) for one in mine for two in theirs):
            reason = f"a connection may begin with bytes that fit both {thing.name} and {name}"
            remedy = "Say declared-only in one of them, or add fixed bytes"
            found.add(ALIKE, ("spec", "detection"), reason, remedy)
    return found.problems


KIND = Kind(
    GROUP,
    VERSIONS,
    "Protocol",
    "protocols",
    Protocol,
    translate_protocol,
    check_protocol,
    namespaced=False,
)


@functools.cache
def shipped_protocols() -> tuple[RpcProtocol, ...]:
    """Return the protocols that come with Mainstay, without their descriptions: every proxy of ours has them, and the native
    codecs."""
    from mainstay.protocols.read import shipped  # `read` decodes with the kind above

    described = [_fact(each.name, each.description) for each in shipped()]
    native = [
        RpcProtocol(each.name, openings=tuple(sorted(map(_opening, each.detection))), native=True)
        for each in native_codecs()
    ]
    return (*described, *native)


def _opening(pattern: plan.RpcPattern) -> Opening:
    return Opening(pattern.mask, pattern.value)


def _fact(name: str, description: Protocol, text: str = "", created: int = 0) -> RpcProtocol:
    digest = hashlib.sha256(text.encode()).hexdigest() if text else ""
    check = heartbeat_check(name, description)
    heartbeat = (check.send, check.receive) if check else ()
    return RpcProtocol(name, text, digest, _openings(description), created, heartbeat)


def _document(name: str, description: Protocol) -> str:
    """The document a proxy gets: no labels, no comments, so that only what it means gives a new version."""
    written = {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": {"name": name},
        "spec": encode_part(description),
    }
    return json.dumps(written, separators=(",", ":"), ensure_ascii=False)


def _openings(description: Protocol) -> tuple[Opening, ...]:
    if description.detection != "certain":
        return ()
    resolved = resolve(description)
    shapes = shapes_of(resolved)
    patterns = detection_of(resolved, shapes, openings_of(resolved, shapes))
    return tuple(sorted(Opening(each.mask, each.value) for each in patterns))
