"""Settings of the control plane: `mainstay serve`.

In and out: declarations only. Invariant: the defaults are safe on a laptop (loopback, no plaintext xDS) and
use Istio's ports. Read by `mainstay.control.main`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mainstay.settings.define import Setting

_STATE = Path("~/.local/state/mainstay")
_CONTEXT = Path("~/.config/mainstay/context.json")


def _port(doc: str) -> Setting:
    return Setting(doc + " 0 lets the system choose.", minimum=0, maximum=65_535, metavar="PORT")


class Files(msgspec.Struct, frozen=True):
    """Configuration from a directory."""

    directory: Annotated[
        Path | None, Setting("Directory of YAML files to read and watch, with its subdirectories.")
    ] = None
    poll: Annotated[
        int, Setting("How often the directory is looked at.", unit="ms", minimum=10, maximum=3_600_000)
    ] = 500


class Api(msgspec.Struct, frozen=True):
    """The REST API. It listens on loopback only."""

    port: Annotated[int, _port("Port of the REST API, on 127.0.0.1.")] = 15_080
    context: Annotated[
        Path,
        Setting("Where the CLI finds the API and its credential; written at first start with mode 0600."),
    ] = _CONTEXT


class Xds(msgspec.Struct, frozen=True):
    """What sidecars connect to."""

    bind: Annotated[str, Setting("Address the TLS port listens on.", metavar="ADDRESS")] = "127.0.0.1"
    port: Annotated[int, _port("TLS port of xDS, join and signing.")] = 15_012
    plaintext_port: Annotated[int, _port("Port of plaintext xDS on 127.0.0.1, with --insecure-xds.")] = 15_010
    grace: Annotated[
        int,
        Setting(
            "How long a workload stays in rotation after its stream ended, and how long a restarted control "
            "plane waits for known workloads before it pushes.",
            unit="ms",
            minimum=0,
            maximum=600_000,
        ),
    ] = 10_000


class Ca(msgspec.Struct, frozen=True):
    """The certificate authority."""

    cert: Annotated[
        Path | None,
        Setting("Certificate chain (PEM) of the intermediate that signs, instead of a built-in CA."),
    ] = None
    key: Annotated[Path | None, Setting("Key (PEM, mode 0600) of that intermediate.")] = None
    leaf_life: Annotated[
        int, Setting("Life of a workload's certificate.", unit="ms", minimum=60_000, maximum=2_592_000_000)
    ] = 86_400_000


class Log(msgspec.Struct, frozen=True):
    """The program's own log, on stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Setting("Least level shown.")] = "info"
    levels: Annotated[
        tuple[str, ...], Setting("Levels of single rooms, such as xds=debug.", metavar="ROOM=LEVEL,…")
    ] = ()
    format: Annotated[Literal["text", "json"], Setting("One line of text a message, or one JSON object.")] = (
        "text"
    )


class ServeSettings(msgspec.Struct, frozen=True):
    """Runs the control plane: reads configuration, serves xDS, issues identities."""

    state: Annotated[
        Path, Setting("Directory of the store, the CA's keys and the last known facts; made with mode 0700.")
    ] = _STATE
    trust_domain: Annotated[str, Setting("Trust domain of the identities issued.")] = "cluster.local"
    root_namespace: Annotated[str, Setting("Namespace whose policies hold for the whole mesh.")] = (
        "istio-system"
    )
    domain_suffix: Annotated[str, Setting("What short names of Kubernetes-like services end in.")] = (
        "cluster.local"
    )
    insecure_xds: Annotated[
        bool, Setting("Also serve xDS without TLS or identity, on 127.0.0.1 only. For tests and first steps.")
    ] = False
    metrics_port: Annotated[int, _port("Port of /metrics, /ready and /debug, on 127.0.0.1.")] = 15_014
    ready_file: Annotated[
        Path | None, Setting("File to write, as one JSON object, once everything listens: the ports in use.")
    ] = None
    files: Files = Files()
    api: Api = Api()
    xds: Xds = Xds()
    ca: Ca = Ca()
    log: Log = Log()
