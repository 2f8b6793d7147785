"""Verbs that are programs: their flags are the fields of a settings struct, not click options.

In: the arguments after the verb, untouched. Out: what the program's `main` returns. Completion lists the
flags, names that may stand without one (`find_names`), and files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
import msgspec
from click.shell_completion import CompletionItem

from mainstay.settings import list_fields


class ProgramCommand(click.Command):
    """Hands its arguments on; `settings` is imported only when completion or help asks."""

    def __init__(
        self,
        verb: str,
        about: str,
        start: Callable[[list[str]], int],
        find_settings: Callable[[], type[msgspec.Struct]] | None = None,
        find_names: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        super().__init__(verb, help=about, short_help=about, add_help_option=False)
        self._start = start
        self._find_settings = find_settings
        self._find_names = find_names

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []

    def invoke(self, ctx: click.Context) -> int:
        return self._start(ctx.args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        if self._find_settings is None:
            return []
        if not incomplete.startswith("-"):
            names = [CompletionItem(name) for name in self._find_names() if name.startswith(incomplete)]
            return [*names, CompletionItem(incomplete, type="file")]
        fields = [field for field in list_fields(self._find_settings()) if field.flag.startswith(incomplete)]
        return [CompletionItem(field.flag, help=field.setting.doc) for field in fields]
