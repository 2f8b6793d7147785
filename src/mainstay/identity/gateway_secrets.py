"""Seals what must not lie in the store as it is: the certificates and keys of gateways.

In: bytes. Out: sealed bytes, and back. AES-256-GCM (NIST SP 800-38D) with a random nonce under a key file that is not in the
store, so that neither a copy of the store nor a backup of it gives anything away. Invariant: what was sealed with another
key, or changed, is refused, never half opened. Used by admission (seal) and by the store's reader (open) alone.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mainstay.settings import OperatorError

KEY_BYTES = 32
NONCE_BYTES = 12
_FORM = b"\x01"
"""First byte of what is sealed; also authenticated, so that a later form cannot be taken for this one."""


class Vault:
    """See the module."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return "Vault(…)"

    def seal(self, content: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _FORM + nonce + self._cipher.encrypt(nonce, content, _FORM)

    def open(self, sealed: bytes) -> bytes:
        """Raises ValueError for what this key did not seal."""
        form, nonce, body = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        if form != _FORM:
            raise ValueError("it was sealed by a newer version, or it is damaged")
        try:
            return self._cipher.decrypt(nonce, body, form)
        except (InvalidTag, ValueError):
            raise ValueError("it was sealed with another key, or it is damaged") from None


def open_vault(path: Path) -> Vault:
    """The vault of a key file, which is made (0600) if there is none. Raises `OperatorError`."""
    try:
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
        if path.stat().st_mode & 0o077:
            raise OperatorError(f"the key file {path} can be read by others; run `chmod 600 {path}`")
        key = path.read_bytes()
    except OSError as error:
        raise OperatorError(
            f"cannot use the key file {path}: {error.strerror}. Check the directory and its owner"
        ) from None
    if len(key) != KEY_BYTES:
        raise OperatorError(
            f"the key file {path} holds {len(key)} bytes instead of {KEY_BYTES}: restore it from a backup; "
            "without it, sealed secrets have to be applied again (then remove the file)"
        )
    return Vault(key)
