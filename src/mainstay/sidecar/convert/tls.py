"""TLS contexts and secrets of both sides.

Secrets are named, never inlined: what a context holds inline becomes a secret resource of its own beside it (`Gathered`).
"""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.filters.table import open_config
from mainstay.sidecar.convert.gathered import Gathered, ReadFile, no_files
from mainstay.sidecar.convert.refuse import Refused, at, check, known, plain, unsupported
from mainstay.sidecar.convert.source import config_source, patience

_TLS = "envoy.extensions.transport_sockets.tls.v3"
DOWNSTREAM = f"{_TLS}.DownstreamTlsContext"
UPSTREAM = f"{_TLS}.UpstreamTlsContext"
RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
SPIFFE = f"{_TLS}.SPIFFECertValidatorConfig"
_COMMON = {
    "tls_params",
    "tls_certificate_sds_secret_configs",
    "tls_certificates",
    "validation_context",
    "validation_context_sds_secret_config",
    "combined_validation_context",
    "alpn_protocols",
}
_VERSIONS: dict[int, plan.TlsVersion] = {3: "1.2", 4: "1.3"}


_DOWNSTREAM_TLS_CONTEXT_FIELDS = known(
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    {"common_tls_context", "require_client_certificate", "require_sni", "session_timeout"},
)
_UPSTREAM_TLS_CONTEXT_FIELDS = known(
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    {
        "common_tls_context",
        "sni",
        "auto_sni_san_validation",
        "max_session_keys",
    },
)
_COMMON_TLS_CONTEXT_FIELDS = known("envoy.extensions.transport_sockets.tls.v3.CommonTlsContext", _COMMON)
_TLS_CERTIFICATE_FIELDS = known(
    "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
    # Files are watched themselves; a directory says nothing new.
    {"certificate_chain", "private_key", "watched_directory"},
)
_VALIDATION_FIELDS = known(
    "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
    {
        "trusted_ca",
        "watched_directory",
        "match_subject_alt_names",
        "match_typed_subject_alt_names",
        "custom_validator_config",
    },
)
_SPIFFE_FIELDS = known(SPIFFE, {"trust_domains"})
plain(f"{SPIFFE}.TrustDomain", {"name", "trust_bundle"})
_COMBINED_VALIDATION_FIELDS = known(
    "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext",
    {"default_validation_context", "validation_context_sds_secret_config"},
)
_DEFAULT_VALIDATION_FIELDS = known(
    "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
    {"match_typed_subject_alt_names", "match_subject_alt_names"},
)


_TLS_PARAMETERS_FIELDS = known(
    "envoy.extensions.transport_sockets.tls.v3.TlsParameters",
    {
        "tls_minimum_protocol_version",
        "tls_maximum_protocol_version",
        "ecdh_curves",
        "signature_algorithms",
        "cipher_suites",
    },
)


def downstream(socket: Any, gathered: Gathered) -> plan.DownstreamTls | None:
    """A listener's transport socket; `None` for clear text."""
    kind, context = _open(socket)
    if kind == RAW_BUFFER:
        return None
    if kind != DOWNSTREAM:
        raise Refused("typed_config", f"{kind} is not supported")
    check(context, _DOWNSTREAM_TLS_CONTEXT_FIELDS)
    if values.wrapped(context, "require_sni", False):
        unsupported("require_sni")
    with at("common_tls_context"):
        common = context.common_tls_context
        certificates = _certificates(common, gathered)
        validation, names = _validation(common, gathered)
        low, high = _versions(common, "1.3")
    return plan.DownstreamTls(
        certificates,
        validation,
        names,
        values.wrapped(context, "require_client_certificate", False),
        tuple(common.alpn_protocols),
        low,
        high,
    )


def upstream(socket: Any, gathered: Gathered) -> plan.UpstreamTls | None:
    """A cluster's transport socket; `None` for clear text."""
    kind, context = _open(socket)
    if kind == RAW_BUFFER:
        return None
    if kind != UPSTREAM:
        raise Refused("typed_config", f"{kind} is not supported")
    check(
        context,
        _UPSTREAM_TLS_CONTEXT_FIELDS,
    )
    with at("common_tls_context"):
        common = context.common_tls_context
        certificates = _certificates(common, gathered)
        validation, names = _validation(common, gathered)
        low, high = _versions(common, "1.3")
    return plan.UpstreamTls(
        certificates,
        validation,
        names,
        context.sni,
        False,
        context.auto_sni_san_validation,
        tuple(common.alpn_protocols),
        low,
        high,
    )


def _open(socket: Any) -> tuple[str, Any]:
    if not socket.HasField("typed_config"):
        if socket.name == "envoy.transport_sockets.raw_buffer":
            return RAW_BUFFER, None
        raise Refused("typed_config", "is required")
    return open_config(socket.typed_config)


def _certificates(common: Any, gathered: Gathered) -> tuple[str, ...]:
    check(common, _COMMON_TLS_CONTEXT_FIELDS)
    names = []
    for index, config in enumerate(common.tls_certificate_sds_secret_configs):
        with at(f"tls_certificate_sds_secret_configs[{index}]"):
            names.append(_named(config, gathered))
    for index, certificate in enumerate(common.tls_certificates):
        with at(f"tls_certificates[{index}]"):
            names.append(gathered.add_secret(certificate_material(certificate, gathered.read_file)))
    return tuple(names)


