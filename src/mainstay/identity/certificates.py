"""Building and reading X.509 certificates: what the authority needs of RFC 5280, in one place.

In: names, keys, times. Out: certificates of the cryptography package. Invariants: ECDSA P-256 with SHA-256 for keys of ours;
the SPIFFE ID is the one URI of a leaf (X.509-SVID §2); serial numbers are random. Used by `authority`, and by `front` to read
a client's leaf.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mainstay.identity.signer import LeafRequest

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

ORGANISATION = "Mainstay"


def make_key() -> ec.EllipticCurvePrivateKey:
    """A new key."""
    return ec.generate_private_key(ec.SECP256R1())


def make_authority(
    name: str,
    key: PrivateKey,
    trust_domain: str,
    valid: tuple[int, int],
    issuer: tuple[x509.Certificate, PrivateKey] | None = None,
) -> x509.Certificate:
    """A CA's certificate: a root without `issuer`, else an intermediate that signs leaves only. Times are Unix ms."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    signer = issuer[1] if issuer is not None else key
    builder = (
        _begin(subject, issuer[0].subject if issuer is not None else subject, key, valid)
        .add_extension(
            x509.BasicConstraints(ca=True, path_length=None if issuer is None else 0), critical=True
        )
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]),
            critical=False,
        )
    )
    if issuer is not None:
        builder = builder.add_extension(_authority_key(issuer[0]), critical=False)
    return builder.sign(signer, _hash_for(signer))


def make_leaf(
    request: LeafRequest, valid: tuple[int, int], issuer: tuple[x509.Certificate, PrivateKey]
) -> x509.Certificate:
    """A leaf for client and server. Its subject is empty, so its names are critical (RFC 5280 §4.2.1.6)."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(request.identity)]
    names += [x509.DNSName(name) for name in request.dns]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in request.addresses]
    certificate, key = issuer
    not_before, not_after = valid
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(certificate.subject)
        .public_key(request.key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(not_before))
        .not_valid_after(moment(not_after))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            _usage(certificates=False, is_rsa=isinstance(request.key, rsa.RSAPublicKey)), critical=True
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(_authority_key(certificate), critical=False)
        .sign(key, _hash_for(key))
    )


def _begin(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, valid: tuple[int, int]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(valid[0]))
        .not_valid_after(moment(valid[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(certificates: bool, is_rsa: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=is_rsa,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """Ed25519 has its hash built in; a P-384 key deserves its own."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def moment(ms: int) -> datetime.datetime:
    """Unix ms as X.509 wants it: whole seconds, UTC."""
    return datetime.datetime.fromtimestamp(ms // 1_000, datetime.UTC)


def lifetime(certificate: x509.Certificate) -> tuple[int, int]:
    """From when to when it is valid, Unix ms."""
    return (
        int(certificate.not_valid_before_utc.timestamp()) * 1_000,
        int(certificate.not_valid_after_utc.timestamp()) * 1_000,
    )


def pem_of(certificates: Sequence[x509.Certificate]) -> str:
    """Certificates as PEM, one after the other."""
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)


def pem_of_key(key: PrivateKey) -> bytes:
    """A private key as PKCS#8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether it is a root."""
    return certificate.subject == certificate.issuer and is_issued_by(certificate, certificate)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` signed it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (
        Exception
    ):  # the cryptography package raises ValueError, TypeError or InvalidSignature: all mean no
        return False
    return True


def spiffe_ids(certificate: x509.Certificate) -> tuple[str, ...]:
    """The URIs among its names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
