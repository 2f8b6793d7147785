"""`mainstay get KIND [NAME]`: objects as they were written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from mainstay.cli.client import Client
from mainstay.cli.options import context_option, namespace_option, output_option
from mainstay.cli.output import show_data, show_table
from mainstay.settings import OperatorError, nearest


@click.command()
@click.argument("kind")
@click.argument("name", required=False)
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of all namespaces.")
@output_option
@context_option
def get(
    kind: str, name: str | None, namespace: str, all_namespaces: bool, output: str, client: Client
) -> int:
    """Show objects of KIND (such as virtualservice, vs or virtualservices), or the one called NAME."""
    found = find_kind(client, kind)
    if name:
        if all_namespaces:
            raise OperatorError("a name belongs to one namespace: leave out --all-namespaces", 2)
        item = client.call("GET", object_path(found, namespace, name))
        if output != "table":
            show_data(item, output)
            return 0
        items = [item]
    else:
        items = list_objects(client, found, None if all_namespaces else namespace)
        if output != "table":
            show_data({"apiVersion": "v1", "kind": "List", "items": items}, output)
            return 0
    where = f" in namespace {namespace}"
    if all_namespaces or not found.get("namespaced", True):
        where = " in any namespace" if all_namespaces else ""
    now = datetime.now(UTC)
    rows = [
        (meta.get("namespace", ""), meta["name"], _age(meta.get("creationTimestamp", ""), now), _state(item))
        for item in items
        for meta in [item["metadata"]]
    ]
    show_table(("NAMESPACE", "NAME", "AGE", "STATE"), rows, f"no {found['plural']}{where}")
    return 0


def find_kind(client: Client, name: str) -> dict[str, Any]:
    """The kind a user means: by kind, plural or short name, with or without group, in any case."""
    kinds: list[dict[str, Any]] = client.call("GET", "/v1/kinds")["kinds"]
    wanted = name.lower()
    for kind in kinds:
        names = {kind["kind"].lower(), kind["plural"], *kind.get("shortNames", ())}
        if wanted in names or wanted in {f"{each}.{kind['group']}" for each in names}:
            return kind
    known = [each for kind in kinds for each in (kind["plural"], kind["kind"].lower())]
    listed = ", ".join(sorted(kind["plural"] for kind in kinds))
    raise OperatorError(f"unknown kind {name!r}{nearest(wanted, known) or '.'} Known are {listed}", 2)


def object_path(kind: dict[str, Any], namespace: str | None, name: str = "") -> str:
    """The REST path of an object, or of a collection."""
    inside = f"/namespaces/{namespace}" if namespace and kind.get("namespaced", True) else ""
    return f"/apis/{kind['group']}/{kind['version']}{inside}/{kind['plural']}" + (f"/{name}" if name else "")


def list_objects(client: Client, kind: dict[str, Any], namespace: str | None) -> list[dict[str, Any]]:
    """All objects, page by page."""
    items: list[dict[str, Any]] = []
    following = ""
    while True:
        page = client.call("GET", object_path(kind, namespace), query={"continue": following})
        items.extend(page["items"])
        following = page["metadata"].get("continue", "")
        if not following:
            return items


def _state(item: dict[str, Any]) -> str:
    status = item.get("status", {})
    if status.get("problems"):
        return "problems: " + ", ".join(sorted({problem["code"] for problem in status["problems"]}))
    if status.get("source") == "registered":
        return f"registered into {status['group']}, {status['health']}"
    if status.get("source") == "built-in":
        return "comes with Mainstay"
    return "accepted"


def _age(created: str, now: datetime) -> str:
    try:
        seconds = int((now - datetime.fromisoformat(created)).total_seconds())
    except (ValueError, TypeError):
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"
