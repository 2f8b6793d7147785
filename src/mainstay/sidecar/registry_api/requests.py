"""What applications post, as plain values.

In: path and body of a request. Out: one of the requests, or ValueError in words for the application's log. Invariants: bodies are
JSON whatever their content type says (Java sends text/plain); what is not known here is left out, since every version of these
clients has fields of its own; a name is one that calls can carry.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay.model.application import DEFAULT_WEIGHT, MAX_WEIGHT, check_name, in_group, service_of

DEFAULT_PROTOCOLS = frozenset({"", "DEFAULT"})
"""Clients that have one protocol alone do not name it."""


class Register(msgspec.Struct, frozen=True):
    """An application has started."""

    name: str


class Publish(msgspec.Struct, frozen=True):
    """`service` with its group, here and below. `protocol` empty: the one there is. `port` 0: the one that the sidecar was told
    (Java sends none)."""

    service: str
    protocol: str
    port: int
    weight: int = DEFAULT_WEIGHT


class Unpublish(msgspec.Struct, frozen=True):
    service: str


class Subscribe(msgspec.Struct, frozen=True):
    service: str
    protocol: str


class Unsubscribe(msgspec.Struct, frozen=True):
    service: str


Request = Register | Publish | Unpublish | Subscribe | Unsubscribe


class UnknownEndpoint(Exception):  # noqa: N818  it reports the application's fault
    """There is no such path."""


class _Application(msgspec.Struct):
    appName: str | None = None  # noqa: N815


class _Provider(msgspec.Struct):
    properties: dict[str, Any] | None = None


class _Service(msgspec.Struct):
    serviceName: str | None = None  # noqa: N815
    protocolType: str | None = None  # noqa: N815
    port: str | int | None = None
    group: str | None = None
    providerMetaInfo: _Provider | None = None  # noqa: N815


WEIGHTS = ("weight", "_WEIGHT")
"""What SOFARPC calls the weight of a provider, now and of old."""


_application = msgspec.json.Decoder(_Application).decode
_service = msgspec.json.Decoder(_Service).decode


def read_request(path: str, body: bytes) -> Request:
    """The request; raises `UnknownEndpoint`, or ValueError with what is wrong with the body."""
    try:
        match path.partition("?")[0].rstrip("/"):
            case "/configs/application":
                return Register((_application(body).appName or "")[:255])
            case "/services/publish":
                told = _service(body)
                return Publish(_name(told), _protocol(told), _port(told), _weight(told))
            case "/services/unpublish":
                return Unpublish(_name(_service(body)))
            case "/services/subscribe":
                told = _service(body)
                return Subscribe(_name(told), _protocol(told))
            case "/services/unsubscribe":
                return Unsubscribe(_name(_service(body)))
            case other:
                raise UnknownEndpoint(other)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the body is not what {path} takes: {error}") from None
    except RecursionError:
        raise ValueError(f"the body is not what {path} takes: it is nested too deep") from None


def _name(told: _Service) -> str:
    if not told.serviceName:
        raise ValueError("serviceName is missing")
    name = service_of(told.serviceName)
    check_name(name)
    name = in_group(name, told.group or "")
    check_name(name)
    return name


def _weight(told: _Service) -> int:
    """Java sends the parameters of a provider, a weight among them if somebody set it there. What is no weight is left out, as
    SOFARPC does."""
    properties = (told.providerMetaInfo.properties if told.providerMetaInfo else None) or {}
    text = str(next((properties[key] for key in WEIGHTS if key in properties), ""))
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        return DEFAULT_WEIGHT
    return min(int(text), MAX_WEIGHT)


def _protocol(told: _Service) -> str:
    protocol = told.protocolType or ""
    return "" if protocol in DEFAULT_PROTOCOLS else protocol


def _port(told: _Service) -> int:
    text = str(told.port or "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65_535):
        raise ValueError(f"port: {text[:20]!r} is no port")
    return int(text)
