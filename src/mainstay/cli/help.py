"""`mainstay help [VERB…]`: what `--help` behind a verb shows."""

from __future__ import annotations

import click


@click.command(name="help")
@click.argument("verb", nargs=-1)
def show_help(verb: tuple[str, ...]) -> int:
    """Show the verbs, or one verb's options: `mainstay help join-token create`."""
    from mainstay.cli.verbs import run

    return run([*verb, "--help"])
