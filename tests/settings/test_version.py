"""What the program says it is."""

from __future__ import annotations

from pathlib import Path

from mainstay.settings.version import program_version


def test_installed_program_has_the_version_of_its_package(tmp_path: Path) -> None:
    (tmp_path / "mainstay-1.2.3.dist-info").mkdir()
    assert program_version([str(tmp_path)], tmp_path) == "1.2.3"


def test_checkout_says_what_it_is_on_the_way_to(tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nversion = "1.2.3"\nedition = "2024"\n')
    assert program_version([], tmp_path) == "1.2.3+source"


def test_this_checkout_knows_its_version() -> None:
    assert program_version([]).endswith("+source")


def test_loose_files_say_that_they_do_not_know(tmp_path: Path) -> None:
    assert program_version([str(tmp_path), ""], tmp_path) == "unknown"
