"""Command lines and environments of everything `up` starts: pure.

In: the plan, the folder of this run, where the control plane listens. Out: `Program`s. Invariant: children see none of this
process's own settings (`MAINSTAY_…`), and all of them carry the reaper's mark.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from mainstay.model.agent import GRPC_BOOTSTRAP
from mainstay.settings.define import ENVIRONMENT_PREFIX
from mainstay.supervise import Program
from mainstay.up.file import Load, MeshFile
from mainstay.up.planned import GatewayInstance, Instance, Ports

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
FOLDER_VARIABLE = "MAINSTAY_UP"
"""In the environment of each child: the folder of its run, by which an operator tells one run's processes from another's."""
MAINSTAY = (sys.executable, "-m", "mainstay")


class Folder:
    """Where a run keeps its files: the control plane's state, a folder per proxy, logs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.context = path / "context.json"
        self.control_ready = path / "control-plane.ready"
        self.control_state = path / "control-plane"

    def prepare(self) -> None:
        """Make the folders; raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.path / "logs").mkdir(exist_ok=True)
        (self.path / "proxies").mkdir(exist_ok=True, mode=0o700)

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def data(self, name: str) -> Path:
        return self.path / "proxies" / name

    def ready(self, name: str) -> Path:
        return self.path / "proxies" / f"{name}.ready"

    def token(self, name: str) -> Path:
        return self.path / "proxies" / f"{name}.token"


class Programs:
    """Makes programs. `mark`: variables that every child carries; `mainstay`: how this very program is started; `envoy`: the
    binary of Envoy, if it is not the one in PATH."""

    def __init__(
        self,
        mesh: MeshFile,
        folder: Folder,
        mark: Mapping[str, str],
        drain_ms: int,
        mainstay: tuple[str, ...] = MAINSTAY,
        envoy: Path | None = None,
    ) -> None:
        self._mainstay = mainstay
        self._mesh = mesh
        self._folder = folder
        self._drain_ms = drain_ms
        self._envoy = envoy
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
        }
        if path := inherited.get("PYTHONPATH"):
            # Applications run in another folder, where relative parts would mean something else.
            inherited["PYTHONPATH"] = os.pathsep.join(
                os.path.abspath(part) for part in path.split(os.pathsep)
            )
        own = {FOLDER_VARIABLE: str(folder.path), "PYTHONUNBUFFERED": "1"}
        self._environment = {**inherited, **mark, **own}

    def control_plane(self, ports: Mapping[str, int]) -> Program:
        """The control plane. Its first start has no `ports`: the system chooses, and the ready file tells them. A restart has
        them, since proxies look for it where it was."""
        return self._own(
            "control-plane",
            "serve",
            {
                "state": self._folder.control_state,
                "trust-domain": self._mesh.trust_domain,
                "domain-suffix": self._mesh.domain_suffix,
                "root-namespace": self._mesh.root_namespace,
                "metrics-port": ports.get("metrics", 0),
                "api-port": ports.get("api", 0),
                "api-context": self._folder.context,
                "xds-port": ports.get("xds", 0),
                "ready-file": self._folder.control_ready,
            },
        )

    def sidecar(self, instance: Instance, control_plane: str) -> Program:
        """The proxy beside an application."""
        identity = {"workload": instance.name, "service-account": instance.workload.name}
        return self._proxy("sidecar", identity, instance, instance.workload.proxy, control_plane)

    def gateway(self, gateway: GatewayInstance, control_plane: str) -> Program:
        """A proxy at the edge."""
        identity = {"workload": gateway.name, "service-account": gateway.name}
        return self._proxy("gateway", identity, gateway, gateway.gateway.proxy, control_plane)

    def _proxy(
        self,
        verb: str,
        identity: dict[str, str],
        place: Instance | GatewayInstance,
        proxy: str,
        control_plane: str,
    ) -> Program:
        ports: Ports = place.ports
        name = place.name
        return self._own(
            proxy_name(name),
            verb,
            {
                **identity,
                **self._software(proxy),
                **_registry(place),
                "namespace": self._mesh.namespace,
                "labels": ",".join(f"{key}={value}" for key, value in place.labels.items()),
                "addresses": place.address,
                "trust-domain": self._mesh.trust_domain,
                "domain-suffix": self._mesh.domain_suffix,
                "data": self._folder.data(name),
                "ready-file": self._folder.ready(name),
                "control-plane-address": control_plane,
                "control-plane-join-token-file": self._folder.token(name),
                "admin-bind": place.address,
                "admin-port": ports.admin,
                "health-bind": place.address,
                "health-port": ports.health,
                "metrics-bind": place.address,
                "metrics-port": ports.metrics,
                "drain-min": f"{self._drain_ms}ms",
            },
        )

    def _software(self, proxy: str) -> dict[str, object]:
        """Flags that choose what carries the traffic."""
        if proxy == "mainstay":
            return {}
        path = {"proxy-path": self._envoy} if proxy == "envoy" and self._envoy is not None else {}
        return {"proxy": proxy, **path}

    def _own(self, name: str, verb: str, flags: Mapping[str, object]) -> Program:
        given = [
            part
            for flag, value in flags.items()
            for part in ((f"--{flag}",) if value is True else (f"--{flag}", str(value)))
        ]
        return Program((*self._mainstay, verb, *given), self._environment, "", str(self._folder.log(name)))

    def application(self, instance: Instance) -> Program:
        """An application, in the folder of the mesh's file, with its addresses in its environment."""
        environment = {**self._environment, **instance.environment}
        if instance.workload.proxy == "grpc":
            environment["GRPC_XDS_BOOTSTRAP"] = str(
                self._folder.data(instance.name).absolute() / GRPC_BOOTSTRAP
            )
        command = tuple(expand(part, environment) for part in instance.workload.command)
        return Program(command, environment, self._mesh.directory, str(self._folder.log(instance.name)))

    def load(self, load: Load, number: int, url: str) -> Program:
        """The load generator, outside of the mesh."""
        command = (sys.executable, "-m", "mainstay.up.load", url, str(load.rate), str(load.connections))
        return Program(command, self._environment, "", str(self._folder.log(load_name(number))))


def _registry(place: Instance | GatewayInstance) -> dict[str, object]:
    """Flags that serve the registry API."""
    registry = place.registry if isinstance(place, Instance) else None
    if registry is None:
        return {}
    return {
        "registry-enabled": True,
        "registry-bind": registry.address,
        "registry-port": registry.port,
        "registry-data-port": registry.data,
        "registry-inbound-port": registry.inbound,
        "registry-application-host": place.address,
        "registry-application-port": registry.application,
    }


def proxy_name(name: str) -> str:
    """Name of the child that is the proxy of a workload or gateway."""
    return f"{name}-proxy"


def load_name(number: int) -> str:
    """Name of a load generator."""
    return f"load-{number + 1}"


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Put variables in place of `$NAME` and `${NAME}`; those that are not set become empty."""
    return _VARIABLE.sub(lambda found: environment.get(found[1] or found[2], ""), text)
