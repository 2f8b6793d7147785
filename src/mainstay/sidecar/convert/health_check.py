"""Health checks (`envoy.config.core.v3.HealthCheck`): HTTP, connections with or without words, gRPC; of a workload's own probe
commands, too."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.exec_check import ExecCheck, command_of
from mainstay.sidecar.convert.gathered import Gathered
from mainstay.sidecar.convert.refuse import Refused, at, check, known

PROBE_PREFIX = "probe|"
"""Clusters of this name carry the workload's health check; no traffic goes there. From the control plane or from settings."""
MAX_PAYLOAD = 1024
"""Bytes of a health check's payload: the engine hears no longer answers."""
_HEALTH_CHECK_FIELDS = known(
    "envoy.config.core.v3.HealthCheck",
    {
        "timeout",
        "interval",
        "initial_jitter",
        "interval_jitter",
        "unhealthy_threshold",
        "healthy_threshold",
        "http_health_check",
        "tcp_health_check",
        "grpc_health_check",
        "custom_health_check",
        "no_traffic_interval",
        "reuse_connection",
    },
)
_HEALTH_CHECK_HTTP_HEALTH_CHECK_FIELDS = known(
    "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
    {"host", "path", "request_headers_to_add", "expected_statuses", "codec_client_type"},
)
_HEALTH_CHECK_TCP_HEALTH_CHECK_FIELDS = known(
    "envoy.config.core.v3.HealthCheck.TcpHealthCheck", {"send", "receive"}
)
_HEALTH_CHECK_PAYLOAD_FIELDS = known("envoy.config.core.v3.HealthCheck.Payload", {"text", "binary"})


def health_checks(message: Any, gathered: Gathered) -> tuple[plan.HealthCheck, ...]:
    """Of a cluster; a command goes to `gathered`, since it runs beside the engine."""
    found = []
    for index, each in enumerate(message.health_checks):
        with at(f"health_checks[{index}]"):
            if each.WhichOneof("health_checker") == "custom_health_check":
                gathered.command = _command(message.name, each)
            else:
                found.append(health_check(each))
    return tuple(found)


def _command(cluster: str, message: Any) -> ExecCheck:
    check(message, _HEALTH_CHECK_FIELDS)
    if not cluster.startswith(PROBE_PREFIX):
        raise Refused("custom_health_check", "is not supported; only a workload's own probe may be a command")
    with at("custom_health_check"):
        command = command_of(message.custom_health_check)
    return ExecCheck(command, *_pace(message))


def _pace(message: Any) -> tuple[int, int, int, int, int]:
    """Patience, pause and jitter in milliseconds; answers in a row that make an endpoint healthy, and unhealthy."""
    return (
        values.milliseconds(message, "timeout", 1_000) or 1_000,
        values.milliseconds(message, "interval", 10_000) or 10_000,
        values.milliseconds(message, "initial_jitter", 0) or 0,
        max(1, values.wrapped(message, "healthy_threshold", 1)),
        max(1, values.wrapped(message, "unhealthy_threshold", 1)),
    )


def health_check(message: Any) -> plan.HealthCheck:
    """`envoy.config.core.v3.HealthCheck`: HTTP, TCP connect and gRPC."""
    check(
        message,
        _HEALTH_CHECK_FIELDS,
    )
    kind: plan.HealthCheckKind
    match message.WhichOneof("health_checker"):
        case "http_health_check":
            http = message.http_health_check
            with at("http_health_check"):
                check(http, _HEALTH_CHECK_HTTP_HEALTH_CHECK_FIELDS)
            headers = tuple(
                (each.header.key.lower(), each.header.value) for each in http.request_headers_to_add
            )
            statuses = tuple((each.start, each.end) for each in http.expected_statuses)
            kind = plan.HttpHealthCheck(http.host, http.path, headers, statuses, http.codec_client_type == 1)
        case "tcp_health_check":
            with at("tcp_health_check"):
                check(message.tcp_health_check, _HEALTH_CHECK_TCP_HEALTH_CHECK_FIELDS)
                kind = _tcp_check(message.tcp_health_check)
        case "grpc_health_check":
            kind = plan.GrpcHealthCheck(
                message.grpc_health_check.service_name, message.grpc_health_check.authority
            )
        case other:
            raise Refused(other or "health_checker", "is not supported" if other else "is required")
    return plan.HealthCheck(kind, *_pace(message), plan.Fraction(100, 100))


def _tcp_check(message: Any) -> plan.TcpHealthCheck:
    """What is said and heard; as in Envoy, nothing is said where nothing is to be heard."""
    receive = []
    for index, payload in enumerate(message.receive):
        with at(f"receive[{index}]"):
            receive.append(plan.CheckBytes(_payload(payload)))
    if not message.HasField("send"):
        return plan.TcpHealthCheck(b"", tuple(receive))
    with at("send"):
        return plan.TcpHealthCheck(_payload(message.send), tuple(receive))


def _payload(message: Any) -> bytes:
    """Hexadecimal text, or bytes."""
    check(message, _HEALTH_CHECK_PAYLOAD_FIELDS)
    if message.WhichOneof("payload") == "binary":
        payload: bytes = message.binary
    else:
        try:
            payload = bytes.fromhex(message.text)
        except ValueError:
            raise Refused("text", f"{message.text!r} is not hexadecimal") from None
    if not 0 < len(payload) <= MAX_PAYLOAD:
        raise Refused("", f"has 1 to {MAX_PAYLOAD} bytes")
    return payload
