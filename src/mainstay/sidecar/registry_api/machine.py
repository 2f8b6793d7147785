"""What the application has registered, without I/O: requests in, answers and the state to keep and to tell out.

In: requests, and that the application has died or its calls can go out. Out: `Answer`s; `application` as it is to be told.
Invariants: everything is idempotent, since clients repeat what failed; answers are compact JSON with `success` first, and a
subscription has at least one item with a query (`docs/registry-api.md`); no answer but that to `subscribe` waits for anything.

Registering is no lease: what was published stays until it is withdrawn. An application that died (its RPC port was dead) and
registers anew starts from nothing, since a process that has gone cannot withdraw.
"""

from __future__ import annotations

import re

import msgspec

from mainstay.model.application import (
    DEFAULT_WEIGHT,
    MAX_PUBLISHED,
    MAX_SUBSCRIBED,
    Application,
    called_as,
)
from mainstay.sidecar.registry_api.requests import (
    Publish,
    Register,
    Request,
    Subscribe,
    UnknownEndpoint,
    Unpublish,
    Unsubscribe,
    read_request,
)

BOLT_NUMBER = "1"
VERSION = "4.0"
"""What `p` and `v` of SOFA's addresses say for Bolt and this API."""


_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
"""What needs no escapes in a query."""


class Place(msgspec.Struct, frozen=True):
    """Where things are, each as ``address:port``, from settings. `inbound`: where peers reach the application, which is the
    sidecar, unless it is `intercepted`; `application`: where it listens; `data`: where its calls go out. Empty: nowhere."""

    protocol: str
    inbound: str
    application: str
    data: str
    intercepted: bool = False


class State(msgspec.Struct, frozen=True):
    """What outlives a restart. `port`: the application's, if it told another than the setting. `weights`: of what is published,
    where they are not the default."""

    name: str = ""
    published: tuple[str, ...] = ()
    subscribed: tuple[str, ...] = ()
    port: int = 0
    weights: dict[str, int] = {}


class Answer(msgspec.Struct, frozen=True):
    """`waits_for`: the service whose calls should go out before this answer is given. `refused`: why it says no, if it does."""

    body: bytes
    status: int = 200
    waits_for: str = ""
    refused: str = ""


class Refused(Exception):  # noqa: N818  it reports the application's fault
    """Why a request is not carried out."""


