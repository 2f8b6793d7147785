"""Options that several verbs share, and the client they lead to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mainstay.cli.client import Client
from mainstay.cli.context import DEFAULT_CONTEXT

F = TypeVar("F", bound=Callable[..., Any])


def context_option(verb: F) -> F:
    """Gives the verb `client`."""
    return click.option(
        "--context",
        "client",
        type=click.Path(path_type=Path),
        default=DEFAULT_CONTEXT,
        envvar="MAINSTAY_CONTEXT",
        show_default=True,
        show_envvar=True,
        callback=lambda _context, _option, path: Client(path),
        help="File with the control plane's address and credential.",
    )(verb)


def output_option(verb: F) -> F:
    """Gives the verb `output`: json, yaml or table."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How results are written.",
    )(verb)


def namespace_option(verb: F) -> F:
    """Gives the verb `namespace`."""
    return click.option(
        "-n", "--namespace", default="default", show_default=True, help="Namespace of objects that name none."
    )(verb)


def files_option(required: bool) -> Callable[[F], F]:
    """Gives the verb `files`: paths of files and directories, `-` for stdin."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=required,
        type=click.Path(allow_dash=True),
        help="YAML or JSON file, directory of such files, or - for stdin. May be repeated.",
    )
