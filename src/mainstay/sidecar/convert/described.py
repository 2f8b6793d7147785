"""Codecs of framed protocols: described ones, which come as data, native ones, which come by name, and Envoy's own for Dubbo,
whose place ours takes.

In: the `codec_config` of a generic proxy, or an entry of the inspector of protocols. Out: `plan.RpcCodec`. Invariants: a
description is read and compiled once, by its digest, however many listeners carry it; the protocols that come with Mainstay are
compiled already. What is wrong with a description is told in its reader's words.
"""

from __future__ import annotations

from typing import Any

from mainstay._proto import pool
from mainstay.protocols.native import native_codec, native_codecs
from mainstay.protocols.shipped import Shipped, shipped_names, shipped_plan
from mainstay.sidecar import plan
from mainstay.sidecar.convert.filters.table import TYPED_STRUCTS, open_config, type_of
from mainstay.sidecar.convert.refuse import Refused, at, check, known

try:
    from _sha256 import sha256  # type: ignore[import-not-found]  # the interpreter's own: hashlib brings OpenSSL along
except ImportError:  # one built without it, or that calls it otherwise
    from hashlib import sha256

DESCRIBED = "mainstay.dev.v1alpha1.DescribedCodec"
NATIVE = "mainstay.dev.v1alpha1.NativeCodec"
INSPECTOR = "mainstay.dev.v1alpha1.ProtocolInspector"
DUBBO = "envoy.extensions.filters.network.generic_proxy.codecs.dubbo.v3.DubboCodecConfig"
CODECS = (DESCRIBED, NATIVE, DUBBO)
MAX_DESCRIPTION = 64 * 1024
MAX_PROBLEMS = 5
"""Problems of a description that are told."""
MOST = 64
"""Compiled descriptions that are kept."""

_FIELDS = ("protocol", "description", "sha256")
_NATIVE_FIELDS = ("codec", "options")
_EXTENSION_FIELDS = known("envoy.config.core.v3.TypedExtensionConfig", {"name", "typed_config"})
_DUBBO_FIELDS = known(DUBBO, ())
_EXACT = 2**53
"""Up to here a number of JSON is a whole number; what is larger would not even cross the border as one."""
_compiled: dict[tuple[str, str], plan.RpcProtocol] = {}


def codec(message: Any) -> plan.RpcCodec:
    """`codec_config`."""
    check(message, _EXTENSION_FIELDS)
    kind = type_of(message.typed_config)
    if kind == DESCRIBED:
        with at("typed_config"):
            return plan.RpcDescribedCodec(described(struct_of(message.typed_config)))
    if kind == NATIVE:
        with at("typed_config"):
            return native(struct_of(message.typed_config))
    if kind == DUBBO:
        _, config = open_config(message.typed_config)
        with at("typed_config"):
            check(config, _DUBBO_FIELDS)
        return plan.RpcDescribedCodec(_shipped("dubbo").plan)
    if not kind:
        raise Refused("typed_config", "is required")
    raise Refused("typed_config", f"{kind} is not supported; use {' or '.join(CODECS)}")


def struct_of(any_message: Any) -> Any:
    """The value of a TypedStruct, a `google.protobuf.Struct`."""
    name = any_message.type_url.rpartition("/")[2]
    if name not in TYPED_STRUCTS:
        raise Refused("", f"{name} comes as xds.type.v3.TypedStruct")
    return pool.parse(name, any_message.value).value


def described(struct: Any) -> plan.RpcProtocol:
    """A `DescribedCodec`: protocol, perhaps its description, perhaps the digest of that."""
    with at("value"):
        given = _texts(struct)
        name, description, digest = (given.get(field, "") for field in _FIELDS)
        if not name:
            raise Refused("protocol", "is required")
        if not description:
            shipped = _shipped(name)
            if digest.lower() not in ("", shipped.sha256):
                reason = f"is not that of the {name} that comes with this version ({shipped.sha256}); send the description"
                raise Refused("sha256", reason)
            return shipped.plan
        body = description.encode()
        if len(body) > MAX_DESCRIPTION:
            raise Refused("description", f"has {len(body)} bytes, more than {MAX_DESCRIPTION}")
        found = sha256(body).hexdigest()
        if digest.lower() not in ("", found):
            raise Refused("sha256", f"is not that of the description, which is {found}")
        return _compile(name, description, found)


def native(struct: Any) -> plan.RpcNativeCodec:
    """A `NativeCodec`: its name, perhaps options, which are the engine's to judge."""
    with at("value"):
        for field in struct.fields:
            if field not in _NATIVE_FIELDS:
                raise Refused(field, f"is not a field of it; there are {', '.join(_NATIVE_FIELDS)}")
        # Looking a field up in a map adds it.
        given = {name: struct.fields[name] for name in _NATIVE_FIELDS if name in struct.fields}
        name = given["codec"].string_value if "codec" in given else ""
        if not name:
            raise Refused("codec", "is required, as text")
        if native_codec(name) is None:
            known_ones = ", ".join(each.name for each in native_codecs())
            raise Refused("codec", f"there is no native codec {name!r}; there are {known_ones}")
        if "options" not in given:
            return plan.RpcNativeCodec(name)
        options = given["options"]
        if options.WhichOneof("kind") != "struct_value":
            raise Refused("options", "must be an object")
        with at("options"):
            return plan.RpcNativeCodec(
                name, {option: _value(option, value) for option, value in options.struct_value.fields.items()}
            )


