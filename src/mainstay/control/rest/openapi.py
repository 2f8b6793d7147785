"""The OpenAPI document of the REST API, made from the table of kinds.

In: the kinds with their JSON Schemas. Out: one OpenAPI 3.1 document. Served at `/openapi/v3`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mainstay.api.kind import Kind
from mainstay.api.publish import schema_of

_REFUSED = {"description": "Refused, with the list of problems", "content": {"application/problem+json": {}}}


def build_openapi(kinds: Iterable[Kind], version: str) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for kind in kinds:
        schemas[kind.name] = schema_of(kind)
        paths |= _paths_of(kind)
    for path, method, summary in _OWN:
        paths.setdefault(path, {})[method] = _operation(summary, [], {"200": {"description": "Done"}})
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mainstay control plane", "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"credential": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"credential": []}],
    }


def _paths_of(kind: Kind) -> dict[str, Any]:
    """Where objects of a kind are listed, made, read and changed."""
    base = f"/apis/{kind.group}/{kind.versions[0]}"
    collection = (
        f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
    )
    inside = [_path("namespace")] if kind.namespaced else []
    body = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.name}"}}}}
    one = {"description": kind.name, **body}
    listed = {"200": {"description": "List"}}
    everywhere = {"get": _operation(f"List {kind.plural} of all namespaces, or watch them", _LISTING, listed)}
    here = {
        "parameters": inside,
        "get": _operation(f"List {kind.plural}, or watch them", _LISTING, listed),
        "post": _operation(
            f"Create a {kind.name}",
            [_query("dryRun")],
            {"201": one, "409": _REFUSED, "422": _REFUSED},
            body,
        ),
    }
    named = {
        "parameters": [*inside, _path("name")],
        "get": _operation(f"Read a {kind.name}", [], {"200": one}),
        "put": _operation(
            f"Create or replace a {kind.name}",
            [_query("dryRun"), _header("If-Match")],
            {"200": one, "201": one, "409": _REFUSED, "412": _REFUSED, "422": _REFUSED},
            body,
        ),
        "patch": _operation(
            f"Change a {kind.name} by JSON merge patch (RFC 7396)",
            [_query("dryRun"), _header("If-Match")],
            {"200": one, "409": _REFUSED, "412": _REFUSED, "422": _REFUSED},
            {"content": {"application/merge-patch+json": {}}},
        ),
        "delete": _operation(
            f"Delete a {kind.name}",
            [_query("dryRun"), _query("force"), _header("If-Match")],
            {"200": {"description": "Deleted"}, "409": _REFUSED, "412": _REFUSED, "422": _REFUSED},
        ),
    }
    # What is not namespaced has one place, which then is `here`.
    return {f"{base}/{kind.plural}": everywhere, collection: here, f"{collection}/{{name}}": named}


_OWN = (
    ("/v1/apply", "post", "Create or change all objects of files, in one transaction"),
    ("/v1/delete", "post", "Delete objects, by name or those of files, in one transaction"),
    ("/v1/kinds", "get", "The kinds of objects and their names"),
    ("/v1/status", "get", "Proxies, sources and problems"),
    ("/v1/proxies/{node}/{kind}", "get", "Resources last sent to a proxy; secrets redacted"),
    ("/v1/why", "get", "From a proxy's resource back to the write that changed it"),
    ("/v1/tokens", "get", "The join tokens that exist, without what would let anybody join"),
    ("/v1/tokens", "post", "Create a join token"),
    ("/v1/tokens/{id}", "delete", "Delete a join token"),
    ("/v1/version", "get", "The control plane's version"),
)


def _operation(
    summary: str,
    parameters: list[dict[str, Any]],
    responses: dict[str, Any],
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    made: dict[str, Any] = {"summary": summary, "parameters": parameters, "responses": responses}
    if body is not None:
        made["requestBody"] = {"required": True, **body}
    return made


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string"}}


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string"}}


_LISTING = [_query("limit"), _query("continue"), _query("watch"), _query("resourceVersion")]
