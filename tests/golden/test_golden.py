"""Golden cases: YAML in, xDS out, and real Envoy accepts it.

``MAINSTAY_ACCEPT_GOLDEN=1`` makes what comes out the expectation: read the difference before committing it.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from golden_bootstrap import bootstrap_of
from golden_case import CASES, accept, compile_case, expected_texts, texts_of
from golden_certificates import write_certificates

from mainstay.compile.view import consistent

CLIENT_FILES = "/etc/pay"
"""Where the case with certificates in files says they are."""


@pytest.mark.parametrize("name", CASES)
def test_case_compiles_to_what_was_accepted(name: str) -> None:
    texts = texts_of(compile_case(name))
    if os.environ.get("MAINSTAY_ACCEPT_GOLDEN"):
        accept(name, texts)
    assert texts == expected_texts(name)


@pytest.mark.parametrize("name", CASES)
def test_case_refers_to_nothing_it_lacks(name: str) -> None:
    assert consistent(compile_case(name)) == ()


@pytest.mark.parametrize("name", CASES)
def test_case_compiles_to_the_same_bytes_again(name: str) -> None:
    assert compile_case(name) == compile_case(name)


@pytest.mark.envoy
@pytest.mark.parametrize("name", CASES)
def test_case_is_accepted_by_real_envoy(name: str, tmp_path: Path) -> None:
    envoy = os.environ.get("MAINSTAY_TEST_ENVOY", "")
    assert envoy, (
        "MAINSTAY_TEST_ENVOY must be the path of an Envoy binary; `make test` installs one and sets it"
    )
    assert Path(envoy).exists(), f"MAINSTAY_TEST_ENVOY={envoy} does not exist"
    write_certificates(tmp_path)
    text = json.dumps(bootstrap_of(compile_case(name))).replace(CLIENT_FILES, str(tmp_path))
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_text(text)
    command = [envoy, "--mode", "validate", "-c", str(bootstrap), "-l", "error"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_there_are_cases() -> None:
    assert len(CASES) >= 25
