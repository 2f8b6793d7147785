"""Watching files: every change is told once it is at rest, and nothing else is."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mainstay.sidecar.files import POLL_MS, Disk, Files, Stamp

NAMES = ("a", "b", "c")
KEYS = {"one": ("a",), "two": ("a", "b"), "three": ("b", "c")}


class Folder:
    """Files as numbers: how often each was written; absent ones have none."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = dict.fromkeys(NAMES, 1)
        self.files = Files(self.read, self.stamp)
        self.now = 0
        self.known: dict[str, tuple[int | None, ...]] = {}
        for key in KEYS:
            self.take(key)

    def read(self, path: str) -> bytes:
        if path not in self.versions:
            raise FileNotFoundError(path)
        return str(self.versions[path]).encode()

    def stamp(self, path: str) -> Stamp | None:
        return (self.versions[path],) if path in self.versions else None

    def content(self, key: str) -> tuple[int | None, ...]:
        return tuple(self.versions.get(path) for path in KEYS[key])

    def take(self, key: str) -> None:
        """Reads what it needs and follows it, as the brain does."""
        for path in KEYS[key]:
            try:
                self.files.read(path)
            except OSError:
                continue
        self.known[key] = self.content(key)
        self.files.follow(key, KEYS[key], self.now)

    def poll(self) -> list[str]:
        self.now += POLL_MS
        due = [str(key) for key in self.files.due(self.now)]
        assert len(due) == len(set(due))
        for key in due:
            assert self.content(key) != self.known[key], "it has not changed"
            self.take(key)
        return due


STEPS = st.lists(
    st.one_of(st.sampled_from(["poll"]), st.sampled_from(NAMES), st.sampled_from(["-a", "-b", "-c"]))
)


@given(STEPS)
def test_what_is_at_rest_is_known_and_what_is_unchanged_is_not_told(steps: list[str]) -> None:
    folder = Folder()
    count = 1
    for step in steps:
        count += 1
        if step == "poll":
            folder.poll()
        elif step.startswith("-"):
            folder.versions.pop(step[1:], None)
        else:
            folder.versions[step] = count
    folder.poll()
    folder.poll()
    for key in KEYS:
        assert folder.known[key] == folder.content(key)
    assert folder.poll() == []


def test_half_of_a_change_waits_for_the_other() -> None:
    folder = Folder()
    folder.versions["a"] = 2
    assert folder.poll() == []
    folder.versions["b"] = 2
    assert folder.poll() == ["one"]
    assert folder.poll() == ["two", "three"]


def test_nobody_looks_when_nothing_is_followed() -> None:
    folder = Folder()
    for key in KEYS:
        folder.files.forget(key)
    assert folder.files.next_deadline() is None
    assert folder.files.due(1 << 40) == []


def test_stamp_follows_links_and_knows_what_is_not_there(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert disk.stamp("link") is None
    for name in ("one", "two"):
        (tmp_path / name).write_text("same")
    (tmp_path / "link").symlink_to("one")
    before = disk.stamp("link")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("two")
    assert before is not None
    assert disk.stamp("link") != before
