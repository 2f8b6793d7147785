"""What is written means the same to Envoy and to Mainstay: booleans, numbers, names, quotes, in YAML."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from mainstay.settings.define import OperatorError
from mainstay.sidecar.bootstrap import document, yaml_text
from mainstay.sidecar.bootstrap.read import read_bootstrap
from mainstay.sidecar.convert.refuse import Refused

TEXT = """
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: PREFIX
          codec_type: CODEC
          MORE
          route_config:
            virtual_hosts:
            - {name: all, domains: DOMAINS, routes: [{match: {prefix: /}, route: {cluster: app}}]}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: app
    type: TYPE
    connect_timeout: TIMEOUT
    load_assignment:
      cluster_name: app
      endpoints: ENDPOINTS
"""
ENDPOINTS = (
    "[{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}}]}]"
)
USUAL = {
    "ENDPOINTS": ENDPOINTS,
    "PREFIX": "x",
    "CODEC": "AUTO",
    "MORE": "",
    "DOMAINS": '["*"]',
    "TYPE": "STATIC",
    "TIMEOUT": "1s",
    "PORT": "9000",
}
CASES: dict[str, tuple[dict[str, str], bool]] = {
    "as usual": ({}, True),
    "enum in small letters": ({"CODEC": "auto", "TYPE": "static"}, True),
    "enum as a number": ({"CODEC": "1"}, True),
    "enum as a number in quotes": ({"CODEC": '"1"'}, True),
    "enum that is none": ({"CODEC": "HTTP9"}, False),
    "number for text": ({"PREFIX": "12"}, False),
    "number in quotes for text": ({"PREFIX": '"12"'}, True),
    "boolean for text": ({"PREFIX": "on"}, False),
    "fraction for text": ({"PREFIX": "1.10"}, True),
    "date for text": ({"PREFIX": "2001-01-01"}, True),
    "minutes for text": ({"PREFIX": "1:30"}, True),
    "tilde at the front": ({"PREFIX": "~x"}, True),
    "yes": ({"MORE": "add_user_agent: yes"}, True),
    "on": ({"MORE": "add_user_agent: on"}, True),
    "y": ({"MORE": "add_user_agent: y"}, True),
    "True": ({"MORE": "add_user_agent: True"}, True),
    "boolean in quotes": ({"MORE": 'add_user_agent: "true"'}, True),
    "one for a list": ({"DOMAINS": '"*"'}, True),
    "mapping for a list": ({"ENDPOINTS": ENDPOINTS[1:-1]}, True),
    "port in quotes": ({"PORT": '"9000"'}, True),
    "octal port": ({"PORT": "0777"}, True),
    "hexadecimal port": ({"PORT": "0x1f"}, True),
    "port with a fraction of nothing": ({"PORT": "9000.0"}, True),
    "port with a fraction": ({"PORT": "9000.5"}, False),
    "port that is text": ({"PORT": "http"}, False),
    "null": ({"MORE": "via: null"}, True),
    "nothing": ({"MORE": "via:"}, True),
    "a key twice": ({"MORE": "via: a\n          via: b"}, True),
    "names of JSON": ({"MORE": "useRemoteAddress: true"}, True),
    "duration without unit": ({"TIMEOUT": "1"}, False),
    "short duration": ({"TIMEOUT": "0.0005s"}, True),
    "anchor": ({"MORE": "server_name: &a x\n          via: *a"}, True),
    "merge key": ({"MORE": "http2_protocol_options: {<<: {max_concurrent_streams: 5}}"}, False),
}


def text_of(changes: dict[str, str]) -> str:
    text = TEXT
    for name, value in {**USUAL, **changes}.items():
        text = text.replace(name, value)
    return text


@pytest.mark.parametrize(("changes", "is_taken"), CASES.values(), ids=CASES)
def test_text_is_taken_or_refused(changes: dict[str, str], is_taken: bool, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(text_of(changes))
    with nullcontext() if is_taken else pytest.raises(OperatorError):
        read_bootstrap(file, "1")


@pytest.mark.envoy
@pytest.mark.parametrize(("changes", "is_taken"), CASES.values(), ids=CASES)
def test_envoy_judges_alike(changes: dict[str, str], is_taken: bool, tmp_path: Path) -> None:
    envoy = os.environ.get("MAINSTAY_TEST_ENVOY", "")
    assert envoy, "MAINSTAY_TEST_ENVOY has to name the Envoy binary: `make test` installs one"
    file = tmp_path / "bootstrap.yaml"
    file.write_text(text_of(changes))
    command = [envoy, "--mode", "validate", "-c", str(file), "-l", "critical"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) == is_taken, done.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Y", True),
        ("No", False),
        ("oN", "oN"),
        ("0x1F", 31),
        ("-017", -15),
        ("+5", 5),
        ("0", 0),
        ("08", "08"),
        ("1e3", "1e3"),
        (".5", ".5"),
        ("3000000000", "3000000000"),
        ("~", None),
        ("NULL", None),
        ("'yes'", "yes"),
        ('"7"', "7"),
        ("=", "="),
    ],
)
def test_scalar_without_quotes(text: str, value: Any) -> None:
    found = yaml_text.load(f"a: {text}")["a"]
    assert (type(found), found) == (type(value), value)


def test_text_in_place_of_a_number_is_told_with_its_remedy(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(text_of({"PREFIX": "12"}))
    path = r"static_resources\.listeners\[0\]\.filter_chains\[0\]\.filters\[0\]\.typed_config\.stat_prefix"
    with pytest.raises(OperatorError, match=f"{path}: must be text: write 12 in quotes"):
        read_bootstrap(file, "1")


def test_json_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(Refused, match="nested deeper"):
        document.parse('{"a":' * 100_000 + "1" + "}" * 100_000)


ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ALIASES, "line 19, column 6: more than 1,000,000 values, counting aliases each time"),
        ("a: 1\nnode: &n {metadata: {x: *n}}", "line 2, column 7: an alias stands inside what it stands for"),
        ("a:\n  " + "[" * 300 + "]" * 300, "line 2, column 253: is nested deeper than 250"),
    ],
    ids=["multiplied", "cyclic", "deep"],
)
def test_yaml_that_is_small_and_stands_for_very_much_is_refused(text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        document.parse(text)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", None),
        ("elsewhere", None),
        ("nodes[1].name", 4),
        ("nodes[1]", 4),
        ("nodes[1].is_there.a", 5),
        ("nodes[7].name", 2),
        ("one[0].x", 6),
        ("map['k.1'].y", 8),
        ("nodes: 'x' is not there", 2),
    ],
)
def test_a_path_leads_to_its_line_as_far_as_it_goes(path: str, line: int | None) -> None:
    text = """\
# a comment
nodes:
- {name: x}
- name: y
  isThere: {a: 1}
one: {x: 1}
map:
  k.1: {y: 2}
"""
    assert yaml_text.Lines(text).find(path) == line
    assert yaml_text.Lines("{").find(path) is None


def test_refusals_tell_the_line_in_yaml_and_json(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap"
    for text in ('node:\n  "na\\eme": a\n', '{"node":\n  {"na\\u001bme": "a"}}'):
        file.write_text(text)
        with pytest.raises(OperatorError) as refused:
            read_bootstrap(file, "1")
        assert "\n  line 2: node.na?me: is not a field" in str(refused.value)


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(OperatorError, match="/dev/zero has more than 16,777,216 bytes"):
        read_bootstrap(Path("/dev/zero"), "1")


def test_flow_mapping_is_yaml_and_not_json() -> None:
    assert document.parse("{node: {id: a}}").node.id == "a"
    assert document.parse('{"node": {"id": "a"}}').node.id == "a"
