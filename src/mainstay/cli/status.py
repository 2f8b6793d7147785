"""`mainstay status`: per proxy and resource type what is applied, pending or refused, and the proxy's own
reason."""

from __future__ import annotations

from typing import Any

import click

from mainstay.cli.client import Client
from mainstay.cli.options import context_option, output_option
from mainstay.cli.output import show_data, show_table
from mainstay.model.problem_text import count, describe_problems

TYPES = ("clusters", "endpoints", "listeners", "routes", "secrets")

RARE_TYPES = ("generic-routes",)
"""Those that get a column only if a proxy has some."""


@click.command()
@click.argument("node", required=False)
@output_option
@context_option
def status(node: str | None, output: str, client: Client) -> int:
    """Show what each proxy has applied, awaits or refused, and why; or only NODE (an id, NAME.NAMESPACE or NAME).

    SOFTWARE is what carries the traffic (mainstay, envoy, grpc: a library inside the application), or an agent that speaks
    for the workload beside one of the latter two.
    WORKLOAD is the health of what is beside the proxy, as its probe finds it; `-` where nothing is registered.
    """
    answer = client.call("GET", "/v1/status", query={"node": node or ""})
    if output != "table":
        show_data(answer, output)
        return 0
    proxies = answer["proxies"]
    shown = (*TYPES, *(name for name in RARE_TYPES if any(name in proxy["types"] for proxy in proxies)))
    rows = [
        (
            proxy["node"],
            str(proxy.get("software", "")),
            _workload(proxy),
            *(_cell(proxy["types"].get(name)) for name in shown),
        )
        for proxy in proxies
    ]
    show_table(
        ("PROXY", "SOFTWARE", "WORKLOAD", *(name.upper() for name in shown)), rows, "no proxy is connected"
    )
    for proxy in proxies:
        for name, state in proxy["types"].items():
            for refused in state.get("refused", ()):
                click.echo(f"\n{proxy['node']} refused {name} {refused['name']}:\n  {refused['reason']}")
    for source in answer["sources"]:
        if source["state"] != "synced":
            click.echo(
                f"\nsource {source['name']} is {source['state']}: {source['reason'] or 'no answer yet'}"
            )
    problems = answer.get("problems", [])
    for text in describe_problems(problems, {}, coloured=True):
        click.echo("\n" + text.rstrip())
    if answer.get("waiting"):
        click.echo(f"\nnothing is pushed yet: {answer['waiting']}")
    refusals = sum(len(state.get("refused", ())) for proxy in proxies for state in proxy["types"].values())
    if refusals or problems:
        click.echo(f"\n{count(refusals, 'refusal')}, {count(len(problems), 'problem')}", err=True)
    return 0


def _workload(proxy: dict[str, Any]) -> str:
    return str((proxy.get("workload") or {}).get("health", ""))


def _cell(state: dict[str, Any] | None) -> str:
    if state is None:
        return ""
    if state.get("refused"):
        return f"refused {len(state['refused'])} of {state['sent']}"
    if state["pending"]:
        return f"pending ({state['sent']})"
    return f"applied ({state['sent']})"
