"""The generic proxy: codecs, the inspector, filters; what is taken, what is refused, and where the refusal points."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from generic_messages import (
    CONFIGURATION,
    GENERIC,
    ROUTER,
    URL,
    Fields,
    action,
    codec,
    convert_listener,
    manager,
    matchers,
    refused,
    struct,
)

from mainstay._proto import pool
from mainstay.protocols.read import shipped_texts
from mainstay.protocols.shipped import shipped_plan
from mainstay.sidecar import plan
from mainstay.sidecar.convert import described
from mainstay.sidecar.convert.references import needs_of
from mainstay.sidecar.convert.refuse import Refused
from mainstay.sidecar.convert.source import File
from mainstay.sidecar.convert.table import convert

VOLT = (Path(__file__).parents[1] / "protocols" / "volt.yaml").read_text()


# --- codecs -------------------------------------------------------------------------------------------------------


def spoken(found: plan.HttpConnectionManager) -> plan.RpcProtocol:
    """The only protocol, which is described."""
    (only,) = found.rpc
    assert isinstance(only, plan.RpcDescribedCodec)
    return only.protocol


def test_a_protocol_that_is_shipped_needs_its_name_alone() -> None:
    found = manager()
    assert (found.protocol, found.server_name, found.generate_request_id) == ("rpc", None, False)
    assert spoken(found).name == "bolt"
    dubbo = {"@type": GENERIC + "codecs.dubbo.v3.DubboCodecConfig"}
    assert spoken(manager(codec_config={"name": "dubbo", "typed_config": dubbo})).name == "dubbo"


def test_a_description_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(VOLT.encode()).hexdigest()
    monkeypatch.setattr(described, "_compiled", {})
    first = spoken(manager(codec_config=codec(protocol="volt", description=VOLT, sha256=digest)))
    assert first.name == "volt"
    monkeypatch.setattr(described, "_read", lambda *_: pytest.fail("read again"))
    assert spoken(manager(codec_config=codec(protocol="volt", description=VOLT))) is first


def test_the_text_of_a_shipped_protocol_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "_read", lambda *_: pytest.fail("read"))
    text = shipped_texts()["bolt"]
    assert spoken(manager(codec_config=codec(protocol="bolt", description=text))) is spoken(manager())


def test_a_description_of_ones_own_takes_the_place_of_a_shipped_one() -> None:
    shipped = shipped_plan("bolt")
    assert shipped is not None
    text = shipped_texts()["bolt"].replace("detection: certain", "detection: declared-only")
    found = spoken(manager(codec_config=codec(protocol="bolt", description=text)))
    assert shipped.plan.detection
    assert found.detection == ()


def native(**value: Any) -> Fields:
    return {"name": "codec", "typed_config": struct("NativeCodec", value)}


def test_a_native_codec_is_named_with_its_options() -> None:
    options: dict[str, plan.RpcOption] = {
        "declaredExceptions": "serverError",
        "most": 3,
        "half": 0.5,
        "huge": 1e300,
        "strict": True,
    }
    (found,) = manager(codec_config=native(codec="thrift-compact", options=options)).rpc
    assert found == plan.RpcNativeCodec("thrift-compact", options)
    assert isinstance(found, plan.RpcNativeCodec)
    assert type(found.options["most"]) is int
    assert msgspec.msgpack.encode(found), "whatever is written crosses the border"
    assert manager(codec_config=native(codec="thrift-compact")).rpc == (
        plan.RpcNativeCodec("thrift-compact"),
    )


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        ({}, "codec", "is required"),
        ({"codec": "tars"}, "codec", "there is no native codec 'tars'; there are thrift-compact"),
        ({"codec": "thrift-compact", "protocol": "x"}, "protocol", "there are codec, options"),
        ({"codec": "thrift-compact", "options": "x"}, "options", "must be an object"),
        ({"codec": "thrift-compact", "options": {"a": [1]}}, "options.a", "a text, a number or a truth"),
    ],
)
def test_native_codecs_are_refused_by_path(value: Fields, path: str, words: str) -> None:
    found = refused(codec_config=native(**value))
    assert found.path == f"codec_config.typed_config.value.{path}"
    assert words in found.reason


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        ({}, "protocol", "is required"),
        ({"protocol": "thrift-compact"}, "protocol", "name it by a mainstay.dev.v1alpha1.NativeCodec"),
        ({"protocol": "nobody"}, "description", "does not come with Mainstay, as bolt, dubbo, thrift do"),
        ({"protocol": "bolt", "sha256": "00"}, "sha256", "is not that of the bolt that comes"),
        (
            {"protocol": "volt", "description": VOLT, "sha256": "00"},
            "sha256",
            "is not that of the description",
        ),
        ({"protocol": "bolt", "description": VOLT}, "description", "is of the protocol 'volt', not 'bolt'"),
        ({"protocol": "x", "description": "a: [1"}, "description", "description:2:"),
        (
            {"protocol": "volt", "description": VOLT.replace("kind: Protocol", "kind: Route")},
            "description",
            "is no description of a protocol",
        ),
        ({"protocol": "volt", "description": f"{VOLT}---\n{VOLT}"}, "description", "two protocols volt"),
        (
            {"protocol": "volt", "description": "#" * 65_537},
            "description",
            "has 65537 bytes, more than 65536",
        ),
        ({"protocol": "bolt", "text": "a"}, "text", "is not a field of it"),
        ({"protocol": 1}, "protocol", "must be text"),
    ],
)
def test_a_codec_that_cannot_be_had_is_refused_by_path(value: Fields, path: str, words: str) -> None:
    found = refused(codec_config=codec(**value))
    assert found.path == f"codec_config.typed_config.value.{path}"
    assert words in found.reason


def test_a_contradiction_is_told_in_the_readers_words_with_its_line() -> None:
    wrong = VOLT.replace("detection: certain", "detection: certainly")
    assert wrong != VOLT
    found = refused(codec_config=codec(protocol="volt", description=wrong))
    line = 1 + wrong[: wrong.index("certainly")].count("\n")
    assert found.reason.startswith(f"description:{line}:")
    assert "spec.detection" in found.reason


def test_a_typed_struct_that_is_none_is_refused() -> None:
    value = pool.from_json("google.protobuf.Any", {"@type": URL + "google.protobuf.Duration", "value": "1s"})
    value.type_url, value.value = URL + "xds.type.v3.TypedStruct", b"\xff"
    config = pool.message_class("envoy.config.core.v3.TypedExtensionConfig")(name="x", typed_config=value)
    with pytest.raises(Refused, match=r"not a xds\.type\.v3\.TypedStruct"):
        described.codec(config)


def test_other_codecs_are_refused() -> None:
    config = {"@type": GENERIC + "router.v3.Router"}
    found = refused(codec_config={"name": "x", "typed_config": config})
    assert (found.path, "use mainstay.dev" in found.reason) == ("codec_config.typed_config", True)
    assert refused(codec_config={}).path == "codec_config.typed_config"


# --- the inspector ------------------------------------------------------------------------------------------------


def inspector(*protocols: Fields) -> list[Fields]:
    return [
        {
            "name": "mainstay.listener.protocol_inspector",
            "typed_config": struct("ProtocolInspector", {"protocols": list(protocols)}),
        }
    ]


def test_the_inspector_knows_described_protocols_and_native_ones() -> None:
    found, _ = convert_listener(inspector({"protocol": "bolt"}, {"codec": "thrift-compact"}))
    (only,) = found.listener_filters
    assert isinstance(only, plan.ProtocolInspector)
    described, native = only.protocols
    assert isinstance(described, plan.RpcDescribedCodec)
    assert (described.protocol.name, native) == ("bolt", plan.RpcNativeCodec("thrift-compact"))


DECLARED = VOLT.replace("detection: certain", "detection: declared-only").replace("name: volt", "name: watt")


@pytest.mark.parametrize(
    ("protocols", "path", "words"),
    [
        ([], "protocols", "needs at least one"),
        ([{"protocol": "volt"}], "protocols[0].value.description", "is required"),
        ([{"protocol": "watt", "description": DECLARED}], "protocols[0]", "a port must declare it"),
        ([{"protocol": "bolt"}, {"protocol": "bolt"}], "protocols[1]", "fit both bolt and bolt"),
        ([{"codec": "thrift-compact"}] * 2, "protocols[1]", "fit both thrift-compact and thrift-compact"),
        ([{"codec": "tars"}], "protocols[0].value.codec", "there is no native codec 'tars'"),
    ],
)
def test_what_first_bytes_cannot_tell_is_refused(protocols: list[Fields], path: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        convert_listener(inspector(*protocols))
    assert caught.value.path == f"listener_filters[0].typed_config.value.{path}"
    assert words in caught.value.reason


# --- the proxy ----------------------------------------------------------------------------------------------------


def test_a_listener_needs_its_generic_routes() -> None:
    assert needs_of(convert_listener()[0]) == {("generic_route", "routes")}
    inline = {"name": "r", "routes": matchers(otherwise=action())}
    assert needs_of(convert_listener(route_config=inline)[0]) == {("cluster", "a")}


def test_routes_may_come_from_a_file_but_from_no_service_of_their_own() -> None:
    file = {"path_config_source": {"path": "/routes.yaml"}}
    _, gathered = convert_listener(generic_rds={"route_config_name": "r", "config_source": file})
    assert gathered.sources == {("generic_route", "r"): File("/routes.yaml")}
    service = {
        "api_config_source": {"api_type": "GRPC", "grpc_services": [{"envoy_grpc": {"cluster_name": "c"}}]}
    }
    found = refused(generic_rds={"route_config_name": "r", "config_source": service})
    assert found.path == "generic_rds.config_source.api_config_source"


def test_filters_are_those_of_http_and_end_with_the_router() -> None:
    rbac = {
        "name": "rbac",
        "typed_config": {"@type": URL + "envoy.extensions.filters.http.rbac.v3.RBAC", "rules": {}},
    }
    found = manager(filters=[rbac, ROUTER]).filters
    assert [(each.name, type(each.config)) for each in found] == [("rbac", plan.RbacFilter)]
    assert refused(filters=[rbac]).path == "filters"
    assert refused(filters=[ROUTER, rbac]).path == "filters[1]"
    http = {"name": "r", "typed_config": {"@type": URL + "envoy.extensions.filters.http.router.v3.Router"}}
    assert refused(filters=[http]).path == "filters[0].typed_config"


def test_the_kind_of_a_table_is_its_messages() -> None:
    body = pool.from_json(CONFIGURATION, {"name": "r", "routes": matchers(otherwise=action())})
    found = convert(CONFIGURATION, body.SerializeToString()).resource
    assert (found.kind, found.name) == ("generic_route", "r")
    assert found.needs == {("cluster", "a")}
