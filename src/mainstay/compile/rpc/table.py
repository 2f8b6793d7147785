"""Route configurations of the generic proxy: what a service's rules say about calls.

In: ``RpcRouteTraits``. Out: a RouteConfiguration that refers to the clusters it uses. A listener of one service takes calls
for any RPC service: it stands for the application behind it, whatever that publishes. Rules come from RPCRoutes, joined by
Gateway API's precedence; then from the VirtualService, in its order; then, without a VirtualService, everything goes to the
service.
"""

from collections.abc import Iterable, Iterator

from mainstay.compile.facts import Facts
from mainstay.compile.lookup import find_route_table
from mainstay.compile.resource import Fields, Ref, Resource, make_resource
from mainstay.compile.route.action import (
    INBOUND_RETRY,
    Client,
    default_action,
    retry_policy,
    route_action,
    stream_cluster,
)
from mainstay.compile.route.match import applies
from mainstay.compile.rpc.action import rpc_action
from mainstay.compile.rpc.match import Inexpressible, rpc_predicate
from mainstay.compile.traits import RpcRouteTraits
from mainstay.model.application import called_as
from mainstay.model.key import MESH, ObjectKey, is_visible
from mainstay.model.problem import Problem
from mainstay.model.route import Forward, HttpMatch, HttpRule, RouteTable, StringMatch
from mainstay.model.service import Service

EVERY_CALL = HttpMatch()
TO_THE_SERVICE = HttpRule(action=Forward(()))
"""Stands for the lack of a rule: the service's own cluster, whatever it is called."""


def compile_rpc_route(facts: Facts, traits: RpcRouteTraits) -> Resource:
    """Compile the RPC routes of one port."""
    making = _Making(facts, traits)
    hosts: list[Fields] = []
    fields: Fields = {"name": traits.name}
    taken: set[str] = set()
    for key in traits.services:
        service = facts.service(key)
        if service is None or service.port(traits.port) is None:
            continue
        rules = list(making.rules_of(service))
        matcher = making.matcher(service, rules)
        known = dict.fromkeys((called_as(key.host), *_names_in(rules)))
        free = [name for name in known if name not in taken]
        taken.update(free)
        if not traits.alone and free:
            hosts.append({"name": f"{key.host}:{traits.port}", "hosts": free, "routes": matcher})
        if key == traits.rest:
            fields["routes"] = matcher
    if hosts:
        fields["virtual_hosts"] = hosts
    return make_resource("generic_route", traits.name, fields, making.refs, making.problems)


def inbound_routes(cluster: str, described: bool) -> Fields:
    """Return the RouteConfiguration of a chain that ends at the application: every call, without a time limit of its own."""
    route: Fields = {"cluster": cluster, "timeout": {}}
    route["retry_policy"] = retry_policy(INBOUND_RETRY)
    made = rpc_action("default", {"route": route}, described, [])
    return {"name": cluster, "routes": {"on_no_match": {"action": made.action}}}


class _Rule:
    """A rule with one of its matches and the object that has it."""

    __slots__ = ("kind", "match", "owner", "rule")

    def __init__(self, kind: str, owner: ObjectKey, rule: HttpRule, match: HttpMatch) -> None:
        self.kind = kind
        self.owner = owner
        self.rule = rule
        self.match = match


