"""`mainstay completion SHELL`: prints a completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a completion script: `source <(mainstay completion bash)`."""
    from mainstay.cli.verbs import COMPLETING, mainstay

    found = get_completion_class(shell)
    assert found is not None, "click knows the shells that are offered"
    click.echo(found(mainstay, {}, "mainstay", COMPLETING).source())
    return 0