def _validation(common: Any, gathered: Gathered) -> tuple[str | None, plan.AlternativeNames]:
    match common.WhichOneof("validation_context_type"):
        case None:
            return None, plan.AlternativeNames()
        case "validation_context_sds_secret_config":
            with at("validation_context_sds_secret_config"):
                name = _named(common.validation_context_sds_secret_config, gathered)
            return name, plan.AlternativeNames()
        case "validation_context":
            with at("validation_context"):
                context = common.validation_context
                return gathered.add_secret(validation_material(context, gathered.read_file)), _names(context)
        case "combined_validation_context":
            with at("combined_validation_context"):
                combined = common.combined_validation_context
                check(combined, _COMBINED_VALIDATION_FIELDS)
                with at("default_validation_context"):
                    default = combined.default_validation_context
                    check(default, _DEFAULT_VALIDATION_FIELDS)
                    names = _names(default)
                with at("validation_context_sds_secret_config"):
                    return _named(combined.validation_context_sds_secret_config, gathered), names
        case other:
            raise Refused(other, "is not supported")


def _named(config: Any, gathered: Gathered) -> str:
    """A secret by name; without a source it is one of the bootstrap's own."""
    if not config.name:
        raise Refused("name", "is required")
    with at("sds_config"):
        gathered.name("secret", config.name, config_source(config.sds_config), patience(config.sds_config))
    return str(config.name)


def _names(context: Any) -> plan.AlternativeNames:
    matches = []
    for index, matcher in enumerate(context.match_subject_alt_names):
        with at(f"match_subject_alt_names[{index}]"):
            matches.append(values.string_match(matcher))
    for index, matcher in enumerate(context.match_typed_subject_alt_names):
        with at(f"match_typed_subject_alt_names[{index}]"):
            if matcher.san_type not in (2, 3):
                raise Refused("san_type", "only DNS and URI names are supported")
            matches.append(values.string_match(matcher.matcher))
    return plan.AlternativeNames(tuple(matches))


def _versions(common: Any, default: plan.TlsVersion) -> tuple[plan.TlsVersion, plan.TlsVersion]:
    parameters = common.tls_params
    with at("tls_params"):
        # Cipher suites of TLS 1.2 are rustls' own, all of them forward secret.
        check(parameters, _TLS_PARAMETERS_FIELDS)
        for field in ("tls_minimum_protocol_version", "tls_maximum_protocol_version"):
            if getattr(parameters, field) in (1, 2):
                raise Refused(field, "TLS 1.0 and 1.1 are not supported")
    low = _VERSIONS.get(parameters.tls_minimum_protocol_version, "1.2")
    return low, _VERSIONS.get(parameters.tls_maximum_protocol_version, default)


def secret(message: Any, read_file: ReadFile = no_files) -> plan.Secret:
    """`envoy.extensions.transport_sockets.tls.v3.Secret`."""
    match message.WhichOneof("type"):
        case "tls_certificate":
            with at("tls_certificate"):
                return plan.Secret(message.name, certificate_material(message.tls_certificate, read_file))
        case "validation_context":
            with at("validation_context"):
                return plan.Secret(message.name, validation_material(message.validation_context, read_file))
        case other:
            raise Refused(other or "type", "is not supported" if other else "is required")


def certificate_material(message: Any, read_file: ReadFile) -> plan.CertificateMaterial:
    check(message, _TLS_CERTIFICATE_FIELDS)
    chain = data_source(message.certificate_chain, "certificate_chain", read_file)
    key = data_source(message.private_key, "private_key", read_file)
    return plan.CertificateMaterial(plan.CertificateChain(chain, key))


def validation_material(message: Any, read_file: ReadFile) -> plan.ValidationMaterial:
    check(
        message,
        _VALIDATION_FIELDS,
    )
    domains: list[plan.TrustDomainBundle] = []
    if message.HasField("custom_validator_config"):
        with at("custom_validator_config"):
            kind, config = open_config(message.custom_validator_config.typed_config)
            if kind != SPIFFE:
                raise Refused("typed_config", f"{kind} is not supported")
            check(config, _SPIFFE_FIELDS)
            for index, domain in enumerate(config.trust_domains):
                bundle = data_source(domain.trust_bundle, f"trust_domains[{index}].trust_bundle", read_file)
                domains.append(plan.TrustDomainBundle(domain.name, bundle))
    roots = b""
    if message.HasField("trusted_ca"):
        roots = data_source(message.trusted_ca, "trusted_ca", read_file)
    return plan.ValidationMaterial(plan.ValidationContext(roots, tuple(domains)))


def data_source(message: Any, path: str, read_file: ReadFile) -> bytes:
    """`DataSource` with inline data, or a file beside the proxy. The reason never quotes what the file holds."""
    match message.WhichOneof("specifier"):
        case "inline_bytes":
            return bytes(message.inline_bytes)
        case "inline_string":
            return str(message.inline_string).encode()
        case "filename":
            try:
                return read_file(message.filename)
            except OSError as error:
                raise Refused(f"{path}.filename", f"{message.filename}: {error.strerror}") from None
            except ValueError as error:
                raise Refused(f"{path}.filename", str(error)) from None
        case other:
            raise Refused(
                f"{path}.{other}" if other else path, "is not supported" if other else "is required"
            )
