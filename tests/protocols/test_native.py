"""Native codecs as control planes and people know them: by the engine's table."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from click.testing import CliRunner

from mainstay import engine
from mainstay.cli.protocol import protocol
from mainstay.protocols.check import check_together
from mainstay.protocols.kind import shipped_protocols
from mainstay.protocols.native import native_codecs
from mainstay.protocols.read import read_descriptions, shipped
from mainstay.sidecar import plan


def test_the_table_is_the_engines() -> None:
    assert list(native_codecs()) == msgspec.msgpack.decode(engine.native_codecs(), type=list[plan.RpcNative])


def test_native_codecs_are_protocols_beside_those_that_are_described() -> None:
    facts = {fact.name: fact for fact in shipped_protocols()}
    assert facts["thrift-compact"].native
    assert not facts["thrift"].native
    described = {each.name: each.description for each in shipped()}
    assert not check_together(described)
    assert not described.keys() & {codec.name for codec in native_codecs()}


BEGINS_ALIKE = """
apiVersion: mainstay.dev/v1alpha1
kind: Protocol
metadata: {name: mine}
spec:
  detection: certain
  fields:
    - {name: length, size: 4}
    - {name: mark, magic: "82"}
    - {name: kind, size: 1, values: [33, 65]}
    - {name: id, size: 4}
    - {name: rest, rest: true}
  frameSize: {field: length, plus: 4}
  kinds: [{kind: request, when: {kind: [33]}}, {kind: response, when: {kind: [65]}}]
  id: id
  body: {field: rest}
  service: [{text: mine}]
  method: [{text: call}]
  status: {field: kind, outcomes: [{values: [65], outcome: success}]}
  errorReply: {set: {kind: 65}}
"""


def test_a_description_that_begins_as_a_native_codec_is_refused() -> None:
    _, (problem,) = read_descriptions([("mine.yaml", BEGINS_ALIKE)])
    assert (problem.code, problem.reason) == (
        "MS1113",
        "a connection may begin with bytes that fit both mine and thrift-compact",
    )
    _, problems = read_descriptions([("mine.yaml", BEGINS_ALIKE.replace("mine", "thrift-compact"))])
    assert not problems, "it takes the codec's place"


def test_all_protocols_are_listed() -> None:
    told = CliRunner().invoke(protocol, ["list", "-o", "json"], standalone_mode=False)
    found: list[dict[str, Any]] = json.loads(told.stdout)["protocols"]
    assert [(each["name"], each["codec"], each["detection"]) for each in found] == [
        ("bolt", "described", "certain"),
        ("dubbo", "described", "certain"),
        ("thrift", "described", "certain"),
        ("thrift-compact", "native", "certain"),
    ]
    table = CliRunner().invoke(protocol, ["list"], standalone_mode=False).stdout
    assert table.splitlines()[0].split() == ["NAME", "CODEC", "DETECTION", "ABOUT"]


def test_frames_of_a_native_codec_cannot_be_shown() -> None:
    told = CliRunner().invoke(
        protocol, ["decode", "-p", "thrift-compact", "-"], input="00", standalone_mode=False
    )
    assert str(told.exception) == "thrift-compact is a native codec: no description says what its frames hold"
