"""The private pool: message classes by full name, and JSON with it.

Message classes are made by protobuf at run time, hence `Any` in the types here: a misspelt field raises AttributeError or
ValueError, which tests find.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.internal import api_implementation

from mainstay import lean

# The pure Python implementation is imported whichever is in use; it takes more than a megabyte.
with lean.without(
    *(["google.protobuf.internal.python_message"] if api_implementation.Type() == "upb" else [])
):
    from google.protobuf import descriptor_pool, message_factory

TYPE_URL = "type.googleapis.com/"


_DESCRIPTORS = Path(__file__).with_name("types.fds")


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The pool, filled on first use (some milliseconds)."""
    made = descriptor_pool.DescriptorPool()
    for file in _files(_DESCRIPTORS.read_bytes()):
        made.AddSerializedFile(file)
    return made


def _files(described: bytes) -> Iterator[bytes]:
    """The files of a FileDescriptorSet, whose only field (1) they are. Read by hand: its class would cost every sidecar a
    megabyte, for the module that has it holds the descriptors of descriptors too."""
    at = 0
    while at < len(described):
        if described[at] != 0x0A:
            raise ValueError(f"{_DESCRIPTORS} is damaged")
        size = shift = 0
        more = True
        while more:
            at += 1
            size |= (described[at] & 0x7F) << shift
            shift += 7
            more = described[at] >= 0x80
        at += 1
        yield described[at : at + size]
        at += size


@cache
def message_class(name: str) -> Any:
    """The class of a message by its full name; raises KeyError for a type that is not in the subset."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def knows(name: str) -> bool:
    """Whether the subset has a message of that full name."""
    try:
        pool().FindMessageTypeByName(name)
    except KeyError:
        return False
    return True


def parse(name: str, body: bytes) -> Any:
    """A message from its bytes; raises ValueError if they are not one."""
    try:
        return message_class(name).FromString(body)
    except Exception as error:  # protobuf's DecodeError has no stable home across its implementations
        raise ValueError(f"not a {name}: {error}") from None


def unpack(any_message: Any) -> Any | None:
    """The message inside a `google.protobuf.Any`, or `None` if its type is not in the subset; ValueError if it is malformed."""
    name = any_message.type_url.rpartition("/")[2]
    return parse(name, any_message.value) if knows(name) else None


def to_json(message: Any, *, lower_camel: bool = False) -> dict[str, Any]:
    """Protobuf JSON with the field names of the .proto files, or in lowerCamelCase as istioctl shows them; enums by name."""
    # Only the control plane and tests pay for it.
    from google.protobuf import json_format

    return json_format.MessageToDict(
        message, preserving_proto_field_name=not lower_camel, descriptor_pool=pool()
    )


def from_json(name: str, value: dict[str, Any]) -> Any:
    """A message from Protobuf JSON; raises ValueError with the path of what does not fit."""
    from google.protobuf import json_format

    try:
        return json_format.ParseDict(value, message_class(name)(), descriptor_pool=pool())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
