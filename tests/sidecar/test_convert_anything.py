"""Whatever a control plane sends, conversion ends in a plan struct or in a refusal with a path: never in another exception, which
would kill the brain."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay._proto import pool
from mainstay.sidecar.bootstrap import document
from mainstay.sidecar.convert import described, generic_proxy, generic_route, matcher
from mainstay.sidecar.convert.filters.table import HTTP, NETWORK, OVERRIDES, ROUTER
from mainstay.sidecar.convert.refuse import Refused, known_fields, lenient
from mainstay.sidecar.convert.table import KINDS, convert, convert_message

TYPE_URL = "type.googleapis.com/"
EXTENSIONS = sorted(
    {
        *HTTP,
        *OVERRIDES,
        *NETWORK,
        ROUTER,
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        generic_proxy.TYPE,
        generic_proxy.ROUTER,
        generic_route.ACTION,
        described.DUBBO,
        *matcher.TYPES,
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "xds.type.v3.TypedStruct",
        "google.protobuf.Struct",
    }
)
TEXTS = (
    "",
    "a",
    "*",
    "10.0.0.1",
    "::1",
    "/dev/stdout",
    "5xx,reset",
    "\x00",
    "%REQ(X)%",
    "é",
    "https",
    "x" * 300,
)
NUMBERS = (0, 1, 2, 3, 5, 80, 200, 65_535, 65_536, 2**31 - 1)
MAX_DEPTH = 7


class Maker:
    """Makes random messages of a type; fields that converters know are more likely, so that they get far."""

    def __init__(self, seed: int, daring: float) -> None:
        self._random = random.Random(seed)
        self._daring = daring

    def fill(self, message: Any, depth: int = 0) -> Any:
        descriptor = message.DESCRIPTOR
        if descriptor.full_name == "google.protobuf.Any":
            return self._fill_any(message, depth)
        known = known_fields().get(descriptor.full_name)
        for field in descriptor.fields:
            taken = known is None or field.name in known
            if self._random.random() < (0.5 if taken else self._daring) and depth < MAX_DEPTH:
                self._set(message, field, depth)
        return message

    def _fill_any(self, message: Any, depth: int) -> Any:
        name = self._random.choice(EXTENSIONS)
        message.type_url = TYPE_URL + name
        message.value = self.fill(pool.message_class(name)(), depth + 1).SerializeToString()
        return message

    def _set(self, message: Any, field: Any, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._set_map(message, field, depth)
        elif field.message_type is not None:
            target = getattr(message, field.name)
            if field.is_repeated:
                for _ in range(self._random.randint(0, 2)):
                    self.fill(target.add(), depth + 1)
            else:
                target.SetInParent()
                self.fill(target, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(
                self._scalar(field) for _ in range(self._random.randint(0, 2))
            )
        else:
            setattr(message, field.name, self._scalar(field))

    def _set_map(self, message: Any, field: Any, depth: int) -> None:
        value = field.message_type.fields_by_name["value"]
        target = getattr(message, field.name)
        key = field.message_type.fields_by_name["key"]
        is_text = key.cpp_type == key.CPPTYPE_STRING
        name = self._random.choice((*TEXTS, *EXTENSIONS) if is_text else NUMBERS)
        if value.message_type is not None:
            self.fill(target[name], depth + 1)
        else:
            target[name] = self._scalar(value)

    def _scalar(self, field: Any) -> Any:
        kinds: dict[int, Callable[[], Any]] = {
            field.CPPTYPE_STRING: lambda: (
                self._random.choice(TEXTS)
                if field.type != field.TYPE_BYTES
                else self._random.choice(TEXTS).encode()
            ),
            field.CPPTYPE_BOOL: lambda: self._random.random() < 0.5,
            field.CPPTYPE_DOUBLE: lambda: self._random.choice((0.0, 1.5, -1.0, 1e300)),
            field.CPPTYPE_FLOAT: lambda: self._random.choice((0.0, 1.5, -1.0)),
            field.CPPTYPE_ENUM: lambda: self._random.choice([each.number for each in field.enum_type.values]),
        }
        made = kinds.get(field.cpp_type)
        return made() if made is not None else self._random.choice(NUMBERS)


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32), daring=st.sampled_from([0.0, 0.02, 0.3]), leniently=st.booleans())
def test_any_message_is_taken_or_refused(kind: str, seed: int, daring: float, leniently: bool) -> None:
    message = Maker(seed, daring).fill(pool.message_class(kind)())
    try:
        if leniently:
            with lenient():
                converted = convert_message(KINDS[kind], message)
        else:
            converted = convert_message(KINDS[kind], message)
    except Refused:
        return
    assert converted.resource.body


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(deadline=None, max_examples=100)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(kind: str, body: bytes) -> None:
    with suppress(Refused):
        convert(kind, body)


@settings(deadline=None, max_examples=300)
@given(text=st.text(alphabet="{}[]:,-\n \"'&*!@abc1.\t", max_size=60))
def test_any_text_is_a_bootstrap_or_refused(text: str) -> None:
    with suppress(Refused):
        document.parse(text)
