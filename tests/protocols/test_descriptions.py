"""Descriptions: those that come with Mainstay are sound, and what makes no sense is refused by path with a remedy."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from spoiling import faults, spoilt

from mainstay.protocols.check import check_together
from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.description import Protocol
from mainstay.protocols.explain import refusal
from mainstay.protocols.read import description_schema, read_descriptions, shipped, shipped_texts
from mainstay.sidecar import plan

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

BOLT = shipped_texts()["bolt"]
DUBBO = shipped_texts()["dubbo"]
THRIFT = shipped_texts()["thrift"]


def problems_of(text: str) -> list[str]:
    _, problems = read_descriptions([("made-up.yaml", text)])
    assert all(problem.remedy and problem.line for problem in problems)
    return [f"{problem.path}: {problem.reason}" for problem in problems]


def compiled(name: str) -> plan.RpcProtocol:
    (described,) = (each for each in shipped() if each.name == name)
    return compile_protocol(name, described.description)


def openings(name: str) -> list[tuple[str, str, str]]:
    return [
        (each.frame, each.pattern.mask.hex(), each.pattern.value.hex()) for each in compiled(name).openings
    ]


def test_shipped_descriptions_are_sound_and_told_apart() -> None:
    assert [each.name for each in shipped()] == ["bolt", "dubbo", "thrift"]


def test_bolt_has_a_shape_for_each_version_and_direction() -> None:
    bolt = compiled("bolt")
    sizes = {
        shape.name: sum(item.size.bytes for item in shape.items if isinstance(item.size, plan.RpcNumber))
        for shape in bolt.shapes
    }
    assert sizes == {
        "proto 1; type 1, 2": 22,
        "proto 1; type 0": 20,
        "proto 2; type 1, 2": 24 + 4,
        "proto 2; type 0": 22 + 4,
    }
    assert openings("bolt")[0] == ("request", "ffffffff", "01010001")
    checksums = [shape.checksum for shape in bolt.shapes]
    assert [each and (each.first, each.last, len(each.present)) for each in checksums] == [
        None,
        None,
        ("proto", "content", 1),
        ("proto", "content", 1),
    ]


def test_bits_tell_kinds() -> None:
    assert openings("dubbo")[0] == ("request", "ffffe0", "dabbc0")
    assert openings("dubbo")[4] == ("heartbeat_answer", "ffffa0", "dabb20")


def test_detection_leaves_out_frames_beyond_the_limit() -> None:
    assert [each.mask.hex() for each in compiled("thrift").detection] == ["ff000000ffff00ff"] * 2


def test_error_replies_know_the_shape_of_what_they_answer() -> None:
    bolt = compiled("bolt")
    names = {
        bolt.shapes[each.like].name: (bolt.shapes[each.shape].name, each.copies)
        for each in bolt.error_replies
    }
    assert names == {
        "proto 1; type 1, 2": ("proto 1; type 0", ("proto", "requestId", "codec")),
        "proto 2; type 1, 2": ("proto 2; type 0", ("proto", "ver1", "requestId", "codec", "switch")),
    }


CASES = {
    "trace that nothing tells": (
        DUBBO,
        "    context: traceparent\n    begin: [{header: traceparent, value: context}]",
        "    sampled: samp",
        "trace: nothing tells a trace",
    ),
    "trace that is not found again": (
        BOLT,
        "{header: rpc_trace_context.sofaTraceId, value: traceId}",
        "{header: rpc_trace_context.sofaTraceId, value: spanId}",
        "trace.begin: a trace that is begun so is not found again by the next proxy",
    ),
    "trace without a place": (
        THRIFT,
        "  service:",
        "  trace: {context: traceparent}\n  service:",
        "trace: the frame has neither header map nor attachments",
    ),
    "unknown field": (
        BOLT,
        "pinned: [proto, ver1]",
        "pinned: [proto, ver3]",
        "pinned[1]: there is no number ver3",
    ),
    "unknown key": (BOLT, "  id: requestId", "  ident: requestId", "ident: there is no field 'ident'"),
    "two fields of a name": (BOLT, "name: ver2", "name: proto", "there are two fields proto"),
    "bits outside": (DUBBO, "at: 0, count: 5", "at: 4, count: 5", "flags has 8 bits"),
    "condition on later field": (
        BOLT,
        "{name: ver1, size: 1, values: [1, 2], when: {proto: [2]}}",
        "{name: ver1, size: 1, when: {type: [1]}}",
        "type comes later in the frame",
    ),
    "value too large": (
        BOLT,
        "{type: [1], command: [1]}",
        "{type: [256], command: [1]}",
        "256 does not fit 8 bits",
    ),
    "length without field": (
        BOLT,
        "{field: classLength}",
        "{field: classSize}",
        "there is no number classSize",
    ),
    "rest without size": (
        THRIFT,
        "  frameSize: {field: frameLength, plus: 4}\n",
        "",
        "there is no rest without frameSize",
    ),
    "no request": (
        THRIFT,
        "    - {kind: request, when: {type: [1]}}\n",
        "",
        "nothing is a request",
    ),
    "kind that never is": (
        BOLT,
        "{kind: goAway, when: {type: [1], command: [100]}}",
        "{kind: goAway, when: {type: [7]}}",
        "no frame can be a goAway",
    ),
    "kind that is another already": (
        DUBBO,
        "{kind: oneWay, when: {request: [1], twoWay: [0], event: [0]}}",
        "{kind: oneWay, when: {request: [1], twoWay: [1], event: [0]}}",
        "every such frame is a request already",
    ),
    "checksum covers itself": (BOLT, "to: content,", "to: crc,", "the checksum would cover itself"),
    "checksum of wrong width": (
        BOLT,
        "{name: crc, size: 4,",
        "{name: crc, size: 2,",
        "crc32 needs a field of 4 bytes",
    ),
    "optional checksum in the middle": (
        BOLT,
        "{field: crc, algorithm: crc32, from: proto, to: content,",
        "{field: ver2, algorithm: sum, from: requestId, to: requestId,",
        "only a checksum at the end may be absent",
    ),
    "leading checksum of large frames": (
        THRIFT,
        "  id: sequence",
        "  checksum: {field: frameLength, algorithm: crc32, from: name, to: payload}\n  id: sequence",
        "a checksum in front of what it covers needs frames to be whole",
    ),
    "headers behind the body": (
        BOLT,
        "    field: header\n",
        "    field: content\n",
        "the header map must lie before the body",
    ),
    "header without map": (
        THRIFT,
        "{text: thrift}",
        "{header: service}",
        "the frame has neither header map nor attachments",
    ),
    "unknown body value": (DUBBO, "{body: path}", "{body: paths}", "no value of the body is called paths"),
    "part behind the body": (
        DUBBO,
        "    - {name: data, length: {field: bodyLength}}",
        "    - {name: data, length: {field: bodyLength}}\n    - {name: more, length: {field: status}}",
        "more lies behind the body",
    ),
    "deciding field too far": (
        THRIFT,
        "{kind: oneWay, when: {type: [4]}}",
        "{kind: oneWay, when: {sequence: [4]}}",
        "sequence does not lie within the first 16 bytes",
    ),
    "reply that is none": (
        BOLT,
        "set: {type: 0, command: 2, ver2: 1}",
        "set: {type: 0, ver2: 1}",
        "does not make a frame of kind response",
    ),
    "heartbeat with a message": (
        DUBBO,
        """answer:
      set: {request: 0, twoWay: 0, event: 1, serialization: 2, status: 20}
      copy: [requestId]
      parts: {data: [{bytes: "4e"}]}""",
        "answer:\n      set: {event: 1}\n      parts: {data: [{message: {}}]}",
        "only an error reply has a message and a status",
    ),
    "status twice": (DUBBO, "values: [60]", "values: [40]", "40 is listed twice"),
    "responses without status": (
        BOLT,
        "    field: status\n",
        "    field: timeout\n",
        "responses with proto 1; type 0 have no timeout",
    ),
    "certain by too little": (
        DUBBO,
        "{name: magic, magic: dabb}",
        "{name: magic, size: 2}",
        "only 3 bits that are fixed",
    ),
    "certain, but as HTTP": (
        DUBBO,
        "magic: dabb}",
        "magic: '474554'}",
        "HTTP/1 may begin with the same bytes",
    ),
    "magic in words": (DUBBO, "magic: dabb}", "magic: dubbo}", "'dubbo' is not allowed here"),
    "bits that overlap": (
        DUBBO,
        "name: twoWay, at: 6",
        "name: twoWay, at: 7",
        "twoWay and request share bits",
    ),
    "field against its bits": (
        DUBBO,
        "{kind: oneWay, when: {request: [1], twoWay: [0], event: [0]}}",
        "{kind: oneWay, when: {request: [1], flags: [2]}}",
        "no frame can be a oneWay",
    ),
    "heartbeats without a pause": (BOLT, "interval: 15s", "interval: 0s", "heartbeat.interval: 0 is no time"),
    "heartbeats without patience": (BOLT, "timeout: 1s", "timeout: 0s", "heartbeat.timeout: 0 is no time"),
    "text that no request has": (
        BOLT,
        "bolt-class: [{field: class}]",
        "bolt-status: [{field: status}]",
        "attributes.bolt-status[0].field: no request has status",
    ),
    "number behind the body": (
        DUBBO,
        "    - {name: data, length: {field: bodyLength}}",
        "    - {name: data, length: {field: bodyLength}}\n    - {name: end, size: 2}",
        "end lies behind the body",
    ),
    "id behind the body": (
        BOLT,
        "  id: requestId",
        "  id: crc",
        "id: crc lies behind the body in frames with proto 2",
    ),
    "rest in the middle": (
        THRIFT,
        "{name: name, length: {field: nameLength}}",
        "{name: name, rest: true}",
        "two parts take the rest",
    ),
    "body behind the rest": (
        THRIFT,
        "{name: payload, rest: true}",
        "{name: extra, rest: true}\n    - {name: payload, length: {field: nameLength}}",
        "extra leaves nothing for the part behind it",
    ),
    "too many parts": (
        BOLT,
        "    - {name: class, length: {field: classLength}}\n",
        "".join(f"    - {{name: class{at}, length: {{field: ver2}}}}\n" for at in range(6))
        + "    - {name: class, length: {field: classLength}}\n",
        "there are 9 parts in frames with proto 1",
    ),
    "nothing in front": (
        THRIFT,
        "    - {name: frameLength, size: 4}\n",
        "    - {name: lead, length: {field: frameLength}}\n    - {name: frameLength, size: 4}\n",
        "0 bytes lie in front of the first part",
    ),
    "much in front": (
        BOLT,
        "    - {name: class, length: {field: classLength}}\n",
        "".join(f"    - {{name: m{at}, magic: '{'00' * 60}'}}\n" for at in range(4))
        + "    - {name: class, length: {field: classLength}}\n",
        "260 bytes lie in front of the first part in frames with proto 1; type 0; 1 to 256 may",
    ),
    "checksum of what is not there": (
        BOLT,
        "from: proto, to: content,",
        "from: status, to: content,",
        "checksum.from: status is missing in frames with proto 2; type 1, 2",
    ),
    "checksum told too late": (
        BOLT,
        "when: {ver1: [2], crcOn: [1]}",
        "when: {ver1: [2], contentLength: [1]}",
        "checksum.when.contentLength: contentLength does not lie within the first 16 bytes",
    ),
    "body told too late": (
        BOLT,
        "when: {codec: [1, 4]}",
        "when: {codec: [1], contentLength: [4]}",
        "body.hessian.when.contentLength: contentLength does not lie within the first 16 bytes",
    ),
    "too many combinations": (
        BOLT,
        "{name: ver2, size: 1}",
        "{name: ver2, size: 1, bits: [{name: a, at: 0}, {name: b, at: 1}, {name: c, at: 2}, {name: d, at: 3}]}\n"
        + "\n".join(f"    - {{name: {x}{x}, size: 1, when: {{{x}: [1]}}}}" for x in "abcd"),
        "more than 32 combinations",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_nonsense_is_refused(case: str) -> None:
    text, old, new, expected = CASES[case]
    assert old in text
    found = problems_of(text.replace(old, new, 1))
    assert any(expected in each for each in found), found


def test_a_checksum_that_is_never_there_is_no_field_of_such_frames() -> None:
    text = BOLT.replace("{name: crc, size: 4, when: {proto: [2]}}", "{name: crc, size: 4}")
    ((described,), problems) = read_descriptions([("bolt.yaml", text)])
    assert not problems
    assert compile_protocol("bolt", described.description) == compiled("bolt")


@settings(max_examples=150, deadline=None)
@given(spoilt())
def test_what_is_not_refused_makes_a_codec(document: Any) -> None:
    """Descriptions that were spoilt anywhere are refused, with a remedy and a line, or the engine takes them."""
    found, problems = read_descriptions([("spoilt.yaml", json.dumps(document))])
    if problems:
        assert all(problem.reason and problem.remedy and problem.line for problem in problems)
    else:
        assert [refusal(each) for each in found] == [None]


# What validation of types alone finds: unknown and missing fields, types, choices and ranges, one of several.
OF_SHAPE = {"MS1008", "MS1010", "MS1011", "MS1012", "MS1013"}


@settings(max_examples=150, deadline=None)
@given(spoilt())
def test_an_editor_sees_in_the_schema_what_the_reader_refuses(document: Any) -> None:
    _, problems = read_descriptions([("spoilt.json", json.dumps(document))])
    refused = [problem for problem in problems if problem.code in OF_SHAPE]
    assert bool(faults(description_schema(), document)) == bool(refused), refused


@pytest.mark.parametrize("text", [BOLT, DUBBO, THRIFT, (HERE / "volt.yaml").read_text()])
def test_the_schema_takes_what_is_shipped(text: str) -> None:
    assert faults(description_schema(), yaml.safe_load(text)) == []


def test_problems_have_the_line() -> None:
    _, (problem,) = read_descriptions(
        [("mine.yaml", BOLT.replace("pinned: [proto, ver1]", "pinned: [proto, ver3]"))]
    )
    line = BOLT.splitlines().index("  pinned: [proto, ver1]") + 1
    assert (problem.code, problem.file, problem.line, problem.path) == (
        "MS1112",
        "mine.yaml",
        line,
        "spec.pinned[1]",
    )
    assert re.search("proto, ver1, type", problem.remedy)


@pytest.mark.parametrize("name", ["http", "tcp-parcel", "grpc", "tls-1"])
def test_a_name_that_means_something_else_is_refused_as_it_is_when_it_is_applied(name: str) -> None:
    text = BOLT.replace("name: bolt", f"name: {name}").replace(
        "detection: certain", "detection: declared-only"
    )
    _, (problem,) = read_descriptions([("mine.yaml", text)])
    assert (problem.code, problem.path, problem.line) == ("MS1012", "metadata.name", 5)
    assert problem.reason == f"a port whose name begins with {name.partition('-')[0]} speaks that"


def test_a_name_that_is_too_long_is_refused_where_it_stands() -> None:
    for size in (63, 64):
        _, problems = read_descriptions(
            [("mine.yaml", THRIFT.replace("name: thrift", f"name: {'m' * size}"))]
        )
        refused = [(problem.code, problem.path, problem.line) for problem in problems]
        assert refused == [("MS1012", "metadata.name", 5)] * (size > 63)


def test_certain_protocols_that_begin_alike_are_refused_together() -> None:
    mine = BOLT.replace("name: bolt", "name: volt").replace("values: [1, 2]}\n", "values: [1, 3]}\n", 1)
    _, (problem,) = read_descriptions([("bolt.yaml", BOLT), ("volt.yaml", mine)])
    assert (problem.code, problem.path) == ("MS1113", "spec.detection")
    assert "both volt and bolt" in problem.reason
    declared = mine.replace("detection: certain", "detection: declared-only")
    assert read_descriptions([("bolt.yaml", BOLT), ("volt.yaml", declared)])[1] == []


def test_the_wire_form_of_a_description_is_the_description() -> None:
    for each in shipped():
        wire = msgspec.json.encode(each.description)
        assert msgspec.json.decode(wire, type=Protocol) == each.description
    assert check_together({each.name: each.description for each in shipped()}) == []


def test_schema_names_every_field() -> None:
    spec = description_schema()["properties"]["spec"]["properties"]
    assert {"fields", "kinds", "errorReply", "goAway", "byteOrder"} <= set(spec)


def test_plans_for_the_engines_tests_are_current() -> None:
    spec = importlib.util.spec_from_file_location(
        "generate_protocols", ROOT / "tools" / "generate_protocols.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.stale() == [], "run `python tools/generate_protocols.py`"
