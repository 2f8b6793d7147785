"""Matches of HTTP rules as RouteMatch fields.

In: ``HttpMatch``. Out: fields of ``envoy.config.route.v3.RouteMatch``; what speaks of the client or the port is decided here
and now. Scheme, method and authority are pseudo-header matches.
"""

from mainstay.compile.resource import Fields
from mainstay.model.key import Labels, selects
from mainstay.model.route import HttpMatch, NamedMatch, StringMatch, TcpMatch


def applies(match: HttpMatch | TcpMatch, namespace: str, labels: Labels, port: int) -> bool:
    """Tell whether a match can hold for a client of this namespace and labels on this port."""
    return (
        match.port in (0, port)
        and match.source_namespace in ("", namespace)
        and selects(match.source_labels, labels)
    )


def route_match(match: HttpMatch) -> Fields:
    """Return the RouteMatch of one match."""
    fields = _path(match.uri)
    headers = [
        header_match(name, text)
        for name, text in (
            (":scheme", match.scheme),
            (":method", match.method),
            (":authority", match.authority),
        )
        if text is not None
    ]
    headers += [header_match(entry.name, entry.match, entry.invert) for entry in match.headers]
    if headers:
        fields["headers"] = headers
    if match.query:
        fields["query_parameters"] = [_query(entry) for entry in match.query]
    return fields


def header_match(name: str, text: StringMatch, invert: bool = False) -> Fields:
    """Return a HeaderMatcher. An absent header fits an inverted match, as VirtualService withoutHeaders wants."""
    fields: Fields = {"name": name}
    if text.kind == "present":
        fields["present_match"] = True
    else:
        fields["string_match"] = string_match(text)
    if invert:
        fields["invert_match"] = True
        if text.kind != "present":
            fields["treat_missing_header_as_empty"] = True
    return fields


def string_match(text: StringMatch) -> Fields:
    """Return a StringMatcher; ``present`` becomes a regular expression for any text."""
    if text.kind == "present":
        return {"safe_regex": {"regex": ".*"}}
    if text.kind == "regex":
        return {"safe_regex": {"regex": text.value}}
    kind = "prefix" if text.kind == "path_prefix" else text.kind
    fields: Fields = {kind: text.value}
    if text.ignore_case:
        fields["ignore_case"] = True
    return fields


def _path(uri: StringMatch | None) -> Fields:
    if uri is None:
        return {"prefix": "/"}
    fields: Fields
    match uri.kind:
        case "exact":
            fields = {"path": uri.value}
        case "prefix":
            fields = {"prefix": uri.value}
        case "path_prefix":
            fields = {"path_separated_prefix": uri.value}
        case "regex":
            return {"safe_regex": {"regex": uri.value}}
        case _:
            return {"prefix": "/"}
    if uri.ignore_case:
        fields["case_sensitive"] = {"value": False}
    return fields


def _query(entry: NamedMatch) -> Fields:
    if entry.match.kind == "present":
        return {"name": entry.name, "present_match": True}
    return {"name": entry.name, "string_match": string_match(entry.match)}
