"""Files: two definitions of one object, half-written files, what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.model.problem import Problem
from mainstay.sources import Refuse, Remove, SourceError, Upsert
from mainstay.sources.files import FilesMachine, Parsed, Stamp
from mainstay.sources.files.poll import list_files, read_files

OLD = 1_000_000
NOW = 2_000_000


def parse(path: str, content: bytes) -> Parsed:
    text = content.decode()
    if text == "torn":
        problem = Problem("MS1000", "error", path, "ends early", "Write it whole", file=path)
        return Parsed({}, problems=(problem,), whole=False)
    return Parsed(dict.fromkeys(text.split(), text))


def stamp(size: int = 1, modified: int = OLD) -> Stamp:
    return Stamp(modified, size, 1)


def test_first_path_wins_and_the_other_is_told() -> None:
    machine = FilesMachine("files", parse)
    listing = {"a.yaml": stamp(), "b.yaml": stamp()}
    assert machine.look(listing) == ["a.yaml", "b.yaml"]
    batch = machine.take(listing, {"b.yaml": b"x", "a.yaml": b"x y"}, NOW, 1)
    assert batch is not None
    assert batch.synced
    facts = {change.key: change.fact for change in batch.changes if isinstance(change, Upsert)}
    assert facts == {"x": "x y", "y": "x y"}
    refused = [change for change in batch.changes if isinstance(change, Refuse)]
    assert [(change.place, change.problems[0].code) for change in refused] == [("b.yaml", "MS3002")]
    batch = machine.take({"b.yaml": stamp()}, {}, NOW, 1)
    assert batch is not None
    assert set(batch.changes) == {
        Upsert("x", "x", "x in b.yaml"),
        Remove("y", "y in a.yaml"),
        Refuse("b.yaml", ()),
    }


def test_torn_file_keeps_all_it_had() -> None:
    machine = FilesMachine("files", parse)
    machine.take({"a.yaml": stamp()}, {"a.yaml": b"x y"}, NOW, 1)
    batch = machine.take({"a.yaml": stamp(2)}, {"a.yaml": b"torn"}, NOW, 1)
    assert batch is not None
    assert [type(change) for change in batch.changes] == [Refuse]


def test_unchanged_files_are_not_read_again_but_young_ones_are() -> None:
    machine = FilesMachine("files", parse)
    young = stamp(modified=NOW - 500)
    machine.take({"a.yaml": stamp(), "b.yaml": young}, {"a.yaml": b"x", "b.yaml": b"y"}, NOW, 1)
    assert machine.look({"a.yaml": stamp(), "b.yaml": young}) == ["b.yaml"]
    assert machine.take({"a.yaml": stamp(), "b.yaml": young}, {"b.yaml": b"y"}, NOW + 5_000, 1) is None
    assert machine.look({"a.yaml": stamp(2), "b.yaml": young}) == ["a.yaml"]


def test_unreadable_file_is_a_problem_of_its_own() -> None:
    machine = FilesMachine("files", parse)
    batch = machine.take({"a.yaml": stamp()}, {"a.yaml": PermissionError(13, "Permission denied")}, NOW, 1)
    assert batch is not None
    (refuse,) = batch.changes
    assert isinstance(refuse, Refuse)
    assert refuse.problems[0].reason == "cannot be read: Permission denied"
    assert machine.look({"a.yaml": stamp()}) == ["a.yaml"], "it is tried again"


def test_new_epoch_repeats_everything() -> None:
    machine = FilesMachine("files", parse)
    machine.take({"a.yaml": stamp()}, {"a.yaml": b"x"}, NOW, 1)
    batch = machine.take({"a.yaml": stamp()}, {}, NOW, 2)
    assert batch is not None
    assert (batch.synced, batch.changes) == (True, (Upsert("x", "x", "x in a.yaml"),))


def test_only_configuration_files_are_listed(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", "c.json", "d.txt", ".e.yaml", "sub/f.yaml", ".git/g.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    found = [str(Path(path).relative_to(tmp_path)) for path in list_files(tmp_path)]
    assert sorted(found) == ["a.yaml", "b.yml", "c.json", "sub/f.yaml"]
    with pytest.raises(SourceError, match=r"missing: No such file or directory\. Check that it exists"):
        list_files(tmp_path / "missing")


def test_oversized_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.sources.files.poll.MAX_FILE_BYTES", 3)
    (tmp_path / "a.yaml").write_text("abcd")
    path = str(tmp_path / "a.yaml")
    assert "larger than 3 bytes" in str(read_files([path])[path])