def _value(option: str, value: Any) -> plan.RpcOption:
    match value.WhichOneof("kind"):
        case "string_value":
            return str(value.string_value)
        case "bool_value":
            return bool(value.bool_value)
        case "number_value":
            number = float(value.number_value)
            return int(number) if number.is_integer() and abs(number) <= _EXACT else number
        case _:
            raise Refused(option, "must be a text, a number or a truth")


def _detection_of(codec: plan.RpcCodec) -> tuple[str, tuple[plan.RpcPattern, ...]]:
    """Its name, and the first bytes that tell it."""
    if isinstance(codec, plan.RpcDescribedCodec):
        return codec.protocol.name, codec.protocol.detection
    entry = native_codec(codec.name)
    return codec.name, entry.detection if entry else ()


def inspected(struct: Any) -> tuple[plan.RpcCodec, ...]:
    """A `ProtocolInspector`: protocols that first bytes tell, also from each other."""
    with at("value"):
        for field in struct.fields:
            if field != "protocols":
                raise Refused(field, "is not a field of it")
        entries = struct.fields["protocols"].list_value.values
        if not entries:
            raise Refused("protocols", "needs at least one")
        found: list[plan.RpcCodec] = []
        for index, entry in enumerate(entries):
            with at(f"protocols[{index}]"):
                is_native = "codec" in entry.struct_value.fields
                given = (
                    native(entry.struct_value)
                    if is_native
                    else plan.RpcDescribedCodec(described(entry.struct_value))
                )
                name, detection = _detection_of(given)
                if not detection:
                    raise Refused("", f"the first bytes of {name} do not tell it; a port must declare it")
                for known_already in found:
                    other, theirs = _detection_of(known_already)
                    if _collide(detection, theirs):
                        reason = f"a connection may begin with bytes that fit both {name} and {other}"
                        raise Refused("", reason)
                found.append(given)
        return tuple(found)


def _texts(struct: Any) -> dict[str, str]:
    found = {}
    for field, value in struct.fields.items():
        if field not in _FIELDS:
            raise Refused(field, f"is not a field of it; there are {', '.join(_FIELDS)}")
        if value.WhichOneof("kind") != "string_value":
            raise Refused(field, "must be text")
        found[field] = value.string_value
    return found


def _shipped(name: str) -> Shipped:
    shipped = shipped_plan(name)
    if shipped is None:
        if native_codec(name) is not None:
            raise Refused("protocol", f"{name} is no description but a native codec: name it by a {NATIVE}")
        names = ", ".join(shipped_names())
        raise Refused("description", f"is required: {name!r} does not come with Mainstay, as {names} do")
    return shipped


def _compile(name: str, description: str, digest: str) -> plan.RpcProtocol:
    shipped = shipped_plan(name)
    if shipped is not None and shipped.sha256 == digest:
        return shipped.plan
    known_already = _compiled.get((name, digest))
    if known_already is not None:
        return known_already
    made = _read(name, description)
    if len(_compiled) >= MOST:
        _compiled.clear()
    _compiled[name, digest] = made
    return made


def _read(name: str, description: str) -> plan.RpcProtocol:
    # Only those that have protocols of their own pay for it.
    from mainstay.protocols.compile import Unmakable, compile_protocol
    from mainstay.protocols.read import read_descriptions

    with at("description"):
        found, problems = read_descriptions([("description", description)])
        if problems:
            words = [str(problem) for problem in problems[:MAX_PROBLEMS]]
            if len(problems) > MAX_PROBLEMS:
                words.append(f"and {len(problems) - MAX_PROBLEMS} more")
            raise Refused("", "; ".join(words))
        if len(found) != 1:
            raise Refused("", f"holds {len(found)} documents; it must be one")
        if found[0].name != name:
            raise Refused("", f"is of the protocol {found[0].name!r}, not {name!r}")
        try:
            return compile_protocol(name, found[0].description)
        except Unmakable as error:
            raise Refused("", f"{error.reason}. {error.remedy}") from None


def _collide(one: tuple[plan.RpcPattern, ...], other: tuple[plan.RpcPattern, ...]) -> bool:
    return any(
        all(
            (left ^ right) & left_mask & right_mask == 0
            for left, right, left_mask, right_mask in zip(
                mine.value, theirs.value, mine.mask, theirs.mask, strict=False
            )
        )
        for mine in one
        for theirs in other
    )
