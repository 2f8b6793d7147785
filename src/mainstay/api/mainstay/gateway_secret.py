"""GatewaySecret: certificate and key of a gateway, in the shape of a Kubernetes Secret.

In: YAML or JSON, through the decoder. Out: ``GatewaySecret``, whose values only ``identity`` reads (``certificate_of``).
Invariant: values are marked secret, so ``encode`` masks them unless the store asks, and no problem quotes them.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

import msgspec

from mainstay.api.define import SECRET, Length, Part, Pattern

BASE64 = Pattern(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", "base64 with padding")
CERTIFICATE, KEY, AUTHORITIES = "tls.crt", "tls.key", "ca.crt"


class GatewaySecret(Part, frozen=True):
    """Certificate and key of a gateway. Kept encrypted, shown by no command, and sent only to gateways that use it."""

    type: Annotated[
        Literal["kubernetes.io/tls", "Opaque"], "`kubernetes.io/tls` needs `tls.crt` and `tls.key`."
    ] = "kubernetes.io/tls"
    data: Annotated[
        dict[str, Annotated[str, BASE64, Length(0, 1 << 20)]],
        "`tls.crt`, `tls.key`, `ca.crt`: PEM in base64.",
        SECRET,
        Length(0, 16),
    ] = {}
    string_data: Annotated[
        dict[str, Annotated[str, Length(0, 1 << 20)]], "The same as plain PEM text.", SECRET, Length(0, 16)
    ] = {}
    immutable: Annotated[bool, "Taken for compatibility; it says nothing here."] = False

    def __repr__(self) -> str:
        return f"GatewaySecret(type={self.type!r}, …)"


class Certificate(msgspec.Struct, frozen=True):
    """PEM texts of a secret; empty where absent. ``key`` never leaves the one function that sends it."""

    chain: str
    key: str
    authorities: str

    def __repr__(self) -> str:
        return "Certificate(…)"


def certificate_of(secret: GatewaySecret) -> Certificate | None:
    """Return the secret's PEM texts; ``stringData`` wins over ``data``. None if ``data`` is no base64 of text."""
    values: dict[str, str] = {}
    try:
        for name, coded in secret.data.items():
            values[name] = base64.b64decode(coded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    values.update(secret.string_data)
    authorities = values.get(AUTHORITIES, values.get("cacert", ""))
    chain, key = values.get(CERTIFICATE, values.get("cert", "")), values.get(KEY, values.get("key", ""))
    return Certificate(chain, key, authorities)
