"""`mainstay version`: of this program, and of the control plane if one answers."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from mainstay.cli.client import Client
from mainstay.cli.context import DEFAULT_CONTEXT
from mainstay.cli.options import output_option
from mainstay.cli.output import show_data
from mainstay.settings import OperatorError
from mainstay.settings.version import program_version


@click.command()
@click.option(
    "--context",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONTEXT,
    envvar="MAINSTAY_CONTEXT",
    show_envvar=True,
)
@output_option
def version(context: Path, output: str) -> int:
    """Show the versions of this program and of the control plane."""
    told = {"client": program_version(), "python": platform.python_version()}
    try:
        told["controlPlane"] = Client(context).call("GET", "/v1/version")["version"]
    except OperatorError as error:
        click.echo(f"control plane: {error}", err=True)
    if output != "table":
        show_data(told, output)
    else:
        for name, value in told.items():
            click.echo(f"{name}: {value}")
    return 0
