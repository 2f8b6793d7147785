"""`mainstay validate -f`: checks files without a control plane, seen as if they were all there is."""

from __future__ import annotations

import click
import msgspec

from mainstay.cli.files import read_files
from mainstay.cli.options import files_option, namespace_option, output_option
from mainstay.cli.output import show_data, show_problems
from mainstay.model.problem_text import count

REFUSED = 3


NOT_FOUND = "IST0101"
"""A reference to what is not in the files: it may exist all the same."""


@click.command()
@files_option(required=True)
@namespace_option
@output_option
def validate(files: tuple[str, ...], namespace: str, output: str) -> int:
    """Check files without a control plane.

    Shapes, ranges and references among the files' own objects are checked. What refers to objects that are not in the files
    is a warning here, since they may exist; `mainstay apply --dry-run` asks the control plane.
    """
    from mainstay.api.kind import Defaults
    from mainstay.control.dialect import References, check_references, read_objects, translate
    from mainstay.graph import Refused
    from mainstay.model.problem import Problem

    texts = read_files(files)
    found: list[Problem] = []
    written = []
    for name, text in texts:
        objects, problems = read_objects(text, name, namespace)
        written += objects
        found += problems
    defaults = Defaults()
    for each in written:
        made = translate(each.object, defaults)
        if isinstance(made, Refused):
            found += made.problems
    known = {each.id: each.object for each in written}
    dangling = check_references(References(known, defaults), known.values())
    found += [
        msgspec.structs.replace(problem, severity="warning") if problem.code == NOT_FOUND else problem
        for problem in dangling
        if problem not in found
    ]
    shown = [msgspec.to_builtins(problem) for problem in found]
    errors = sum(problem.severity == "error" for problem in found)
    if output == "table":
        show_problems(shown, dict(texts))
        verdict = f"refused: {count(errors, 'error')}" if errors else f"{count(len(written), 'object')} valid"
        if not (written or found):
            verdict = "the files hold no objects"
        click.echo(verdict, err=bool(errors) or not written)
    else:
        show_data({"valid": not errors, "objects": len(written), "problems": shown}, output)
    return REFUSED if errors else 0