class Registry:
    """The machine."""

    def __init__(self, place: Place, state: State) -> None:
        self._place = place
        self._died = False
        self._subscribing: set[str] = set()
        self.state = state

    @property
    def application(self) -> Application:
        """As the control plane is to know it."""
        place, state = self._place, self.state
        endpoint = self.endpoint
        inbound = endpoint if place.intercepted else place.inbound
        return Application(
            protocol=place.protocol,
            published=state.published,
            subscribed=state.subscribed if place.data else (),
            port=_port(inbound) if endpoint else 0,
            endpoint=endpoint,
            data=place.data,
            name=state.name,
            weights=tuple(sorted(state.weights.items())),
        )

    @property
    def endpoint(self) -> str:
        """Where the application listens, as it says itself or as set."""
        host = self._place.application.rpartition(":")[0]
        return f"{host}:{self.state.port}" if self.state.port and host else self._place.application

    def died(self) -> None:
        """The application's RPC port is dead."""
        self._died = True

    def handle(self, path: str, body: bytes) -> Answer:
        """Carries a request out. Refusals are answers, too: 200 with words that these clients show, or 404."""
        try:
            request = read_request(path, body)
            self.state = self._after(request)
        except UnknownEndpoint:
            return refusal(f"there is no {path}", 404)
        except (ValueError, Refused) as error:
            return refusal(str(error))
        if isinstance(request, Subscribe):
            found = {"success": True, "serviceName": called_as(request.service), "datas": [self._address()]}
            return Answer(msgspec.json.encode(found), waits_for=called_as(request.service))
        return Answer(b'{"success":true}')

    def _after(self, request: Request) -> State:
        state = self.state
        match request:
            case Register(name):
                self._subscribing.clear()
                if self._died:
                    self._died = False
                    state = State()
                return msgspec.structs.replace(state, name=name)
            case Publish(service, protocol, port, weight):
                self._check_protocol(protocol)
                if not self._place.application:
                    raise Refused(
                        "the sidecar was told of no RPC port of the application: set --registry-application-port"
                    )
                former = _named(state.published, service)
                published = _with(former, service, MAX_PUBLISHED, "published")
                weights = _weights(state.weights, published)
                if weight != DEFAULT_WEIGHT:
                    weights[service] = weight
                else:
                    weights.pop(service, None)
                port = self._port_of(port)
                return msgspec.structs.replace(state, published=published, port=port, weights=weights)
            case Unpublish(service):
                published = _without(state.published, service)
                weights = _weights(state.weights, published)
                return msgspec.structs.replace(state, published=published, weights=weights)
            case Subscribe(service, protocol):
                self._check_protocol(protocol)
                if not self._place.data:
                    raise Refused("the sidecar has no port for calls: set --registry-data-port")
                former = self._check_group(service)
                subscribed = _with(former, service, MAX_SUBSCRIBED, "subscribed")
                self._subscribing.add(called_as(service))
                return msgspec.structs.replace(state, subscribed=subscribed)
            case Unsubscribe(service):
                return msgspec.structs.replace(state, subscribed=_without(state.subscribed, service))

    def _port_of(self, port: int) -> int:
        """A port that the application names counts for all it publishes: a sidecar has one listener for it."""
        known = self.state.port
        if port and known and port != known and self.state.published:
            raise Refused(f"port {port}: what is published already is on port {known}; one port is served")
        host = self._place.application.rpartition(":")[0]
        if port and f"{host}:{port}" == self._place.inbound and not self._place.intercepted:
            raise Refused(
                f"{host}:{port} is where the sidecar takes calls of the mesh: let the application listen on another port, "
                "or set --registry-inbound-port"
            )
        return port or known

    def _check_group(self, service: str) -> tuple[str, ...]:
        """What is subscribed to, without the same service of another group: that is what a former process wanted, unless this
        one wants both, which its calls could not tell apart."""
        name = called_as(service)
        rest = _named(self.state.subscribed, service)
        if len(rest) < len(self.state.subscribed) and name in self._subscribing:
            raise Refused(
                f"{name} is subscribed to in another group; calls carry no group, so one application calls the service of one"
            )
        return rest

    def _check_protocol(self, protocol: str) -> None:
        if protocol not in ("", self._place.protocol):
            raise Refused(
                f"protocol {protocol[:80]!r} is not served here, only {self._place.protocol}: one port carries one protocol"
            )

    def _address(self) -> str:
        """Java takes the host of its registry and the port by itself, and of this the query alone."""
        name = self.state.name if _PLAIN.fullmatch(self.state.name) else ""
        query = f"p={BOLT_NUMBER}&v={VERSION}&_SERIALIZETYPE=hessian2&app_name={name}"
        return f"{self._place.data}?{query}"


def _port(place: str) -> int:
    return int(place.rpartition(":")[2] or 0)


def refusal(reason: str, status: int = 200) -> Answer:
    """An answer that says no."""
    return Answer(msgspec.json.encode({"success": False, "errorMessage": reason}), status, refused=reason)


def _with(names: tuple[str, ...], name: str, limit: int, what: str) -> tuple[str, ...]:
    if name in names:
        return names
    if len(names) >= limit:
        raise Refused(f"{limit} services are {what} already, which is the most")
    return tuple(sorted((*names, name)))


def _named(names: tuple[str, ...], service: str) -> tuple[str, ...]:
    """Without the same service of other groups."""
    name = called_as(service)
    return tuple(each for each in names if each == service or called_as(each) != name)


def _weights(weights: dict[str, int], published: tuple[str, ...]) -> dict[str, int]:
    return {name: weight for name, weight in weights.items() if name in published}


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(each for each in names if each != name)
