"""The workload's leaf, key and roots as files, for a proxy that reads files.

In: each new leaf. Out: `certificates/current/{chain,key,roots}.pem`, and beside it one file per secret that tells Envoy where
they are. Invariants: folders are 0700, files 0600; a reader sees the files of one leaf, never of two, since `current` is a
symbolic link to a folder that does not change, and is exchanged by a rename (which is what Envoy's `watched_directory` waits
for); the folder before stays until the next exchange, for readers that are just opening its files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from mainstay.model.agent import CERTIFICATES_FOLDER, secret_file
from mainstay.model.digest import digest_of
from mainstay.model.secret import LEAF, ROOTS

CURRENT = "current"
CHAIN, KEY, ROOTS_FILE = "chain.pem", "key.pem", "roots.pem"
_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class Leaf(msgspec.Struct, frozen=True):
    """A chain with its key (PKCS#8), and what to trust; all PEM."""

    chain: str
    key: str
    roots: str

    def __repr__(self) -> str:
        return "Leaf(…)"


class CertificateFiles:
    """See the module. `data`: the folder that the proxy runs in."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._folder = data / CERTIFICATES_FOLDER

    def path(self, file: str) -> Path:
        """Where a file of the present leaf is."""
        return self._folder / CURRENT / file

    def publish(self, leaf: Leaf) -> bool:
        """Puts a leaf in place of the one before; whether it differs from that. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for name, content in _secrets().items():
            self._write_whole(self._data / secret_file(name), content)
        version = digest_of(leaf).hex()
        before = self._current()
        if before == version and all(self.path(file).is_file() for file in (CHAIN, KEY, ROOTS_FILE)):
            return False
        self._write_version(version, leaf)
        self._exchange(version)
        self._forget_all_but(version, before)
        return True

    def _current(self) -> str:
        try:
            return os.readlink(self._folder / CURRENT)
        except OSError:
            return ""

    def _write_version(self, version: str, leaf: Leaf) -> None:
        aside = self._folder / f".{version}.new"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        for name, text in ((CHAIN, leaf.chain), (KEY, leaf.key), (ROOTS_FILE, leaf.roots)):
            _write(aside / name, text.encode())
        final = self._folder / version
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)

    def _exchange(self, version: str) -> None:
        aside = self._folder / f".{CURRENT}.new"
        aside.unlink(missing_ok=True)
        aside.symlink_to(version)
        aside.replace(self._folder / CURRENT)
        _sync(self._folder)

    def _forget_all_but(self, *kept: str) -> None:
        for entry in self._folder.iterdir():
            if entry.is_dir() and not entry.is_symlink() and entry.name not in kept:
                shutil.rmtree(entry, ignore_errors=True)

    def _write_whole(self, path: Path, content: bytes) -> None:
        if path.is_file() and path.read_bytes() == content:
            return
        aside = path.with_suffix(".new")
        aside.unlink(missing_ok=True)
        _write(aside, content)
        aside.replace(path)


def _secrets() -> dict[str, bytes]:
    """Envoy's SDS files: they name the PEM files, and the folder in which `current` is exchanged."""
    watched = {"path": CERTIFICATES_FOLDER}

    def file(name: str) -> dict[str, str]:
        return {"filename": f"{CERTIFICATES_FOLDER}/{CURRENT}/{name}"}

    certificate = {
        "certificate_chain": file(CHAIN),
        "private_key": file(KEY),
        "watched_directory": watched,
    }
    validation = {"trusted_ca": file(ROOTS_FILE), "watched_directory": watched}
    bodies = {LEAF: {"tls_certificate": certificate}, ROOTS: {"validation_context": validation}}
    return {
        name: msgspec.json.encode({"resources": [{"@type": _SECRET, "name": name, **body}]})
        for name, body in bodies.items()
    }


def write_private(path: Path, content: bytes) -> None:
    """A file of mode 0600, in place as a whole."""
    aside = path.with_suffix(".new")
    aside.unlink(missing_ok=True)
    _write(aside, content)
    aside.replace(path)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
