"""Every field of every message that Mainstay takes works, is refused for a reason, or changes nothing for a reason.

The specimen is a bootstrap with all of these messages. Each field in it is changed, by itself; what conversion makes of that must
be what `docs/reference/bootstrap.md` says. Fields are found in Envoy's descriptors: a new one fails until it has its place.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import specimen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import build_proto

from mainstay import _engine
from mainstay._proto import pool
from mainstay.sidecar.bootstrap.read import read_bootstrap
from mainstay.sidecar.convert.refuse import known_fields
from mainstay.sidecar.support import page
from mainstay.sidecar.support.reasons import NO_EFFECT, REFUSED

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = tuple(page.messages())
FIELDS = [(name, field.name) for name in MESSAGES for field in pool.message_class(name).DESCRIPTOR.fields]
CONTEXTS = 12
"""So many places of a message are tried; the same message may mean different things in each."""


class Found(NamedTuple):
    """What changes of a field have led to."""

    same: bool = False
    different: bool = False
    refused: bool = False
    """In words that say that the field is not supported."""


@pytest.fixture(scope="module")
def all_found() -> dict[tuple[str, str], Found]:
    """By message and field."""
    found: dict[tuple[str, str], Found] = {}
    tried: dict[str, int] = {}
    for root in specimen.roots():
        base = root.outcome(specimen.copy(root.message))
        assert base.made is not None, f"{root.name}: {base.path}: {base.reason}"
        for way, message in specimen.instances(root.message):
            kind = message.DESCRIPTOR.full_name
            tried[kind] = tried.get(kind, 0) + 1
            if tried[kind] > CONTEXTS or kind not in known_fields():
                continue
            for field in message.DESCRIPTOR.fields:
                for outcome in outcomes(root, way, message, field):
                    before = found.get((kind, field.name), Found())
                    unsupported = outcome.made is None and outcome.reason.startswith("is not supported")
                    found[kind, field.name] = Found(
                        before.same or outcome == base,
                        before.different or (outcome != base and not unsupported),
                        before.refused or unsupported,
                    )
    return found


def outcomes(
    root: specimen.Root, way: tuple[specimen.Step, ...], message: object, field: object
) -> Iterator[specimen.Outcome]:
    for change in specimen.changes(message, field):
        yield root.outcome(specimen.changed(root.message, way, change))


def test_the_walk_reaches_the_great_messages() -> None:
    for name in (
        "envoy.config.listener.v3.Listener",
        page.http_manager.TYPE,
        "envoy.config.route.v3.RouteAction",
        "envoy.config.cluster.v3.Cluster",
        "envoy.config.endpoint.v3.LbEndpoint",
        page.tls.DOWNSTREAM,
        page.tls.UPSTREAM,
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "envoy.extensions.filters.http.router.v3.Router",
    ):
        assert name in MESSAGES


@pytest.mark.parametrize("name", MESSAGES)
def test_message_says_which_of_its_fields_are_taken(name: str) -> None:
    assert name in known_fields(), "declare it in convert/plain.py, or where it is converted"
    fields = {field.name for field in pool.message_class(name).DESCRIPTOR.fields}
    assert known_fields()[name] <= fields
    others = FOR_SOME_PLACES.get(name, set()) | build_proto.LEFT_OUT.get(name, set())
    assert REFUSED.get(name, {}).keys() <= fields - known_fields()[name] | others
    assert NO_EFFECT.get(name, {}).keys() <= known_fields()[name]


FOR_SOME_PLACES = {
    "envoy.config.endpoint.v3.ClusterLoadAssignment": {"policy"},
    "envoy.config.core.v3.HttpProtocolOptions": {"headers_with_underscores_action"},
}
"""Fields that work in one place and are refused in another."""


def test_fields_that_our_descriptors_lack_have_their_reasons() -> None:
    for name in build_proto.LEFT_OUT.keys() & set(MESSAGES):
        assert build_proto.LEFT_OUT[name] <= REFUSED[name].keys()


def test_no_reason_is_for_a_message_that_is_not_there() -> None:
    assert {*REFUSED, *NO_EFFECT} - set(MESSAGES) == set()


@pytest.mark.parametrize(
    ("name", "field"), FIELDS, ids=[f"{page.short(name)}.{field}" for name, field in FIELDS]
)
def test_field(name: str, field: str, all_found: dict[tuple[str, str], Found]) -> None:
    if f"{name}.{field}" in page.ELSEWHERE:
        return
    word, reason = page.support_of(name, field)
    found = all_found.get((name, field))
    assert found is not None, f"{name} is nowhere in specimen.yaml"
    match word:
        case "works":
            assert found.different, "it is taken, and changes nothing: carry it out, refuse it, or say why"
        case "refused":
            assert reason, "say in support/reasons why it is refused"
            assert found.refused
            assert not found.same, "it is ignored somewhere"
        case _:
            assert not found.different, "it works"


# --- the same file ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The specimen with the files that it names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "specimen")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    for file in ("leaf.pem", "roots.pem"):
        (tmp_path / file).write_bytes(pem)
    clear = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "leaf.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, clear))
    for file in ("eds.yaml", "routes.yaml", "secrets.yaml"):
        (tmp_path / file).write_text("resources: []\n")
    (tmp_path / "bootstrap.yaml").write_bytes(specimen.FILE.read_bytes())
    return tmp_path


def test_mainstay_starts_from_it(folder: Path) -> None:
    boot = read_bootstrap(folder / "bootstrap.yaml", "1")
    assert {each.resource.kind for each in boot.static} == {"cluster", "listener", "secret"}


@pytest.mark.skipif(
    not hasattr(_engine, "Engine"), reason="the engine is built without its border; `make build` has it"
)
def test_the_engine_takes_all_of_it(folder: Path) -> None:
    """In a process of its own: nothing may fork once an engine has started."""
    program = Path(__file__).with_name("engine_takes_specimen.py")
    done = subprocess.run(
        [sys.executable, str(program), str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    count, refused, lost = json.loads(done.stdout)
    assert count > 15
    assert (refused, lost) == ([], [])


@pytest.mark.envoy
def test_envoy_starts_from_it(folder: Path) -> None:
    envoy = os.environ.get("MAINSTAY_TEST_ENVOY", "")
    assert envoy, "MAINSTAY_TEST_ENVOY has to name the Envoy binary: `make test` installs one"
    done = subprocess.run(
        [envoy, "--mode", "validate", "-c", "bootstrap.yaml", "-l", "error"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_tests_that_show_a_field_at_work_are_there() -> None:
    """The page names cases of the conformance suite; each must still be there, and set the field."""
    import shown

    named = json.loads(shown.FILE.read_text())
    held = shown.fields_of_cases()
    for field, case in named.items():
        assert field in held.get(case, set()), f"{case} does not show {field}: run tests/sidecar/shown.py"
    assert all((ROOT / path).is_file() for path in page.ELSEWHERE.values())
