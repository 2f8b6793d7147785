"""Sidecars as processes with applications that speak RPC before and behind them; peers are kept as long as tests need them."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from engine_live import Server
from rpc_pairs import PAIRS, Pair
from rpc_programs import FAMILIES, Client, Provider
from rpc_sidecars import Processes, Road
from tests.interop.conftest import Certificates

if TYPE_CHECKING:
    from rpc_programs import Answer

    Serve = Callable[..., Server]

Start = Callable[[str, Path, int], None]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `mainstay` or `envoy` from a bootstrap file and waits until its port takes connections."""
    processes = Processes(tmp_path)
    yield processes.start
    processes.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Servers of handlers of connections."""
    servers: list[Server] = []

    def run(handler: Callable[[socket.socket], object]) -> Server:
        servers.append(Server(handler))
        return servers[-1]

    yield run
    for server in servers:
        server.close()


@pytest.fixture
def leaves(tmp_path: Path) -> Certificates:
    """Certificates of a mesh."""
    return Certificates(tmp_path)


@pytest.fixture
def ports() -> Callable[[], int]:
    """Ports that are free now."""

    def take() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return take


NAMES = ("plain", "canary")
QUICK = {"anthunder", "thrift"}
"""Families that come from PyPI alone."""


class Programs:
    """Starts programs when they are first asked for, and ends those that the next pair does not need."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._providers: dict[str, dict[str, Provider]] = {}

    def keep(self, client: str, provider: str) -> None:
        for name in set(self._clients) - {client}:
            self._clients.pop(name).close()
        for name in set(self._providers) - {provider}:
            for each in self._providers.pop(name).values():
                each.close()
        if client not in self._clients:
            family = FAMILIES[client]
            self._clients[client] = Client(family.runtime, *family.program)
        started = provider not in self._providers
        if started:
            self._providers[provider] = {name: Provider(FAMILIES[provider], name) for name in NAMES}
            for each in self._providers[provider].values():
                each.ready()

    def client(self, family: str) -> Client:
        return self._clients[family]

    def providers(self, family: str) -> dict[str, Provider]:
        return self._providers[family]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        for each in self._providers.values():
            for provider in each.values():
                provider.close()


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    started = Programs()
    yield started
    started.close()


class Called(NamedTuple):
    """A pair at work: the caller's program, the two providers, and the mesh between them."""

    pair: Pair
    client: Client
    providers: dict[str, Provider]
    road: Road

    def call(self, method: str, text: str = "", at: str = "main", **options: str | int) -> Answer:
        return self.client.call(self.address(at), method, text, **self.options(options))

    def begin(self, method: str, text: str = "", at: str = "main", **options: str | int) -> None:
        self.client.begin(self.address(at), method, text, **self.options(options))

    @contextlib.contextmanager
    def down(self, name: str) -> Iterator[None]:
        """Without one of the providers: its process is killed, and started again afterwards."""
        provider = self.providers[name]
        provider.kill()
        try:
            yield
        finally:
            provider.begin()
            provider.ready()

    def address(self, at: str) -> str:
        """A listener of the mesh, or `direct`, without one."""
        return self.providers["plain"].at(self.pair.provider.protocol) if at == "direct" else self.road.at(at)

    def options(self, more: dict[str, str | int]) -> dict[str, str | int]:
        return {"protocol": self.pair.client.protocol, **self.pair.options, **more}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What a pair of peers cannot do is no test of it; the table of peers says why."""
    lacking = [item for item in items if _lacks(item)]
    config.hook.pytest_deselected(items=lacking)
    items[:] = [item for item in items if item not in lacking]


def _lacks(item: pytest.Item) -> bool:
    wanted = item.get_closest_marker("capability")
    if wanted is None or not isinstance(item, pytest.Function):
        return False
    pair = item.callspec.params["called"]
    assert isinstance(pair, Pair)
    return wanted.args[0] in pair.lacks


def _marked(pair: Pair) -> object:
    is_quick = set(pair.families) <= QUICK
    return pytest.param(pair, id=pair.key, marks=() if is_quick else pytest.mark.peers)


@pytest.fixture(scope="module", params=[_marked(pair) for pair in PAIRS])
def called(
    request: pytest.FixtureRequest, programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Called]:
    pair: Pair = request.param
    fresh = pair.client.family not in programs._clients
    programs.keep(pair.client.family, pair.provider.family)
    client, providers = programs.client(pair.client.family), programs.providers(pair.provider.family)
    if fresh:
        client.ready()
    ports = {name: provider.ports[pair.provider.protocol] for name, provider in providers.items()}
    folder = tmp_path_factory.mktemp("road")
    road = Road(pair.wire, pair.header, ports, Certificates(folder), folder)
    yield Called(pair, client, providers, road)
    road.close()
