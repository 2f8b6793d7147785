"""`mainstay apply -f`: one transaction over all objects of all files."""

from __future__ import annotations

import click

from mainstay.cli.client import Client, RefusedError
from mainstay.cli.files import read_files
from mainstay.cli.options import context_option, files_option, namespace_option, output_option
from mainstay.cli.output import show_data, show_problems, show_table
from mainstay.model.problem_text import count


@click.command()
@files_option(required=True)
@namespace_option
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@output_option
@context_option
def apply(files: tuple[str, ...], namespace: str, dry_run: bool, output: str, client: Client) -> int:
    """Create or change objects from files, all or nothing.

    If any object is wrong, or refers to something that does not exist, nothing is changed.
    """
    read = read_files(files)
    body = {"namespace": namespace, "files": [{"name": name, "text": text} for name, text in read]}
    try:
        answer = client.call("POST", "/v1/apply", body, {"dryRun": "All" if dry_run else ""})
    except RefusedError as error:
        return show_refusal(error, dict(read), output)
    show_problems(answer.get("problems", []), dict(read))
    if output != "table":
        show_data(answer, output)
        return 0
    rows = [
        (result["object"], result["outcome"] + (" (dry run)" if dry_run else ""))
        for result in answer["results"]
    ]
    show_table(("OBJECT", "OUTCOME"), rows, "the files hold no objects")
    return 0


def show_refusal(error: RefusedError, texts: dict[str, str], output: str) -> int:
    """Shows why nothing was changed; returns the exit code."""
    if output == "table":
        show_problems(error.problems, texts)
    else:
        show_data({"problems": error.problems}, output)
    click.echo(f"refused: {count(len(error.problems), 'problem')}; {error}", err=True)
    return error.code
