"""What a sidecar does not load, and what it reads without keeping how."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from test_bootstrap import DYNAMIC, STATIC

from mainstay import lean
from mainstay.sidecar.bootstrap.aside import read_aside
from mainstay.sidecar.bootstrap.read import read_bootstrap

PROGRAM = """
import sys
from pathlib import Path
from mainstay.settings.define import OperatorError
from mainstay.sidecar.bootstrap.aside import read_aside
try:
    print(read_aside(Path({path!r}), "1"))
except OperatorError as error:
    print(error.code, error)
print("yaml" in sys.modules, "google.protobuf.json_format" in sys.modules)
"""


def in_a_process_of_one_thread(path: Path) -> str:
    program = PROGRAM.format(path=str(path))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("text", [STATIC, DYNAMIC])
def test_a_bootstrap_read_aside_is_the_same_and_leaves_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(text)
    assert in_a_process_of_one_thread(path) == f"{read_bootstrap(path, '1')}\nFalse False\n"


def test_a_refusal_comes_out_of_the_child(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text("static_resources: {nonsense: 1}")
    told = in_a_process_of_one_thread(path)
    assert told.startswith("3 cannot start from the bootstrap")
    assert "static_resources.nonsense" in told


def test_a_process_of_more_threads_reads_it_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(STATIC)
    monkeypatch.setattr("mainstay.sidecar.bootstrap.aside.os.listdir", lambda _: ["1", "2"])
    monkeypatch.setattr("mainstay.sidecar.bootstrap.aside.os.fork", lambda: pytest.fail("forked"))
    assert read_aside(path, "1") == read_bootstrap(path, "1")


def test_a_child_that_dies_is_told(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from mainstay.sidecar.bootstrap import aside
        def die(*_):
            raise RuntimeError("a bug")
        aside._read = die
        aside.read_aside(Path({str(tmp_path)!r}), "1")
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "RuntimeError: a bug" in done.stderr
    assert "ended in the middle" in done.stderr


def test_stand_ins_are_there_only_inside() -> None:
    sys.modules.pop("this_is_no_module", None)
    with lean.without("this_is_no_module"):
        import this_is_no_module  # type: ignore[import-not-found]
    assert "this_is_no_module" not in sys.modules
    with (
        lean.without("this_is_no_module", absent=True),
        pytest.raises(ModuleNotFoundError, match="this_is_no_module"),
    ):
        import this_is_no_module  # noqa: F401


def test_what_is_loaded_is_left_alone() -> None:
    import json

    with lean.without("json", absent=True):
        import json as again
    assert again is json
    assert sys.modules["json"] is json


def test_the_sidecar_verb_loads_none_of_it() -> None:
    program = """
    import sys
    from mainstay.cli import main
    main(["sidecar", "--bootstrap", "/there/is/none"])
    heavy = {"typing_extensions", "inspect", "google.protobuf.internal.python_message", "google.protobuf.text_format", "yaml"}
    sys.exit(str(sorted(heavy & sys.modules.keys())) if heavy & sys.modules.keys() else 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_protocols_that_are_shipped_are_not_read() -> None:
    program = """
    import sys
    from pathlib import Path
    import mainstay.protocols
    folder = Path(mainstay.protocols.__file__).parent
    texts = {path.stem: path.read_text() for path in sorted(folder.glob("*.yaml")) if path.stem != "template"}
    from mainstay._proto import pool
    from mainstay.sidecar.convert.described import described
    found = []
    for name, text in texts.items():
        for value in ({"protocol": name}, {"protocol": name, "description": text}):
            struct = pool.message_class("google.protobuf.Struct")()
            struct.update(value)
            found.append(described(struct).name)
    print(found)
    heavy = {"yaml", "hashlib", "mainstay.api.decode", "mainstay.protocols.read", "google.protobuf.json_format"}
    sys.exit(str(sorted(heavy & sys.modules.keys())) if heavy & sys.modules.keys() else 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['bolt', 'bolt', 'dubbo', 'dubbo', 'thrift', 'thrift']\n"
