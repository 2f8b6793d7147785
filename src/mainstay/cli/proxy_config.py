"""`mainstay proxy-config NODE KIND`: the configuration the control plane last sent to a proxy. Secrets are
redacted."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from mainstay.cli.client import Client
from mainstay.cli.options import context_option, output_option
from mainstay.cli.output import show_data, show_table
from mainstay.model.problem_text import count

KINDS = ("listeners", "routes", "generic-routes", "clusters", "endpoints", "secrets")


class _Kind(click.Choice[str]):
    """One of `KINDS`, or its singular. Where NODE is one, as istioctl writes it (`proxy-config routes NODE`), anything."""

    def __init__(self) -> None:
        super().__init__(KINDS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if f"{value}s" in KINDS:
            return f"{value}s"
        if ctx is not None and _plural(ctx.params.get("node", "")):
            return str(value)
        return super().convert(value, param, ctx)


def _plural(text: str) -> str:
    """The kind that a word means; empty for none."""
    return next((kind for kind in KINDS if text in (kind, kind[:-1])), "")


@click.command(name="proxy-config")
@click.argument("node")
@click.argument("kind", type=_Kind(), metavar=f"[{'|'.join(KINDS)}]")
@click.argument("name", required=False)
@output_option
@context_option
def proxy_config(node: str, kind: str, name: str | None, output: str, client: Client) -> int:
    """Show listeners, routes, generic routes (those of RPC), clusters, endpoints or secrets last sent to NODE; or only the one
    called NAME. NODE is an id that `mainstay status` shows, NAME.NAMESPACE, or a name that only one proxy has; it may stand
    behind the kind, too."""
    if kind not in KINDS:
        node, kind = kind, _plural(node)
    plural = kind
    answer = client.call("GET", f"/v1/proxies/{quote(node, safe='')}/{plural}", query={"name": name or ""})
    if output != "table":
        show_data(answer, output)
        return 0
    rows = [
        (entry["name"], entry["version"], entry["state"], SUMMARIES[plural](entry["resource"]))
        for entry in answer["resources"]
    ]
    show_table(("NAME", "VERSION", "STATE", "SUMMARY"), rows, f"{node} has no {plural}")
    return 0


def _listener(resource: dict[str, Any]) -> str:
    if "apiListener" in resource:
        return "for clients inside the application"
    socket = resource.get("address", {}).get("socketAddress", {})
    chains = len(resource.get("filterChains", ()))
    return f"{socket.get('address', '')}:{socket.get('portValue', '')}, {count(chains, 'filter chain')}"


def _route(resource: dict[str, Any]) -> str:
    hosts = resource.get("virtualHosts", [])
    routes = sum(len(host.get("routes", ())) for host in hosts)
    return f"{count(len(hosts), 'virtual host')}, {count(routes, 'route')}"


def _generic_route(resource: dict[str, Any]) -> str:
    hosts = resource.get("virtualHosts", [])
    rest = ", and one for the rest" if "routes" in resource else ""
    return f"{count(len(hosts), 'virtual host')}{rest}"


def _cluster(resource: dict[str, Any]) -> str:
    return f"{resource.get('type', 'STATIC')}, {resource.get('lbPolicy', 'ROUND_ROBIN')}"


def _endpoints(resource: dict[str, Any]) -> str:
    found = []
    for locality in resource.get("endpoints", ()):
        for endpoint in locality.get("lbEndpoints", ()):
            socket = endpoint.get("endpoint", {}).get("address", {}).get("socketAddress", {})
            health = endpoint.get("healthStatus", "HEALTHY")
            found.append(f"{socket.get('address')}:{socket.get('portValue')} {health}")
    return ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")


def _secret(resource: dict[str, Any]) -> str:
    return "trusted roots" if "validationContext" in resource else "certificate and key (redacted)"


SUMMARIES = {
    "listeners": _listener,
    "routes": _route,
    "generic-routes": _generic_route,
    "clusters": _cluster,
    "endpoints": _endpoints,
    "secrets": _secret,
}
