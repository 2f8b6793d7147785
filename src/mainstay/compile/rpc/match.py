"""Matches of rules as predicates of the generic proxy's matcher.

In: ``HttpMatch``. Out: one predicate, None for every call, or ``Inexpressible``. Service and method are matched by themselves
wherever that says the same as their path, since Envoy's Dubbo codec knows no path of both: ``/service/method`` is a host and
a method. A service's name has no slash.
"""

from mainstay.compile.resource import Fields, extension
from mainstay.model.route import HttpMatch, NamedMatch, StringMatch

_INPUTS = "envoy.extensions.filters.network.generic_proxy.matcher.v3."

ANY = StringMatch("present")


class Inexpressible(Exception):  # noqa: N818  it reports what the author wrote
    """No call of this protocol can be matched so; says why."""


def rpc_predicate(match: HttpMatch, described: bool) -> Fields | None:
    """Return the predicate of one match; ``described``: the proxy matches paths too."""
    found: list[Fields] = []
    if match.scheme is not None:
        raise Inexpressible("RPC has no scheme")
    if match.query:
        raise Inexpressible("RPC has no query")
    if match.method is not None:
        _must_be_post(match.method)
    if match.authority is not None:
        found.append(_single("HostMatchInput", match.authority))
    if match.rpc_method is not None:
        found.append(_single("MethodMatchInput", match.rpc_method))
    if match.uri is not None:
        found += _path(match.uri, described)
    for entry in match.headers:
        found += _header(entry, described)
    if not found:
        return None
    return found[0] if len(found) == 1 else {"and_matcher": {"predicate": found}}


def _must_be_post(method: StringMatch) -> None:
    if method.kind == "present" or (method.kind == "exact" and method.value == "POST"):
        return
    raise Inexpressible("calls look like POST, and no other method can be asked for")


def _path(uri: StringMatch, described: bool) -> list[Fields]:
    text = uri.value.removeprefix("/")
    service, slash, method = text.partition("/")
    match uri.kind:
        case "exact" if slash and service and method and "/" not in method:
            return [
                _single("HostMatchInput", _same(uri, service)),
                _single("MethodMatchInput", _same(uri, method)),
            ]
        case "prefix" if not text:
            return []
        case "prefix" if not slash:
            return [_single("HostMatchInput", _same(uri, service))]
        case "prefix" if "/" not in method:
            exact = StringMatch("exact", service, uri.ignore_case)
            found = [_single("HostMatchInput", exact)]
            return [*found, _single("MethodMatchInput", _same(uri, method))] if method else found
    if not described:
        raise Inexpressible("Envoy's codec has no path of service and method to match as a whole")
    return [_single("PathMatchInput", uri)]


def _same(uri: StringMatch, value: str) -> StringMatch:
    return StringMatch(uri.kind, value, uri.ignore_case)


def _header(entry: NamedMatch, described: bool) -> list[Fields]:
    """A header or attribute; HTTP's pseudo-headers mean what they mean in a match of their own."""
    if not entry.name.startswith(":"):
        found = [_single("PropertyMatchInput", entry.match, {"property_name": entry.name})]
    elif entry.name == ":authority":
        found = [_single("HostMatchInput", entry.match)]
    elif entry.name == ":path":
        found = _path(entry.match, described)
    elif entry.name == ":method" and not entry.invert:
        _must_be_post(entry.match)
        found = []
    else:
        raise Inexpressible(f"RPC has no {entry.name}")
    if not entry.invert:
        return found
    if not found:
        raise Inexpressible("it excludes every call")
    return [{"not_matcher": found[0] if len(found) == 1 else {"and_matcher": {"predicate": found}}}]


def _single(name: str, text: StringMatch, fields: Fields | None = None) -> Fields:
    return {
        "single_predicate": {
            "input": extension(name, _INPUTS + name, fields),
            "value_match": _text(text),
        }
    }


def _text(text: StringMatch) -> Fields:
    """An xDS StringMatcher, which is another message than the one that HTTP routes use."""
    if text.kind == "regex":
        return _expression(text.value)
    if text.kind == "present" or (text.kind != "exact" and not text.value):
        return _expression(".*")
    fields: Fields = {"prefix" if text.kind == "path_prefix" else text.kind: text.value}
    if text.ignore_case:
        fields["ignore_case"] = True
    return fields


def _expression(expression: str) -> Fields:
    return {"safe_regex": {"google_re2": {}, "regex": expression}}
