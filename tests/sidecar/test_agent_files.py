"""Certificates as files: whole, private, exchanged at once."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

from mainstay.sidecar.agent.files import CHAIN, KEY, ROOTS_FILE, CertificateFiles, Leaf


def leaf(number: int) -> Leaf:
    return Leaf(f"chain {number}\n", f"key {number}\n", f"roots {number}\n")


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path)
    assert files.publish(leaf(1))
    folder = tmp_path / "certificates"
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_leaf_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path)
    files.publish(leaf(1))
    inode = files.path(CHAIN).stat().st_ino
    assert not files.publish(leaf(1))
    assert files.path(CHAIN).stat().st_ino == inode
    assert files.publish(leaf(2))
    assert files.path(KEY).read_text() == "key 2\n"


def test_the_leaf_before_stays_for_readers_and_older_ones_go(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path)
    folder = tmp_path / "certificates"
    for number in range(5):
        files.publish(leaf(number))
    versions = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
    assert sorted((entry / CHAIN).read_text() for entry in versions) == ["chain 3\n", "chain 4\n"]
    assert not [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


def test_what_a_crash_left_half_is_made_anew(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path)
    files.publish(leaf(1))
    files.path(ROOTS_FILE).unlink()
    (tmp_path / "certificates" / ".current.new").symlink_to("nowhere")
    assert files.publish(leaf(1))
    assert files.path(ROOTS_FILE).read_text() == "roots 1\n"


def test_envoy_is_told_which_folder_to_watch(tmp_path: Path) -> None:
    CertificateFiles(tmp_path).publish(leaf(1))
    [secret] = json.loads((tmp_path / "certificates/default.json").read_text())["resources"]
    certificate = secret["tls_certificate"]
    assert (tmp_path / certificate["certificate_chain"]["filename"]).read_text() == "chain 1\n"
    assert (tmp_path / certificate["private_key"]["filename"]).read_text() == "key 1\n"
    assert certificate["watched_directory"] == {"path": "certificates"}
    [roots] = json.loads((tmp_path / "certificates/ROOTCA.json").read_text())["resources"]
    assert (tmp_path / roots["validation_context"]["trusted_ca"]["filename"]).read_text() == "roots 1\n"


def test_a_reader_who_opened_the_folder_sees_one_leaf(tmp_path: Path) -> None:
    """Through `current`, opened once, all files belong together however often they are exchanged."""
    files = CertificateFiles(tmp_path)
    files.publish(leaf(0))
    torn: list[tuple[str, ...]] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            folder = (tmp_path / "certificates/current").resolve()
            try:
                found = tuple((folder / name).read_text().split()[1] for name in (CHAIN, KEY, ROOTS_FILE))
            except FileNotFoundError:
                continue  # two exchanges since it was opened: a reader begins anew
            if len(set(found)) != 1:
                torn.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 40):
        files.publish(leaf(number))
    ended.set()
    reader.join()
    assert not torn


def test_a_leaf_shows_nothing_of_itself() -> None:
    assert "key" not in repr(leaf(1))
