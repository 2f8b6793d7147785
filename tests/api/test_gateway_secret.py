"""Gateway secrets are checked like a TLS library would, and no byte of them is shown."""

from __future__ import annotations

import base64
import datetime
import json

import pytest
from api_reading import facts_of, refusals
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mainstay.model.secret import SecretRef


def pair() -> tuple[str, str]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2120))
    certificate = builder.sign(key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


def secret(**fields: dict[str, str]) -> str:
    head = {"apiVersion": "mainstay.dev/v1alpha1", "kind": "GatewaySecret", "metadata": {"name": "edge"}}
    return json.dumps({**head, **fields})


def test_what_is_there_can_be_referred_to() -> None:
    chain, key = pair()
    facts = facts_of(secret(stringData={"tls.crt": chain, "tls.key": key, "ca.crt": chain}))
    assert facts == [SecretRef("shop", "edge"), SecretRef("shop", "edge", ca=True)]
    coded = {
        name: base64.b64encode(text.encode()).decode()
        for name, text in (("tls.crt", chain), ("tls.key", key))
    }
    assert facts_of(secret(data=coded)) == [SecretRef("shop", "edge")]


CHAIN, KEY = pair()
OTHER = pair()[1]


@pytest.mark.parametrize(
    ("values", "path", "reason"),
    [
        ({}, "", "the secret is empty"),
        ({"tls.crt": CHAIN}, "", "tls.key is missing"),
        ({"tls.key": KEY}, "", "the secret is empty"),
        ({"tls.crt": "x", "tls.key": KEY}, 'stringData["tls.crt"]', "it holds no certificate"),
        (
            {"tls.crt": CHAIN, "tls.key": "x"},
            'stringData["tls.key"]',
            "it holds no private key that can be read",
        ),
        (
            {"tls.crt": CHAIN, "tls.key": OTHER},
            'stringData["tls.key"]',
            "the key belongs to another certificate",
        ),
        ({"ca.crt": "x"}, 'stringData["ca.crt"]', "it holds no certificate"),
    ],
)
def test_what_a_server_could_not_use_is_refused(values: dict[str, str], path: str, reason: str) -> None:
    [problem] = refusals(secret(stringData=values))
    assert (problem.code, problem.path, problem.reason) == ("MS1111", path, reason)
    assert not any(value in str(problem) for value in values.values() if len(value) > 1)


def test_what_is_no_text_is_refused() -> None:
    [problem] = refusals(secret(data={"tls.crt": base64.b64encode(b"\xff\xfe").decode()}))
    assert (problem.code, problem.path) == ("MS1111", "data")
