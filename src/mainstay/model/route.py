"""How requests and connections for a host are routed: ordered rules of matches and one action.

In: VirtualServices; later Gateway API and SMI, whose precedence their dialect resolves. Out: ``RouteTable``, one per host,
audience and owner. Order is explicit: the first rule with a fitting match wins; a rule without matches fits all. Matches
that speak of the client (``source_labels``, ``source_namespace``) are decided at compile time, the others by the proxy.
"""

from typing import Literal

import msgspec

from mainstay.model.key import EVERYWHERE, Labels, RouteTableKey, Visibility

StringKind = Literal["exact", "prefix", "suffix", "contains", "regex", "present", "path_prefix"]
"""``present`` ignores the value; ``path_prefix`` matches whole path segments (Gateway API's PathPrefix)."""


class StringMatch(msgspec.Struct, frozen=True, gc=False):
    """A match of one text; regular expressions are RE2's and must match the whole text."""

    kind: StringKind
    value: str = ""
    ignore_case: bool = False


class NamedMatch(msgspec.Struct, frozen=True, gc=False):
    """A match of a header (lower-case name) or query parameter; ``invert`` turns it (VirtualService withoutHeaders)."""

    name: str
    match: StringMatch
    invert: bool = False


class HttpMatch(msgspec.Struct, frozen=True, gc=False):
    """Conditions on one request, all of which must hold (HTTPMatchRequest).

    ``port`` is the service port the client uses, 0 any. ``headers`` and ``query`` are sorted by name. Of RPC ``uri`` is
    ``/service/method``, ``authority`` the service's name, ``rpc_method`` the method's (of RPC alone).
    """

    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: tuple[NamedMatch, ...] = ()
    query: tuple[NamedMatch, ...] = ()
    port: int = 0
    source_labels: Labels = ()
    source_namespace: str = ""
    name: str = ""
    rpc_method: StringMatch | None = None


class Destination(msgspec.Struct, frozen=True, gc=False, order=True):
    """Where to: a fully qualified host, a subset (``""``: all), a port (0: the service's only port, else the port the
    client used)."""

    host: str
    subset: str = ""
    port: int = 0


class HeaderChanges(msgspec.Struct, frozen=True, gc=False):
    """Header operations of one direction: ``set`` overwrites, ``add`` appends (values may use Envoy's command
    operators), ``remove`` deletes. Sorted by name."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


NO_CHANGES = HeaderChanges()


class Headers(msgspec.Struct, frozen=True, gc=False):
    """Header operations on requests and responses (VirtualService headers)."""

    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES


NO_HEADERS = Headers()


class WeightedDestination(msgspec.Struct, frozen=True, gc=False):
    """A destination with its share; weights are relative, a single destination takes all whatever its weight."""

    destination: Destination
    weight: int = 1
    headers: Headers = NO_HEADERS


class Rewrite(msgspec.Struct, frozen=True, gc=False):
    """Changes before forwarding: ``uri`` replaces the matched prefix (or the whole path of an exact match), or
    ``regex`` is replaced by ``substitution`` (RE2, ``\\1``). ``authority`` replaces the host. Empty: untouched."""

    uri: str = ""
    authority: str = ""
    regex: str = ""
    substitution: str = ""


NO_REWRITE = Rewrite()


class Retry(msgspec.Struct, frozen=True, gc=False):
    """Retries; ``attempts`` 0 means none. ``retry_on`` are Envoy's classes, sorted; ``statuses`` the retriable ones.
    ``per_try_timeout`` None: the route's timeout alone. ``backoff`` is the base interval, None the proxy's (25 ms)."""

    attempts: int = 2
    retry_on: tuple[str, ...] = (
        "cancelled",
        "connect-failure",
        "refused-stream",
        "retriable-status-codes",
        "unavailable",
    )
    statuses: tuple[int, ...] = (503,)
    per_try_timeout: int | None = None
    remote_localities: bool = False
    ignore_previous_hosts: bool = True
    backoff: int | None = None


DEFAULT_RETRY = Retry()
"""Istio's default: two retries on its classes."""


class Mirror(msgspec.Struct, frozen=True, gc=False):
    """Send a copy to ``destination`` and ignore its answer; ``share`` in parts per million of the requests."""

    destination: Destination
    share: int = 1_000_000


class Forward(msgspec.Struct, frozen=True, gc=False, tag="forward"):
    """Send to one of the destinations by weight. ``timeout`` None: no limit."""

    destinations: tuple[WeightedDestination, ...]
    rewrite: Rewrite = NO_REWRITE
    timeout: int | None = None
    retry: Retry = DEFAULT_RETRY
    mirrors: tuple[Mirror, ...] = ()


class Redirect(msgspec.Struct, frozen=True, gc=False, tag="redirect"):
    """Answer with a redirect. Empty texts and port 0 keep the request's; ``prefix`` replaces the matched prefix, ``uri``
    the path. ``port_from``: ``protocol`` drops the port to the scheme's default (derivePort)."""

    uri: str = ""
    prefix: str = ""
    authority: str = ""
    scheme: str = ""
    port: int = 0
    port_from: Literal["", "protocol", "request"] = ""
    status: Literal[301, 302, 303, 307, 308] = 301
    strip_query: bool = False


class DirectResponse(msgspec.Struct, frozen=True, gc=False, tag="direct"):
    """Answer without an upstream; ``body`` at most 1 MiB."""

    status: int
    body: bytes = b""


class HttpRule(msgspec.Struct, frozen=True, gc=False):
    """One rule: any of ``matches`` (none: every request), then ``action``; ``headers`` apply beside the action."""

    action: Forward | Redirect | DirectResponse
    matches: tuple[HttpMatch, ...] = ()
    headers: Headers = NO_HEADERS
    name: str = ""


class TcpMatch(msgspec.Struct, frozen=True, gc=False):
    """Conditions on one connection (L4MatchAttributes); ``subnets`` are CIDRs of the destination, sorted."""

    subnets: tuple[str, ...] = ()
    port: int = 0
    source_labels: Labels = ()
    source_namespace: str = ""


class TcpRule(msgspec.Struct, frozen=True, gc=False):
    """One rule for connections: any of ``matches`` (none: every connection), then weighted destinations."""

    destinations: tuple[WeightedDestination, ...]
    matches: tuple[TcpMatch, ...] = ()


class RouteTable(msgspec.Struct, frozen=True, gc=False):
    """The rules of one owner for one host and audience; ``created`` (Unix ms) settles who is older. ``rpc`` are those of
    an RPCRoute: several owners' are joined by precedence (``compile.rpc.table``), and they go before ``http``."""

    key: RouteTableKey
    http: tuple[HttpRule, ...] = ()
    tcp: tuple[TcpRule, ...] = ()
    visible_to: Visibility = EVERYWHERE
    created: int = 0
    rpc: tuple[HttpRule, ...] = ()
