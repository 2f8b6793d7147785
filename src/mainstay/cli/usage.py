"""What click finds wrong with arguments, in the words of Mainstay's other programs.

In: click's usage errors. Out: one text: what is wrong, what was perhaps meant, where to read on. The programs
(`serve`, `sidecar`, `up`) have flags of their own and say the same in `mainstay.settings.load`.
"""

from __future__ import annotations

import re

import click

from mainstay.settings import nearest

_NO_COMMAND = re.compile(r"No such command '(.*?)'")


def describe_usage(error: click.UsageError) -> str:
    """The text for stderr."""
    if type(error).__name__ == "NoArgsIsHelpError":  # newer versions of click have it
        return error.format_message()
    text = f"error: {_what(error)}"
    if error.ctx is None:
        return text
    if isinstance(error, click.MissingParameter):
        text += f"\n{error.ctx.get_usage()}"
    return f"{text}\nsee `{error.ctx.command_path} --help`"


def _what(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):
        known = [name for each in _parameters(error) for name in each.opts if name.startswith("--")]
        return f"unknown option {error.option_name}{nearest(error.option_name, [*known, '--help'])}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{_name(error.param)} is needed{_purpose(error.param)}"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_name(error.param)}: {_reason(error, error.param)}"
    if (wrong := _NO_COMMAND.match(error.message)) and error.ctx is not None:
        known = list(getattr(error.ctx.command, "commands", ()))
        meant = nearest(wrong[1], known) or f"; there are {', '.join(known)}"
        return f"{error.ctx.command_path} has no verb {wrong[1]!r}{meant}"
    return _plain(error.format_message())


def _parameters(error: click.UsageError) -> list[click.Parameter]:
    return error.ctx.command.params if error.ctx is not None else []


def _name(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return _argument(parameter)


def _argument(parameter: click.Parameter) -> str:
    return (parameter.name or "").upper()


def _purpose(parameter: click.Parameter) -> str:
    if isinstance(parameter.type, click.Choice):
        return f": one of {', '.join(_choices(parameter.type))}"
    if isinstance(parameter, click.Option) and parameter.help:
        return f": {_plain(parameter.help.partition('. ')[0])}"
    return ""


def _reason(error: click.BadParameter, parameter: click.Parameter) -> str:
    if isinstance(parameter.type, click.Choice):
        given = error.message.split("'")[1] if "'" in error.message else ""
        choices = _choices(parameter.type)
        return f"{given!r} is none of {', '.join(choices)}{nearest(given, choices)}"
    return _plain(error.message)


def _choices(kind: click.Choice[str]) -> list[str]:
    return [str(choice) for choice in kind.choices]


def _plain(text: str) -> str:
    """Click writes sentences; we do not."""
    return text[:1].lower() + text[1:].rstrip(".") if text[:2] != text[:2].upper() else text.rstrip(".")
