"""Settings: where values come from, which names they have, how mistakes are told."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.settings import HelpAsked, Loaded, OperatorError, Setting, load, read_duration, show_duration


class Drain(msgspec.Struct, frozen=True):
    min: Annotated[int, Setting("Least time.", unit="ms", minimum=0, maximum=60_000)] = 5_000


class Example(msgspec.Struct, frozen=True):
    """An example."""

    port: Annotated[int, Setting("A port.", minimum=0, maximum=65_535)] = 80
    insecure_xds: Annotated[bool, Setting("A switch.")] = False
    names: Annotated[tuple[str, ...], Setting("Names.")] = ()
    mode: Annotated[Literal["text", "json"], Setting("A choice.")] = "text"
    directory: Annotated[Path | None, Setting("A path.")] = None
    drain: Drain = Drain()


def read(*arguments: str, **environment: str) -> Loaded[Example]:
    return load(Example, "example", arguments, environment)


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("port: 1\nmode: json\nnames: [a, b]\ndrain:\n  min: 1s\n")
    loaded = read("--port=3", "--config", str(file), MAINSTAY_PORT="2", MAINSTAY_MODE="text")
    assert loaded.settings == Example(port=3, mode="text", names=("a", "b"), drain=Drain(1_000))
    assert loaded.origins == {
        "port": "--port",
        "insecure_xds": "default",
        "names": f"{file}:3",
        "mode": "MAINSTAY_MODE",
        "directory": "default",
        "drain.min": f"{file}:5",
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--insecure-xds"], Example(insecure_xds=True)),
        (["--insecure-xds=false"], Example()),
        (["--insecure-xds", "--no-insecure-xds"], Example()),
        (["--names", "a,b", "--names=c"], Example(names=("a", "b", "c"))),
        (["--drain-min", "1m"], Example(drain=Drain(60_000))),
        (["--directory", "x/y"], Example(directory=Path("x/y"))),
        (["--directory", "none"], Example()),
    ],
)
def test_flags(arguments: list[str], expected: Example) -> None:
    assert read(*arguments).settings == expected


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--prot", "1"], "unknown option --prot; did you mean --port?"),
        (["--port"], "option --port needs a value"),
        (["--port", "x"], "mainstay example: --port: 'x' is not a whole number"),
        (["--port", "65536"], "65536 is out of range: at least 0 and at most 65535"),
        (["--drain-min=2m"], "out of range: at least 0s and at most 1m"),
        (["--drain-min=soon"], "'soon' is no duration; write 250ms, 5s, 1m30s or 24h"),
        (["--mode", "xml"], "'xml' is none of text, json"),
        (["--insecure-xds=perhaps"], "'perhaps' is neither true nor false"),
        (["stray"], "unexpected argument 'stray'"),
        (["--config", "/missing.yaml"], "cannot read the settings file /missing.yaml"),
    ],
)
def test_mistakes_name_the_option_and_what_to_do(arguments: list[str], reason: str) -> None:
    with pytest.raises(OperatorError) as raised:
        read(*arguments)
    assert reason in str(raised.value)
    assert raised.value.code == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("port: 1\nprt: 2\n", ":2: unknown setting prt; did you mean port?"),
        ("drain:\n  mim: 1\n", ":2: unknown setting drain.mim; did you mean drain.min?"),
        ("drain: 5\n", ":1: expected a map of settings under drain"),
        ("port: [1]\n", ":1: port: expected NUMBER, got a list"),
        ("names: {a: b}\n", "expected a list"),
        ("port: true\n", "expected a number, got True"),
        ("port: {\n", "cannot read the settings file"),
        ("- a\n", ":1: expected a map of settings"),
    ],
)
def test_mistakes_in_the_file_name_its_line(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(OperatorError) as raised:
        read("--config", str(file))
    assert reason in str(raised.value)


def test_print_settings_shows_value_and_origin() -> None:
    with pytest.raises(HelpAsked) as raised:
        read("--print-settings", "--port", "5", MAINSTAY_DRAIN_MIN="250")
    assert raised.value.text.splitlines() == [
        "port = 5  # --port",
        "insecure_xds = false  # default",
        "names =   # default",
        "mode = text  # default",
        "directory = none  # default",
        "drain.min = 250ms  # MAINSTAY_DRAIN_MIN",
    ]


def test_help_names_flag_variable_and_default() -> None:
    with pytest.raises(
        HelpAsked, match=r"--drain-min DURATION\n +Least time. \[MAINSTAY_DRAIN_MIN; default 5s\]"
    ):
        read("--help")


@given(st.integers(0, 10**9))
def test_durations_read_back(ms: int) -> None:
    assert read_duration(show_duration(ms)) == ms


@given(st.text(alphabet="0123456789hms. -", max_size=8))
def test_odd_durations_never_crash(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert read_duration(text) >= 0
