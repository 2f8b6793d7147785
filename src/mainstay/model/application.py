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

MARK = "MAINSTAY_APPLICATION_SERVICES"
"""Node metadata of a proxy that serves the registry API: what is known of its application outlives its stream."""

RPC_PORT_NAME = "rpc"


class Application(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """`published`, `subscribed`: names of RPC services as calls carry them, sorted. `port`: where peers reach those that are
    published, on the workload's first address. `endpoint`: ``address:port`` of the application itself, ``data``: where its calls
    go out; either empty: there is none."""

    protocol: str = "bolt"
    published: tuple[str, ...] = ()
    subscribed: tuple[str, ...] = ()
    port: int = 0
    endpoint: str = ""
    data: str = ""
    name: str = ""


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
    if not _PROTOCOL.fullmatch(application.protocol):
        raise ValueError(f"protocol: {application.protocol[:80]!r} is no name of a protocol")
    if not 0 <= application.port <= 65_535 or len(application.name) > MAX_NAME:
        raise ValueError("port or name cannot be")
    for place in (application.endpoint, application.data):
        if place:
            split_place(place)
    return application


def check_name(name: str) -> None:
    """ValueError if it can be no name of an RPC service."""
    if len(name) > MAX_NAME:
        raise ValueError(f"a service's name has at most {MAX_NAME} characters, not {len(name)}")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} is no name of a service: letters, digits, `.`, `_`, `$`, `-`, and `:` between its parts"
        )


def is_rpc_service(text: str) -> bool:
    """Tell whether a text can only be the name of an RPC service, as applications publish them (``com.acme.Quotes:1.0``): it has
    a colon, and is neither an address nor a host with its port. Capitals count in it."""
    if ":" not in text or text.rpartition(":")[2].isdecimal():
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
