"""`mainstay delete`: objects by kind and name, or those of files, in one transaction."""

from __future__ import annotations

import click

from mainstay.cli.apply import show_refusal
from mainstay.cli.client import Client, RefusedError
from mainstay.cli.files import read_files
from mainstay.cli.get import find_kind
from mainstay.cli.options import context_option, files_option, namespace_option, output_option
from mainstay.cli.output import show_data, show_table


@click.command()
@click.argument("kind", required=False)
@click.argument("names", nargs=-1)
@files_option(required=False)
@namespace_option
@click.option("--force", is_flag=True, help="Delete also what other objects refer to.")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@output_option
@context_option
def delete(
    kind: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    namespace: str,
    force: bool,
    dry_run: bool,
    output: str,
    client: Client,
) -> int:
    """Delete objects: KIND NAME…, or all those in files (-f).

    What other objects refer to is not deleted, unless forced.
    """
    if bool(kind and names) == bool(files) or (kind and not names):
        raise click.UsageError("name either KIND and NAME… or files with -f", click.get_current_context())
    read = read_files(files)
    body: dict[str, object] = {"namespace": namespace, "force": force}
    if kind:
        found = find_kind(client, kind)
        body["objects"] = [{"kind": found["kind"], "group": found["group"], "name": name} for name in names]
    else:
        body["files"] = [{"name": name, "text": text} for name, text in read]
    try:
        answer = client.call("POST", "/v1/delete", body, {"dryRun": "All" if dry_run else ""})
    except RefusedError as error:
        return show_refusal(error, dict(read), output)
    if output != "table":
        show_data(answer, output)
        return 0
    rows = [
        (result["object"], result["outcome"] + (" (dry run)" if dry_run else ""))
        for result in answer["results"]
    ]
    show_table(("OBJECT", "OUTCOME"), rows, "the files hold no objects")
    return 0
