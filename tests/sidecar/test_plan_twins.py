"""The plan structs of both sides of the border are equal, field by field and tag by tag."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import plan_twins

from mainstay.engine import Asked
from mainstay.sidecar import plan

RUST = plan_twins.read_plan()
NOT_OF_THE_PLAN = {"Delta", "Upsert", "Removal", "ApplyReport", "RefusedResource", "Held", "Kind"}
"""Twins in `mainstay.engine`."""

UNIONS: dict[str, Any] = {
    "AccessLogFormat": plan.TextFormat | plan.JsonFormat,
    "AccessLogSink": plan.FileSink | plan.StdoutSink | plan.StderrSink,
    "Address": plan.Address,
    "Discovery": plan.Discovery,
    "HeaderTest": plan.PresentTest | plan.TextTest | plan.RangeTest,
    "HealthCheckKind": plan.HealthCheckKind,
    "HostRewrite": plan.HostRewrite,
    "HttpFilterConfig": plan.HttpFilterConfig,
    "ListenerFilter": plan.ListenerFilter,
    "LoadBalancer": plan.LoadBalancer,
    "LogFilter": plan.LogFilter,
    "NetworkFilterConfig": plan.NetworkFilterConfig,
    "PathMatch": plan.PathMatch,
    "PathRewrite": plan.PathRewrite,
    "QueryTest": plan.PresentTest | plan.TextTest,
    "RbacPermission": plan.RbacPermission,
    "RbacPrincipal": plan.RbacPrincipal,
    "RouteAction": plan.RouteAction,
    "RouteSource": plan.NamedRoutes | plan.GenericRoutes | plan.InlineRoutes,
    "RpcCodec": plan.RpcCodec,
    "RpcHeaders": plan.RpcHeaders,
    "RpcOrigin": plan.RpcOrigin,
    "RpcPiece": plan.RpcPiece,
    "RpcSize": plan.RpcSize,
    "RpcTraceValue": plan.RpcTraceValue,
    "SecretMaterial": plan.CertificateMaterial | plan.ValidationMaterial,
    "StringTest": plan.StringTest,
    "Terminal": plan.HttpTerminal | plan.TcpTerminal,
    "Upstreams": plan.Upstreams,
}
VALUES: dict[str, tuple[type[msgspec.Struct], str]] = {
    "Asker": (Asked, "asker"),
    "ForwardClientCertificate": (plan.HttpConnectionManager, "forward_client_certificate"),
    "HeaderChangeKind": (plan.HeaderChange, "action"),
    "Health": (plan.Endpoint, "health"),
    "LocalityBalancing": (plan.Cluster, "locality"),
    "LogComparisonKind": (plan.LogComparison, "kind"),
    "Protocol": (plan.HttpConnectionManager, "protocol"),
    "RpcAlgorithm": (plan.RpcChecksum, "algorithm"),
    "RpcDialect": (plan.RpcBody, "dialect"),
    "RpcKind": (plan.RpcOpening, "frame"),
    "TlsVersion": (plan.DownstreamTls, "min_version"),
    "TrafficDirection": (plan.Listener, "direction"),
    "Underscores": (plan.HttpConnectionManager, "underscores"),
    "UpstreamProtocol": (plan.UpstreamHttp, "protocol"),
}


def members(union: Any) -> tuple[type[msgspec.Struct], ...]:
    return get_args(union) or (union,)


def fields_of(struct: type[msgspec.Struct]) -> list[str]:
    return sorted(field.encode_name for field in msgspec.structs.fields(struct))


@pytest.mark.parametrize(
    "name", sorted(name for name in RUST if "." not in name and name not in NOT_OF_THE_PLAN)
)
def test_struct_has_an_equal_twin(name: str) -> None:
    if name in VALUES:
        struct, field = VALUES[name]
        (found,) = [each for each in msgspec.structs.fields(struct) if each.name == field]
        literal = msgspec.inspect.type_info(found.type)
        assert isinstance(literal, msgspec.inspect.LiteralType)
        assert sorted(map(str, literal.values)) == sorted(RUST[name])
    else:
        assert fields_of(getattr(plan, name)) == sorted(RUST[name])


@pytest.mark.parametrize("name", sorted({name.split(".")[0] for name in RUST if "." in name} - {"Event"}))
def test_tagged_union_has_an_equal_twin(name: str) -> None:
    rust = {
        variant.split(".")[1]: sorted(fields)
        for variant, fields in RUST.items()
        if variant.startswith(f"{name}.")
    }
    twins = {str(each.__struct_config__.tag): fields_of(each) for each in members(UNIONS[name])}
    assert twins == rust


def test_events_have_equal_twins() -> None:
    source = (Path(plan.__file__).parents[2] / "engine.py").read_text()
    for variant, fields in RUST.items():
        enum, _, tag = variant.partition(".")
        if enum == "Event":
            name = "".join(part.capitalize() for part in tag.split("_"))
            name = "RefusedEvent" if name == "Refused" else name
            body = source.split(f"class {name}(_Event", 1)[1].split("\nclass ", 1)[0]
            assert [field for field in fields if f"    {field}: " not in body] == [], variant
