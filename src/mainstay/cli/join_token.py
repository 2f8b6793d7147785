"""`mainstay join-token create|delete`: tokens with which workloads join the mesh."""

from __future__ import annotations

from urllib.parse import quote

import click

from mainstay.cli.client import Client
from mainstay.cli.options import context_option, output_option
from mainstay.cli.output import show_data
from mainstay.settings import read_duration


@click.group(name="join-token")
def join_token() -> None:
    """Create and delete tokens with which workloads join the mesh."""


@join_token.command()
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the workload.")
@click.option(
    "--account", default="default", show_default=True, help="Service account: the workload's identity."
)
@click.option("--group", default="", help="WorkloadGroup the workload registers into.")
@click.option(
    "--uses", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many keys may join."
)
@click.option("--life", default="1h", show_default=True, help="How long the token can be used.")
@output_option
@context_option
def create(
    namespace: str, account: str, group: str, uses: int, life: str, output: str, client: Client
) -> int:
    """Create a token and print it. It is shown once, and only its digest is kept.

    Write it to a file for `mainstay sidecar --control-plane-join-token-file FILE`.
    """
    try:
        life_ms = read_duration(life)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--life") from None
    body = {"namespace": namespace, "account": account, "group": group, "uses": uses, "lifeMs": life_ms}
    answer = client.call("POST", "/v1/tokens", body)
    if output != "table":
        show_data(answer, output)
    else:
        click.echo(answer["token"])
        words = f"{answer['id']}: for {answer['identity']}, until {answer['expires']}, uses: {uses}"
        click.echo(words, err=True)
    return 0


@join_token.command()
@click.argument("token_id", metavar="ID")
@output_option
@context_option
def delete(token_id: str, output: str, client: Client) -> int:
    """Delete a token by its id, which `create` shows. Certificates it has given stay valid until they end."""
    answer = client.call("DELETE", f"/v1/tokens/{quote(token_id, safe='')}")
    if output != "table":
        show_data(answer, output)
    else:
        click.echo(f"join token {token_id} deleted")
    return 0
