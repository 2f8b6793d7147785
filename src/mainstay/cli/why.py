"""`mainstay why NODE RESOURCE`: from a proxy's resource back to the write that last changed it."""

from __future__ import annotations

import click

from mainstay.cli.client import Client
from mainstay.cli.options import context_option, output_option
from mainstay.cli.output import show_data, show_table


@click.command()
@click.argument("node")
@click.argument("resource")
@output_option
@context_option
def why(node: str, resource: str, output: str, client: Client) -> int:
    """Walk RESOURCE of NODE (a listener's, route's or cluster's name) back to the write that changed it."""
    answer = client.call("GET", "/v1/why", query={"node": node, "resource": resource})
    if output != "table":
        show_data(answer, output)
        return 0
    rows = [(step["collection"], step["key"], step["round"], _write(step)) for step in answer["steps"]]
    show_table(
        ("STEP", "KEY", "ROUND", "WRITE"), rows, "too long ago: the last recomputes do not show it any more"
    )
    return 0


def _write(step: dict[str, dict[str, str]]) -> str:
    write = step.get("write")
    if not write:
        return ""
    who = f" by {write['who']}" if write.get("who") else ""
    revision = f" at revision {write['revision']}" if write.get("revision") else ""
    return f"{write['object']} ({write['source']}){revision}{who}"
