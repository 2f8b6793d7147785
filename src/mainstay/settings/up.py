"""Settings of `mainstay up`.

In and out: declarations only. Read by `mainstay.up.main`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mainstay.settings.define import Setting


class UpSettings(msgspec.Struct, frozen=True):
    """Runs a whole mesh on this machine: control plane, gateways, and each application with its sidecar.

    FILE is a Mesh document, DIR a folder with a mesh.yaml, NAME an example that comes with Mainstay, such as shop.
    Ctrl-C ends everything. SIGHUP restarts every workload in turn, without a failed request where there are two instances.
    """

    for_: Annotated[
        int | None,
        Setting(
            "End by itself so long after the load has begun; until then it runs for ever.",
            unit="ms",
            minimum=1,
        ),
    ] = None
    output: Annotated[
        Literal["table", "json"],
        Setting(
            "A live table, or at the end one JSON object with pairs and events (progress goes to stderr)."
        ),
    ] = "table"
    state: Annotated[
        Path | None,
        Setting(
            "Directory for the control plane's state, certificates and logs, kept at the end.",
            default_text="a temporary directory, removed at the end unless something failed",
        ),
    ] = None
    ready_timeout: Annotated[
        int, Setting("How long each part may take to get ready.", unit="ms", minimum=1)
    ] = 120_000
    drain: Annotated[
        int, Setting("Least time a workload drains before its application is stopped.", unit="ms", minimum=0)
    ] = 1_000
    proxy_path: Annotated[
        Path | None,
        Setting("Envoy's binary, for what has `proxy: envoy`; without it, `envoy` is looked for in PATH."),
    ] = None
    print_schema: Annotated[bool, Setting("Print the JSON Schema of the file, then exit.")] = False
