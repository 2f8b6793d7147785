"""What an agent starts with: the settings checked, and what will stand beside it.

In: settings. Out: a `Beside`, or `OperatorError` for what does not fit together. Called by `main` before the engine starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from mainstay.settings.define import OperatorError
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar.agent.envoy_bootstrap import envoy_bootstrap
from mainstay.sidecar.agent.find import find_envoy
from mainstay.sidecar.agent.grpc_bootstrap import grpc_bootstrap
from mainstay.sidecar.agent.process import EnvoyProcess, GrpcFiles, inherited_environment
from mainstay.sidecar.beside import Beside
from mainstay.sidecar.bootstrap.own import USAGE
from mainstay.supervise import INHERITED

_LEVELS = {"debug": "debug", "info": "warning", "warning": "warning", "error": "error"}
"""Envoy's info begins with pages of lists of what it has built in."""
_TEXT_FORMAT = "%Y-%m-%dT%T.%e%z %l envoy.%n %v"
_JSON_FORMAT = '{"time":"%Y-%m-%dT%T.%e%z","level":"%l","room":"envoy.%n","message":"%j"}'


def make_beside(settings: SidecarSettings, verb: str, version: str, clock: Callable[[], int]) -> Beside:
    """`verb`: sidecar or gateway; `version`: Mainstay's; `clock`: monotonic ms."""
    _check(settings, verb)
    data = settings.data
    assert data is not None
    data = data.expanduser().absolute()
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.chmod(0o700)
    except OSError as error:
        raise OperatorError(f"--data: cannot use {data}: {error.strerror}") from None
    if settings.proxy == "grpc":
        return GrpcFiles(data, lambda joined, files: grpc_bootstrap(settings, version, joined, files))
    found = find_envoy(settings.proxy_path, os.environ)
    return EnvoyProcess(
        data,
        lambda joined, _: envoy_bootstrap(settings, verb, version, joined),
        (found.path, *_flags(settings)),
        inherited_environment(),
        INHERITED,
        found.version,
        clock,
    )


def _check(settings: SidecarSettings, verb: str) -> None:
    given = f"--proxy {settings.proxy}"
    if settings.bootstrap is not None:
        raise OperatorError(
            f"{given} and --bootstrap exclude each other: the proxy's bootstrap is written from the settings",
            USAGE,
        )
    if settings.control_plane.insecure:
        raise OperatorError(
            f"{given} needs the control plane's TLS port: without an identity there are no certificates to keep. "
            "Leave out --control-plane-insecure",
            USAGE,
        )
    if settings.data is None:
        raise OperatorError(f"{given} needs --data: certificates and bootstrap are files there", USAGE)
    if settings.proxy == "grpc" and verb == "gateway":
        raise OperatorError(
            "mainstay gateway: --proxy is mainstay or envoy; gRPC's library is no gateway", USAGE
        )
    if settings.proxy == "envoy" and settings.metrics.port == 0:
        raise OperatorError(
            "--proxy envoy needs a --metrics-port: Envoy does not tell which one the system chose", USAGE
        )


def _flags(settings: SidecarSettings) -> tuple[str, ...]:
    log_format = _JSON_FORMAT if settings.log.format == "json" else _TEXT_FORMAT
    return (
        "--concurrency",
        str(settings.concurrency),
        # Shared memory of one machine's Envoys would have to be told apart; a restart here is a new process.
        "--disable-hot-restart",
        "--drain-time-s",
        str(max(1, -(-settings.drain.min // 1_000))),
        "--drain-strategy",
        "immediate",
        "--log-level",
        _LEVELS[settings.log.level],
        "--log-format",
        log_format,
    )