class _Making:
    """Gathers references and problems while the matchers of one configuration are made."""

    def __init__(self, facts: Facts, traits: RpcRouteTraits) -> None:
        self._facts = facts
        self._client = Client(traits.namespace, traits.labels, traits.port, calls=True)
        self._described = traits.described
        self.refs: list[Ref] = []
        self.problems: list[Problem] = []

    def rules_of(self, service: Service) -> Iterator[_Rule]:
        """Yield what may apply to the client, first those that count first."""
        tables = [
            table
            for table in self._facts.route_tables(service.key.host, MESH)
            if table.rpc and is_visible(table.visible_to, self._client.namespace)
        ]
        yield from self._applicable(_joined(tables))
        table = find_route_table(self._facts, service.key.host, self._client.namespace)
        if table is not None and table.http:
            for rule in table.http:
                matches = rule.matches or (EVERY_CALL,)
                yield from self._applicable(
                    _Rule("VirtualService", table.key.owner, rule, match) for match in matches
                )
        else:
            yield _Rule("", ObjectKey("", ""), TO_THE_SERVICE, EVERY_CALL)

    def _applicable(self, entries: Iterable[_Rule]) -> Iterator[_Rule]:
        client = self._client
        for entry in entries:
            if applies(entry.match, client.namespace, client.labels, client.port):
                yield entry

    def matcher(self, service: Service, rules: Iterable[_Rule]) -> Fields:
        """Return the Matcher of a service's rules: a list, and what is done with calls that fit none of it."""
        entries: list[Fields] = []
        fields: Fields = {}
        for entry in rules:
            try:
                predicate = rpc_predicate(entry.match, self._described)
            except Inexpressible as error:
                self._report(entry, "MS4204", f"a match can never fit calls of RPC: {error}", _LEFT_OUT)
                continue
            action = self._action(service, entry)
            if predicate is None:
                fields["on_no_match"] = {"action": action}
                break
            entries.append({"predicate": predicate, "on_match": {"action": action}})
        if entries:
            fields["matcher_list"] = {"matchers": entries}
        return fields

    def _action(self, service: Service, entry: _Rule) -> Fields:
        if not entry.kind:
            cluster = str(stream_cluster(service, self._client.port))
            made = rpc_action(
                "default", default_action(cluster, self._client, self.refs), self._described, self.refs
            )
            return made.action
        name = ".".join(part for part in (entry.rule.name, entry.match.name) if part)
        fields = route_action(self._facts, entry.rule, None, self._client, self.refs)
        made = rpc_action(name, fields, self._described, self.refs)
        for words in made.missing:
            if self._described:
                self._report(entry, "MS4204", f"RPC has no {words}", _LEFT_OUT)
            else:
                reason = f"Envoy's generic proxy has no {words}; calls go without"
                self._report(entry, "MS4203", reason, _OWN_DATA_PLANE)
        return made.action

    def _report(self, entry: _Rule, code: str, reason: str, remedy: str) -> None:
        rule = f" of rule {entry.rule.name}" if entry.rule.name else ""
        self.problems.append(
            Problem(
                code=code,
                severity="warning",
                object=f"{entry.kind}/{entry.owner}",
                path="spec",
                reason=f"{reason}{rule}",
                remedy=remedy,
            )
        )


_LEFT_OUT = "Use uri, authority and headers, or an RPCRoute; until then that part is left out"
_OWN_DATA_PLANE = "Run the workload with Mainstay's own data plane where this is needed"


def _joined(tables: Iterable[RouteTable]) -> list[_Rule]:
    """Matches of several RPCRoutes as Gateway API orders those of GRPCRoutes: the longest service, the longest method, the
    most headers; then the older route, the smaller name, the earlier rule."""
    found: list[tuple[tuple[object, ...], _Rule]] = []
    for table in tables:
        for number, rule in enumerate(table.rpc):
            for at, match in enumerate(rule.matches or (EVERY_CALL,)):
                place = (table.created, table.key, number, at)
                rank = (*_rank(match.authority), *_rank(match.rpc_method), -len(match.headers))
                found.append(((*rank, *place), _Rule("RPCRoute", table.key.owner, rule, match)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def _rank(text: StringMatch | None) -> tuple[int, int]:
    """Exact ones before expressions, and long ones before short ones."""
    if text is None:
        return 2, 0
    return (0 if text.kind == "exact" else 1), -len(text.value)


def _names_in(rules: Iterable[_Rule]) -> list[str]:
    """RPC services that a mesh service's own rules name: by these it is told from others on one port."""
    found: dict[str, None] = {}
    for entry in rules:
        authority, uri = entry.match.authority, entry.match.uri
        if authority is not None and authority.kind == "exact" and not authority.ignore_case:
            found[authority.value] = None
        if uri is not None and uri.kind in ("exact", "prefix") and not uri.ignore_case:
            service, slash, _ = uri.value.removeprefix("/").partition("/")
            if slash and service:
                found[service] = None
    return list(found)
