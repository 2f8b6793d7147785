"""The table of verbs, and how a verb's errors become text and an exit code.

In: arguments without the program's name. Out: an exit code. Invariant: no traceback for anything a user can
cause. Called by `mainstay.cli.main`.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import click

from mainstay.cli.usage import describe_usage
from mainstay.settings import OperatorError, nearest
from mainstay.settings.version import program_version

COMPLETING = "_MAINSTAY_COMPLETE"
"""The variable in which a shell asks for completions."""
USAGE = 2
INTERRUPTED = 130

# verb: (module:attribute, one line of help), in the order they are listed.
VERBS: dict[str, tuple[str, str]] = {
    "up": ("mainstay.cli.up:up", "Run a whole mesh on this machine, from one file."),
    "serve": ("mainstay.cli.serve:serve", "Run the control plane."),
    "sidecar": ("mainstay.cli.sidecar:sidecar", "Run the proxy beside one application."),
    "gateway": ("mainstay.cli.sidecar:gateway", "Run a proxy at the edge, in front of many services."),
    "apply": ("mainstay.cli.apply:apply", "Create or change objects from files, all or nothing."),
    "get": ("mainstay.cli.get:get", "Show objects."),
    "delete": ("mainstay.cli.delete:delete", "Delete objects."),
    "validate": ("mainstay.cli.validate:validate", "Check files without a control plane."),
    "status": ("mainstay.cli.status:status", "Show what each proxy has applied, awaits or refused."),
    "proxy-config": (
        "mainstay.cli.proxy_config:proxy_config",
        "Show the configuration last sent to a proxy.",
    ),
    "why": ("mainstay.cli.why:why", "Walk a proxy's resource back to the write that changed it."),
    "protocol": ("mainstay.cli.protocol:protocol", "Describe framed RPC protocols, look at their frames."),
    "join-token": (
        "mainstay.cli.join_token:join_token",
        "Create, list and revoke tokens with which workloads join.",
    ),
    "version": ("mainstay.cli.version:version", "Show the versions of this program and the control plane."),
    "completion": ("mainstay.cli.completion:completion", "Print a shell's completion script."),
    "help": ("mainstay.cli.help:show_help", "Show the verbs, or one verb's options."),
}


class _Verbs(click.Group):
    """Loads a verb's module when it is called or asked for help, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        found = VERBS.get(cmd_name)
        if found is None:
            return None
        module, _, attribute = found[0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            meant = nearest(args[0], VERBS) or "; the verbs are " + ", ".join(VERBS)
            raise click.UsageError(f"unknown verb {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, help_line) for verb, (_, help_line) in VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _option, asked: _show_version(ctx) if asked else None,
    help="Show the version and exit.",
)
def mainstay() -> None:
    """Mainstay, a service mesh for mixed estates.

    Try `mainstay up shop`, then `mainstay status`.
    """


def _show_version(ctx: click.Context) -> None:
    click.echo(f"mainstay {program_version()}")
    ctx.exit()


def run(arguments: list[str]) -> int:
    """Runs one verb."""
    if not arguments:
        arguments = ["--help"]
    try:
        if COMPLETING in os.environ:
            mainstay.main(arguments, prog_name="mainstay")
        # Not through `main`, which takes a reader of our output that has gone for a failure.
        with mainstay.make_context("mainstay", list(arguments)) as ctx:
            outcome: Any = mainstay.invoke(ctx)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except OperatorError as error:
        click.echo(f"error: {error}", err=True)
        return error.code
    except click.ClickException as error:
        if isinstance(error, click.UsageError):
            click.echo(describe_usage(error), err=True)
            return USAGE
        click.echo(f"error: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, EOFError, KeyboardInterrupt):
        return INTERRUPTED
    return outcome if isinstance(outcome, int) else 0
