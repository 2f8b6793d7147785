"""What an application tells its sidecar: the RPC services it publishes and those it wants, and where the two are reached.

In: made by the sidecar's registry API, sent to the control plane as one text, kept with the workload's registration. Out: facts
from which RPC services get endpoints, and the proxy its listeners. Invariants: names are checked, sorted and without repeats,
and their number is bounded, whoever sent them.
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from mainstay.model.digest import digest_of

MAX_PUBLISHED = 1_000
MAX_SUBSCRIBED = 2_000
MAX_NAME = 255
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$-]*(?::[A-Za-z0-9_.$-]*){0,4}")
_PROTOCOL = re.compile(r"[a-z][a-z0-9-]{0,62}")
_DATA_ID = re.compile(r"@(?:DEFAULT|[a-z][a-z0-9-]*)$")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
NO_GROUPS = frozenset({"", "SOFA"})
"""The group of whoever names none: SOFARPC's default."""
DEFAULT_WEIGHT = 100
MAX_WEIGHT = 10_000
"""SOFARPC's weights: a provider of 50 gets half the calls of one that says nothing; one of 0 gets none."""

MARK = "MAINSTAY_APPLICATION_SERVICES"
"""Node metadata of a proxy that serves the registry API: what is known of its application outlives its stream."""

RPC_PORT_NAME = "rpc"


class Application(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """`published`, `subscribed`: names of RPC services as calls carry them, sorted; behind one that has a group ``@group``.
    `port`: where peers reach those that are published, on the workload's first address. `endpoint`: ``address:port`` of the
    application itself, ``data``: where its calls go out; either empty: there is none. `weights`: of those published whose weight
    is not `DEFAULT_WEIGHT`, sorted."""

    protocol: str = "bolt"
    published: tuple[str, ...] = ()
    subscribed: tuple[str, ...] = ()
    port: int = 0
    endpoint: str = ""
    data: str = ""
    name: str = ""
    weights: tuple[tuple[str, int], ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Application).decode


def encode_application(application: Application) -> str:
    """As it is sent."""
    return _encode(application).decode()


def decode_application(text: str) -> Application:
    """As it came; ValueError says what cannot be taken."""
    try:
        application = _decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not what an application publishes: {error}") from None
    for what, names, limit in (
        ("published", application.published, MAX_PUBLISHED),
        ("subscribed", application.subscribed, MAX_SUBSCRIBED),
    ):
        if len(names) > limit:
            raise ValueError(f"{what}: {len(names)} services; at most {limit} are taken")
        if list(names) != sorted(set(names)):
            raise ValueError(f"{what}: must be sorted, without repeats")
        for name in names:
            check_name(name)
    weighed = [name for name, _ in application.weights]
    if weighed != sorted(set(weighed)) or not set(application.published).issuperset(weighed):
        raise ValueError("weights: must be of published services, sorted, without repeats")
    if not all(0 <= weight <= MAX_WEIGHT for _, weight in application.weights):
        raise ValueError(f"weights: must be between 0 and {MAX_WEIGHT}")
    if not _PROTOCOL.fullmatch(application.protocol):
        raise ValueError(f"protocol: {application.protocol[:80]!r} is no name of a protocol")
    if not 0 <= application.port <= 65_535 or len(application.name) > MAX_NAME:
        raise ValueError("port or name cannot be")
    for place in (application.endpoint, application.data):
        if place:
            split_place(place)
    return application


def check_name(name: str) -> None:
    """ValueError if it can be no name of an RPC service, or such a name with a group."""
    if len(name) > MAX_NAME:
        raise ValueError(f"a service's name has at most {MAX_NAME} characters, not {len(name)}")
    bare, at, group = name.partition("@")
    if at and (group in NO_GROUPS or not _GROUP.fullmatch(group)):
        raise ValueError(
            f"{group[:80]!r} is no name of a group: at most 63 letters, digits, `.`, `_`, `-`"
            if group not in NO_GROUPS
            else f"{name[:80]!r}: services of that group are written without one"
        )
    if not _NAME.fullmatch(bare):
        raise ValueError(
            f"{name[:80]!r} is no name of a service: letters, digits, `.`, `_`, `$`, `-`, and `:` between its parts"
        )


def is_rpc_service(text: str) -> bool:
    """Tell whether a text can only be the name of an RPC service, as applications publish them (``com.acme.Quotes:1.0``): it has
    a colon or a group, and is neither an address nor a host with its port. Capitals count in it."""
    if "@" not in text and (":" not in text or text.rpartition(":")[2].isdecimal()):
        return False
    try:
        check_name(text)
    except ValueError:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return True
    return False


def service_of(name: str) -> str:
    """The name that calls carry: a registry's data id has ``@DEFAULT`` or ``@protocol`` behind it."""
    return _DATA_ID.sub("", name)


def in_group(name: str, group: str) -> str:
    """The service as a name of the mesh: providers and callers of different groups have nothing to do with each other."""
    return name if group in NO_GROUPS else f"{name}@{group}"


def called_as(host: str) -> str:
    """What calls to a service of the mesh say: a group is in the registry, and in no call."""
    return host.partition("@")[0]


def split_place(place: str) -> tuple[str, int]:
    """``address:port`` (also ``[v6]:port``); ValueError if it is none."""
    host, _, port = place.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    ipaddress.ip_address(bare)
    if not port.isdecimal() or not 0 < int(port) <= 65_535:
        raise ValueError(f"{place[:80]!r} is no address and port")
    return bare, int(port)


def server_name(host: str) -> str:
    """A service's name as one label of a server name, where it could be none (RPC services have upper case and colons)."""
    if re.fullmatch(r"[a-z0-9*]([a-z0-9.*-]*[a-z0-9])?", host) and len(host) <= 180:
        return host
    return f"{digest_of(host.encode()).hex()}.rpc"
