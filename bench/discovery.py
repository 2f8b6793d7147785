"""A scripted control plane: a mesh of clusters with endpoints, the same bytes for whoever asks, over ADS in either variant.

In: clusters, variant. Out: responses; when the last of them was acknowledged. It costs little while a proxy loads: what resources
are as bytes is made beforehand.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import Any, NamedTuple

import grpc

from bench.measure import BenchError
from mainstay._proto import pool
from mainstay.xds import messages
from mainstay.xds.types import Variant

ENDPOINTS = 10
CLUSTER = "envoy.config.cluster.v3.Cluster"
ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "envoy.config.listener.v3.Listener"
CLUSTER_URL, ASSIGNMENT_URL, LISTENER_URL = (pool.TYPE_URL + name for name in (CLUSTER, ASSIGNMENT, LISTENER))
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
METHODS: dict[Variant, str] = {"sotw": "StreamAggregatedResources", "delta": "DeltaAggregatedResources"}
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


def cluster_name(number: int) -> str:
    return f"outbound|80||service-{number}.bench.svc.cluster.local"


def cluster(number: int) -> bytes:
    """As a control plane writes them: endpoints over ADS, limits, detection of outliers."""
    message = pool.from_json(
        CLUSTER,
        {
            "name": cluster_name(number),
            "type": "EDS",
            "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
            "connect_timeout": "5s",
            "circuit_breakers": {
                "thresholds": [{"max_connections": 1_024, "max_requests": 1_024, "max_retries": 3}]
            },
            "outlier_detection": {"consecutive_5xx": 5, "interval": "10s", "base_ejection_time": "30s"},
        },
    )
    return bytes(message.SerializeToString())


def assignment(number: int, port: int) -> bytes:
    """Ten endpoints on loopback: all real, so that the cluster that is asked answers."""
    endpoints = [
        {
            "endpoint": {
                "address": {"socket_address": {"address": f"127.0.0.{last + 1}", "port_value": port}}
            },
            "health_status": "HEALTHY",
            "load_balancing_weight": 1,
        }
        for last in range(ENDPOINTS)
    ]
    message = pool.from_json(
        ASSIGNMENT,
        {
            "cluster_name": cluster_name(number),
            "endpoints": [{"locality": {"region": "bench", "zone": "a"}, "lb_endpoints": endpoints}],
        },
    )
    return bytes(message.SerializeToString())


def listener(port: int, number: int) -> bytes:
    """Routes everything to one cluster."""
    message = pool.from_json(
        LISTENER,
        {
            "name": "front",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [
                {
                    "filters": [
                        {
                            "name": "http",
                            "typed_config": {
                                "@type": pool.TYPE_URL + _MANAGER,
                                "stat_prefix": "front",
                                "http_filters": [
                                    {"name": "router", "typed_config": {"@type": pool.TYPE_URL + _ROUTER}}
                                ],
                                "route_config": {
                                    "name": "all",
                                    "virtual_hosts": [
                                        {
                                            "name": "all",
                                            "domains": ["*"],
                                            "routes": [
                                                {
                                                    "match": {"prefix": "/"},
                                                    "route": {"cluster": cluster_name(number)},
                                                }
                                            ],
                                        }
                                    ],
                                },
                            },
                        }
                    ]
                }
            ],
        },
    )
    return bytes(message.SerializeToString())


class Resource(NamedTuple):
    name: str
    body: bytes


class Mesh(NamedTuple):
    """Everything there is, by type."""

    resources: dict[str, tuple[Resource, ...]]

    @classmethod
    def make(cls, clusters: int, upstream: int, front: int) -> Mesh:
        """`front`: the port on which the proxy shall listen; it routes to the last cluster."""
        names = [cluster_name(number) for number in range(clusters)]
        return cls(
            {
                CLUSTER_URL: tuple(Resource(names[n], cluster(n)) for n in range(clusters)),
                ASSIGNMENT_URL: tuple(Resource(names[n], assignment(n, upstream)) for n in range(clusters)),
                LISTENER_URL: (Resource("front", listener(front, clusters - 1)),),
            }
        )


def entry(variant: Variant, url: str, version: str, resource: Resource) -> bytes:
    """One resource as it stands in a response."""
    if variant == "sotw":
        return messages.sotw_entry(url, resource.body)
    return messages.delta_entry(url, resource.name, version, resource.body)


def response(variant: Variant, url: str, nonce: str, entries: Iterable[bytes]) -> bytes:
    """One response; its version is its nonce too."""
    if variant == "sotw":
        return messages.encode_sotw_response(url, nonce, nonce, entries)
    return messages.encode_delta_response(url, nonce, nonce, entries, ())


class Discovery:
    """Serves one stream; what is asked for is sent once, and again only by `push`."""

    def __init__(self, mesh: Mesh, variant: Variant, port: int) -> None:
        self._variant: Variant = variant
        self._entries = {
            url: {each.name: entry(variant, url, "1", each) for each in found}
            for url, found in mesh.resources.items()
        }
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._change = threading.Condition()
        self._unsent = {url: dict.fromkeys(entries) for url, entries in self._entries.items()}
        self._waits: set[str] = set()
        """Nonces that are not answered yet."""
        self._refusal = ""
        self._count = 0
        self._answered = 0.0
        self.connected = 0.0
        """When the stream began, monotonic."""
        self.sizes: dict[str, list[int]] = {}
        """Bytes of each response, by type."""
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=_OPTIONS)
        handler: Any = grpc.stream_stream_rpc_method_handler(self._stream)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHODS[variant]: handler}),)
        )
        if not self._server.add_insecure_port(f"127.0.0.1:{port}"):
            raise BenchError(f"the scripted control plane cannot listen on {port}")
        self._server.start()

    def stop(self) -> None:
        self._out.put(None)
        self._server.stop(0).wait()

    def push(self, url: str, resource: Resource) -> float:
        """Sends a change of one resource; returns when."""
        with self._change:
            entries = (entry(self._variant, url, f"{self._count + 2}", resource),)
            self._send(url, entries)
        return time.monotonic()

    def wait(self, seconds: float) -> float:
        """Waits until everything was asked for, sent and acknowledged; returns when the last was."""
        until = time.monotonic() + seconds
        with self._change:
            while self._waits or any(self._unsent.values()):
                left = until - time.monotonic()
                if left <= 0:
                    missing = {url: len(names) for url, names in self._unsent.items() if names}
                    raise BenchError(
                        f"after {seconds:.0f} s: not asked for {missing}, not acknowledged {len(self._waits)}"
                    )
                self._change.wait(left)
                if self._refusal:
                    raise BenchError(self._refusal)
            return self._answered

    def _stream(self, requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        self.connected = time.monotonic()
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()
        while (message := self._out.get()) is not None:
            yield message

    def _read(self, requests: Iterator[bytes]) -> None:
        with contextlib.suppress(grpc.RpcError):
            for data in requests:
                with self._change:
                    self._take(data)
                    self._change.notify_all()

    def _take(self, data: bytes) -> None:
        request: messages.SotwRequest | messages.DeltaRequest
        if self._variant == "sotw":
            request = messages.decode_sotw_request(data)
            names = request.names
        else:
            request = messages.decode_delta_request(data)
            names = request.subscribe
        if request.error is not None:
            self._refusal = f"{request.url} is refused: {request.error[:500]}"
        if request.nonce in self._waits:
            self._waits.discard(request.nonce)
            self._answered = time.monotonic()
        unsent = self._unsent.get(request.url)
        if not unsent:
            return
        wanted = [name for name in names if name in unsent] if request.url == ASSIGNMENT_URL else list(unsent)
        for name in wanted:
            del unsent[name]
        if wanted:
            entries = self._entries[request.url]
            self._send(request.url, [entries[name] for name in wanted])

    def _send(self, url: str, entries: Iterable[bytes]) -> None:
        self._count += 1
        nonce = str(self._count)
        self._waits.add(nonce)
        message = response(self._variant, url, nonce, entries)
        self.sizes.setdefault(url, []).append(len(message))
        self._out.put(message)
