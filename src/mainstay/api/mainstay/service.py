"""Service of ``mainstay.dev``: a plain service for what is neither in Kubernetes nor in a registry.

In: YAML or JSON, through the decoder. Out: ``Service``, read by ``translate``. Its host is
``<name>.<namespace>.svc.<domain suffix>``, so that short names reach it as they do in Kubernetes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from mainstay.api.define import Labels, Length, NotYetValue, Part, Port

Transport = Literal["TCP", "UDP"]


class ServicePort(Part, frozen=True):
    """A port of the service."""

    name: Annotated[
        str, "Name, unique in the service; a prefix such as `http-` tells the protocol.", Length(1, 63)
    ]
    number: Annotated[Port, "Number that clients use."]
    target_port: Annotated[
        Port | None, "Number where workloads listen unless they say otherwise; `number` if absent."
    ] = None
    app_protocol: Annotated[
        str | None,
        "What is spoken, e.g. `http`, `http2`, `grpc`, `tcp`, `kubernetes.io/h2c`, or the name of a Protocol such as"
        " `bolt`; wins over the name.",
    ] = None
    protocol: Annotated[Transport, "Transport.", NotYetValue(("UDP",), "UDP")] = "TCP"


class Service(Part, frozen=True):
    """A service whose endpoints are workloads of its namespace that carry the selector's labels: connected sidecars and
    WorkloadEntries."""

    ports: Annotated[tuple[ServicePort, ...], "Ports.", Length(1, 128)]
    selector: Annotated[Labels, "Labels that its workloads carry, all of them.", Length(1, 64)]
    addresses: Annotated[tuple[str, ...], "Virtual IPs, for interception.", Length(0, 16)] = ()
    export_to: Annotated[tuple[str, ...], "Namespaces that see it: `.`, `*` or names; all if absent."] = ()
