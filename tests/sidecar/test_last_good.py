"""The last good configuration survives restarts, torn files and full disks."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.sidecar import last_good
from mainstay.sidecar.last_good import SECRET_MESSAGE, LastGood, Record, RecordFile

CLUSTER = "envoy.config.cluster.v3.Cluster"


def record(name: str, body: bytes | None, version: str = "1", message: str = CLUSTER) -> Record:
    return Record(message, name, version, body)


def state(records: list[Record]) -> dict[str, bytes | None]:
    return {each.name: each.body for each in records}


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    store = LastGood(tmp_path)
    assert store.load() == []
    store.write([record("a", b"1"), record("b", b"2"), record("a", b"3", "2"), record("b", None)])
    assert LastGood(tmp_path).load() == [record("a", b"3", "2")]
    assert store.read(CLUSTER, "a") == record("a", b"3", "2")
    assert store.read(CLUSTER, "b") is None


def test_keys_are_apart_and_nobody_else_reads_them(tmp_path: Path) -> None:
    store = LastGood(tmp_path / "data")
    store.load()
    store.write([record("leaf", b"private", message=SECRET_MESSAGE), record("c", b"plain")])
    assert b"private" not in (tmp_path / "data" / "resources").read_bytes()
    assert b"private" in (tmp_path / "data" / "secrets").read_bytes()
    for path in (tmp_path / "data").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_record_does_not_show_what_it_holds() -> None:
    assert "private" not in repr(record("leaf", b"private", message=SECRET_MESSAGE))


def test_dead_records_are_swept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_good, "COMPACT_ABOVE", 1_000)
    store = LastGood(tmp_path)
    store.load()
    store.write([record("kept", b"k")])
    for number in range(200):
        store.write([record("busy", bytes(50), str(number))])
    assert (tmp_path / "resources").stat().st_size < 2_000
    assert state(LastGood(tmp_path).load()) == {"kept": b"k", "busy": bytes(50)}
    assert store.read(CLUSTER, "kept") == record("kept", b"k")


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LastGood(tmp_path)
    store.load()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.pwrite", full)
        store.write([record("a", b"1"), record("b", b"2")])
        store.write([record("b", None)])
    assert store.unwritten == 2
    assert state(store.load()) == {"a": b"1"}
    store.write([record("c", b"3")])
    assert store.unwritten == 0
    assert state(LastGood(tmp_path).load()) == {"a": b"1", "c": b"3"}


def test_a_file_of_something_else_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "resources").write_bytes(b"not ours at all")
    store = LastGood(tmp_path)
    assert store.load() == []
    store.write([record("a", b"1")])
    assert state(LastGood(tmp_path).load()) == {"a": b"1"}


OPERATIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.binary(max_size=20))), max_size=12
)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, cut=st.integers(0, 60), junk=st.binary(max_size=40))
def test_a_torn_file_reads_as_an_earlier_state(
    tmp_path: Path, operations: list[tuple[str, bytes | None]], cut: int, junk: bytes
) -> None:
    path = tmp_path / "torn"
    path.unlink(missing_ok=True)
    file = RecordFile(path)
    file.load()
    states: list[dict[str, bytes | None]] = [{}]
    for name, body in operations:
        file.append([record(name, body)])
        now = {key: value for key, value in states[-1].items() if key != name}
        states.append(now if body is None else now | {name: body})
    data = path.read_bytes()
    path.write_bytes(data[: max(len(last_good.MAGIC), len(data) - cut)] + junk)
    again = RecordFile(path)
    found = state(again.load())
    assert found in states
    again.append([record("new", b"n")])
    assert state(RecordFile(path).load()) == found | {"new": b"n"}
