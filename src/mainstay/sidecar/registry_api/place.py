"""Settings of the registry API as addresses, and what is refused of them at the start.

In: `SidecarSettings`. Out: `Place`, or `OperatorError` that says what clashes and what to set instead.
"""

from __future__ import annotations

import ipaddress

from mainstay.settings.define import OperatorError
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar.registry_api.machine import Place

USAGE = 2


def place_of(settings: SidecarSettings) -> Place:
    """Where things are."""
    registry = settings.registry
    return Place(
        protocol=registry.protocol,
        inbound=_join(settings.addresses[0], registry.inbound_port),
        application=_join(registry.application_host, registry.application_port),
        data=_join(registry.bind, registry.data_port),
        intercepted=settings.interception == "REDIRECT",
    )


def check_registry(settings: SidecarSettings, kind: str) -> None:
    """Raises `OperatorError` for settings that cannot go together."""
    registry, place = settings.registry, place_of(settings)
    if kind == "gateway":
        raise OperatorError("--registry-enabled: a gateway has no application beside it", USAGE)
    if settings.proxy != "mainstay":
        raise OperatorError(
            f"--registry-enabled: calls of the application are carried by Mainstay's engine; --proxy {settings.proxy} has no part"
            " for it",
            USAGE,
        )
    for flag, host in (("bind", registry.bind), ("application-host", registry.application_host)):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise OperatorError(f"--registry-{flag}: {host!r} is not an IP address", USAGE) from None
        if flag == "bind" and not address.is_loopback and host not in settings.addresses:
            raise OperatorError(
                f"--registry-bind: {host} is neither loopback nor one of --addresses: others could register services and call"
                " with this workload's identity",
                USAGE,
            )
    if not place.intercepted and registry.application_port:
        _check_inbound(place, registry.application_host)
    _check_taken(settings, place)


def _check_inbound(place: Place, host: str) -> None:
    """Peers' calls come in where the application is not."""
    address, _, port = place.inbound.rpartition(":")
    # What listens on all addresses takes this one, too.
    covers = host in (address, "0.0.0.0", "::")
    if covers and place.application.rpartition(":")[2] == port:
        raise OperatorError(
            f"--registry-application-port: the application's RPC port {place.application} is where the sidecar itself takes calls"
            f" of the mesh ({place.inbound}). Let the application listen on another port (SOFARPC: ServerConfig.setPort) and tell"
            " it here, or give the sidecar another one with --registry-inbound-port",
            USAGE,
        )


def _check_taken(settings: SidecarSettings, place: Place) -> None:
    """Each listener of this program has a place of its own."""
    registry = settings.registry
    wanted = [
        ("--admin-port", settings.admin.bind, settings.admin.port),
        ("--health-port", settings.health.bind, settings.health.port),
        ("--metrics-port", settings.metrics.bind, settings.metrics.port),
        ("--registry-port", registry.bind, registry.port),
        ("--registry-data-port", registry.bind, registry.data_port),
    ]
    if not place.intercepted:
        wanted.append(("--registry-inbound-port", settings.addresses[0], registry.inbound_port))
    taken: dict[tuple[str, int], str] = {}
    for flag, host, port in wanted:
        if port and (other := taken.setdefault((host, port), flag)) != flag:
            raise OperatorError(f"{flag}: {_join(host, port)} is that of {other} already", USAGE)


def _join(host: str, port: int) -> str:
    """`address:port`, empty without a port."""
    if not port:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
