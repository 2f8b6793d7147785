"""TLS contexts of both sides, and the secrets that they name. No key is ever printed."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.sidecar.plan.matching import StringMatch

TlsVersion = Literal["1.2", "1.3"]


class AlternativeNames(msgspec.Struct, frozen=True):
    any_of: tuple[StringMatch, ...] = ()


class DownstreamTls(msgspec.Struct, frozen=True):
    certificates: tuple[str, ...]
    validation: str | None
    alternative_names: AlternativeNames
    require_client_certificate: bool
    application_protocols: tuple[str, ...]
    min_version: TlsVersion = "1.2"
    max_version: TlsVersion = "1.3"


class UpstreamTls(msgspec.Struct, frozen=True):
    certificates: tuple[str, ...]
    validation: str | None
    alternative_names: AlternativeNames
    server_name: str
    auto_server_name: bool
    auto_san_validation: bool
    application_protocols: tuple[str, ...]
    min_version: TlsVersion = "1.2"
    max_version: TlsVersion = "1.3"


class CertificateChain(msgspec.Struct, frozen=True):
    certificates: bytes
    key: bytes
    key_id: int | None = None

    def __repr__(self) -> str:
        return "CertificateChain(…)"


class TrustDomainBundle(msgspec.Struct, frozen=True):
    domain: str
    roots: bytes


class ValidationContext(msgspec.Struct, frozen=True):
    roots: bytes
    domains: tuple[TrustDomainBundle, ...] = ()


class CertificateMaterial(msgspec.Struct, frozen=True, tag_field="kind", tag="certificate"):
    chain: CertificateChain


class ValidationMaterial(msgspec.Struct, frozen=True, tag_field="kind", tag="validation"):
    context: ValidationContext


class Secret(msgspec.Struct, frozen=True):
    name: str
    material: CertificateMaterial | ValidationMaterial

    def __repr__(self) -> str:
        return f"Secret({self.name}, …)"
