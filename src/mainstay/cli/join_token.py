"""`mainstay join-token create|list|revoke`: tokens with which workloads join the mesh."""

from __future__ import annotations

from urllib.parse import quote

import click

from mainstay.cli.client import Client
from mainstay.cli.options import context_option, output_option
from mainstay.cli.output import show_data, show_table
from mainstay.settings import read_duration


@click.group(name="join-token")
def join_token() -> None:
    """Create, list and revoke tokens with which workloads join the mesh."""


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


@join_token.command(name="list")
@output_option
@context_option
def list_tokens(output: str, client: Client) -> int:
    """List the tokens that exist, which end by themselves. Their texts are kept nowhere."""
    answer = client.call("GET", "/v1/tokens")
    if output != "table":
        show_data(answer, output)
        return 0
    rows = [
        (
            token["id"],
            token["identity"],
            token["group"],
            f"{token['used']} of {token['uses']}",
            token["expires"],
            token["state"],
        )
        for token in answer["items"]
    ]
    show_table(("ID", "IDENTITY", "GROUP", "USED", "EXPIRES", "STATE"), rows, "no join tokens")
    return 0


@join_token.command()
@click.argument("token_id", metavar="ID")
@output_option
@context_option
def revoke(token_id: str, output: str, client: Client) -> int:
    """Revoke a token by its id, which `create` and `list` show. Certificates it has given stay valid until they end."""
    answer = client.call("DELETE", f"/v1/tokens/{quote(token_id, safe='')}")
    if output != "table":
        show_data(answer, output)
    else:
        click.echo(f"join token {token_id} revoked")
    return 0
