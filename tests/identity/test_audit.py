"""The audit trail shows every change to itself; the vault opens only what it sealed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.identity.audit import AuditTrail, verify_trail
from mainstay.identity.gateway_secrets import Vault, open_vault
from mainstay.settings import OperatorError


def write(path: Path, *objects: str) -> None:
    trail = AuditTrail(path, lambda: 7)
    for each in objects:
        trail.write("credential", "created", each, "done", 3)
    trail.close()


def test_trail_goes_on_over_restarts_and_holds(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    write(path, "a", "b")
    write(path, "c")
    assert verify_trail(path) == ""
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [lines[0].replace("a", "x"), *lines[1:]], "line 1"),
        (lambda lines: [lines[0], lines[2]], "line 2 does not follow"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2 does not follow"),
        (lambda lines: [lines[0], lines[1].replace('"b"', '"y"'), lines[2]], "line 2 was changed"),
        (lambda lines: [lines[0], "no json", lines[2]], "line 2 is no record"),
    ],
)
def test_change_of_a_line_shows(tmp_path: Path, change: object, said: str) -> None:
    path = tmp_path / "audit.log"
    write(path, "a", "b", "c")
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")  # type: ignore[operator]
    assert said in verify_trail(path)


def test_torn_last_line_is_ended_and_the_trail_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    write(path, "a", "b")
    path.write_bytes(path.read_bytes()[:-10])
    write(path, "c")
    assert verify_trail(path) == ""
    assert [line.count('"c"') for line in path.read_text().splitlines()] == [0, 1]


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(1, 255))
def test_vault_opens_only_what_it_sealed(content: bytes, place: int, flip: int) -> None:
    vault = Vault(b"k" * 32)
    sealed = vault.seal(content)
    assert vault.open(sealed) == content
    damaged = bytearray(sealed)
    damaged[place % len(sealed)] ^= flip
    with pytest.raises(ValueError, match="damaged"):
        vault.open(bytes(damaged))
    with pytest.raises(ValueError, match="another key"):
        Vault(b"x" * 32).open(sealed)


def test_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    sealed = open_vault(path).seal(b"x")
    assert open_vault(path).open(sealed) == b"x"
    path.chmod(0o644)
    with pytest.raises(OperatorError, match="chmod 600"):
        open_vault(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(OperatorError, match="5 bytes instead of 32"):
        open_vault(path)
