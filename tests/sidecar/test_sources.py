"""A proxy from a bootstrap: single streams, files, and who is asked for what. The server is the real xDS machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_control_plane import ControlPlane, View, golden_view
from fake_engine import FakeEngine

from mainstay._proto import pool
from mainstay.compile.resource import MESSAGES, Resource, resource_of_bytes
from mainstay.sidecar.bootstrap.read import read_bootstrap
from mainstay.sidecar.border import Lease
from mainstay.sidecar.brain import Brain
from mainstay.sidecar.configuration import Unfit
from mainstay.sidecar.exec_probe import Start
from mainstay.sidecar.files import POLL_MS, Disk
from mainstay.sidecar.last_good import NoLastGood
from mainstay.sidecar.lifecycle import Lifecycle
from mainstay.sidecar.status import Status
from mainstay.xds.types import TYPES, Kind, Variant, path

CASE = "canary-weights"
API_TYPES: dict[str, str] = {"sotw": "GRPC", "delta": "DELTA_GRPC"}
AT_REST = 4 * POLL_MS


def service(variant: str, cluster: str = "xds") -> dict[str, Any]:
    return {
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": API_TYPES[variant],
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": cluster}}],
        },
    }


def bootstrap(dynamic: dict[str, Any], **static: Any) -> dict[str, Any]:
    clusters = [
        {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name}}
        for name in ("xds", "other")
    ]
    secrets: list[dict[str, Any]] = [
        {"name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_string": "roots"}}},
        {
            "name": "default",
            "tls_certificate": {
                "certificate_chain": {"inline_string": "leaf"},
                "private_key": {"inline_string": "key"},
            },
        },
    ]
    return {
        "node": {"id": "test-id", "cluster": "test"},
        "static_resources": {
            "clusters": clusters + static.pop("clusters", []),
            "secrets": secrets,
            **static,
        },
        "dynamic_resources": dynamic,
    }


def with_source(view: View, source: dict[str, Any]) -> View:
    """The view with every source in it replaced."""

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return source if "ads" in value else {name: replaced(each) for name, each in value.items()}
        return [replaced(each) for each in value] if isinstance(value, list) else value

    def rewritten(resource: Resource) -> Resource:
        message = MESSAGES[resource.kind]
        tree = replaced(pool.to_json(pool.parse(message, resource.body)))
        body = pool.from_json(message, tree).SerializeToString(deterministic=True)
        return resource_of_bytes(resource.kind, resource.name, body, resource.refers)

    return View(*(rewritten(each) for kind in view.resources.values() for each in kind.values()))


class Proxy:
    """Started from a bootstrap, with the model engine inside."""

    def __init__(
        self,
        folder: Path,
        tree: dict[str, Any],
        start: Start | None = None,
        refuse: str = "",
        **planes: ControlPlane,
    ) -> None:
        file = folder / "bootstrap.yaml"
        file.write_text(yaml.safe_dump(tree))
        self.engine = FakeEngine()
        self.engine.refuse = {("cluster", refuse): ("lb_policy", "is too odd")}
        for cluster, plane in planes.items():
            self.engine.servers[cluster] = plane.call
        self.status = Status("0")
        boot = read_bootstrap(file, "0")
        self.life = Lifecycle(0, 0, needs_identity=False)
        disk = Disk(boot.directory)
        self.brain = Brain(
            Lease(self.engine),
            boot,
            self.life,
            NoLastGood(),
            self.status,
            None,
            self.engine.clock,
            lambda: 0.5,
            disk.read,
            disk.stamp,
            start=start,
        )
        self.brain.start()
        self.run()

    def run(self, for_ms: int = 2_000) -> None:
        end = self.engine.limit = self.engine.now + for_ms
        while self.engine.now < end:
            self.brain.turn()

    def names(self, kind: str) -> list[str]:
        return [name for name in self.engine.names(kind) if name not in ("xds", "other", "default", "ROOTCA")]

    def holds(self, view: View) -> bool:
        kinds: dict[str, Kind] = {
            "cluster": "cluster",
            "endpoints": "endpoint",
            "listener": "listener",
            "route": "route",
        }
        return all(self.names(mine) == sorted(view.resources[kind]) for mine, kind in kinds.items())


def paths(plane: ControlPlane) -> set[str]:
    return {stream.path for stream in plane.streams}


@pytest.fixture(params=["sotw", "delta"])
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


# --- streams ----------------------------------------------------------------------------------------------------------


def test_each_kind_comes_over_a_stream_of_its_own(tmp_path: Path, variant: Variant) -> None:
    view = with_source(golden_view(CASE), service(variant))
    plane = ControlPlane(view)
    source = service(variant)
    proxy = Proxy(tmp_path, bootstrap({"lds_config": source, "cds_config": source}), xds=plane)
    assert proxy.holds(view)
    assert paths(plane) == {path(variant, kind) for kind in TYPES if view.resources[kind]}
    assert proxy.status.state == "ready"
    assert set(plane.nodes) == {"test-id"}


def test_self_means_the_server_that_said_so(tmp_path: Path, variant: Variant) -> None:
    view = with_source(golden_view(CASE), {"self": {}})
    plane = ControlPlane(view)
    source = service(variant)
    proxy = Proxy(tmp_path, bootstrap({"lds_config": source, "cds_config": source}), xds=plane)
    assert proxy.holds(view)
    assert path(variant, "endpoint") in paths(plane)


def test_self_over_ads_is_ads(tmp_path: Path, variant: Variant) -> None:
    view = with_source(golden_view(CASE), {"self": {}})
    plane = ControlPlane(view)
    dynamic = {
        "ads_config": service(variant)["api_config_source"],
        "lds_config": {"ads": {}},
        "cds_config": {"ads": {}},
    }
    assert Proxy(tmp_path, bootstrap(dynamic), xds=plane).holds(view)
    assert paths(plane) == {path(variant)}


def test_kinds_may_come_from_different_servers(tmp_path: Path) -> None:
    view = with_source(golden_view(CASE), service("delta", "other"))
    one, two = ControlPlane(view), ControlPlane(view)
    dynamic = {"lds_config": service("sotw"), "cds_config": service("sotw")}
    proxy = Proxy(tmp_path, bootstrap(dynamic), xds=one, other=two)
    assert proxy.holds(view)
    assert paths(one) == {path("sotw", "cluster"), path("sotw", "listener")}
    assert paths(two) == {path("delta", "endpoint"), path("delta", "route")}


def test_refusal_goes_to_the_stream_that_brought_the_resource(tmp_path: Path, variant: Variant) -> None:
    view = with_source(golden_view(CASE), service(variant))
    plane = ControlPlane(view)
    source = service(variant)
    proxy = Proxy(tmp_path, bootstrap({"lds_config": source, "cds_config": source}), xds=plane)
    name = sorted(view.resources["cluster"])[0]
    message = pool.parse(MESSAGES["cluster"], view.resources["cluster"][name].body)
    message.lb_policy = 5
    bad = resource_of_bytes("cluster", name, message.SerializeToString(deterministic=True), ())
    plane.show(view.with_(bad))
    proxy.run()
    assert name in plane.refused
    assert proxy.holds(view)


def test_stream_that_nobody_needs_is_given_up(tmp_path: Path) -> None:
    view = with_source(golden_view(CASE), service("delta", "other"))
    one, two = ControlPlane(view), ControlPlane(view)
    dynamic = {"lds_config": service("delta"), "cds_config": service("delta")}
    proxy = Proxy(tmp_path, bootstrap(dynamic), xds=one, other=two)
    assert len([call for call in proxy.engine.calls.values() if call.cluster == "other"]) == 2
    one.show(View())
    proxy.run(20_000)
    assert proxy.names("listener") == []
    assert [call for call in proxy.engine.calls.values() if call.cluster == "other"] == []


def test_lost_stream_comes_back_alone(tmp_path: Path) -> None:
    view = with_source(golden_view(CASE), service("delta", "other"))
    one, two = ControlPlane(view), ControlPlane(view)
    dynamic = {"lds_config": service("delta"), "cds_config": service("delta")}
    proxy = Proxy(tmp_path, bootstrap(dynamic), xds=one, other=two)
    before = len(one.nodes)
    proxy.engine.cut("other")
    proxy.run(5_000)
    assert len(one.nodes) == before
    assert proxy.holds(view)
    assert proxy.status.connected


def test_server_that_is_no_cluster_here_is_stood_in_for_by_ads(tmp_path: Path) -> None:
    """Istio's agent serves `sds-grpc`; without it, the control plane does."""
    view = with_source(golden_view(CASE), service("sotw", "sds-grpc"))
    plane = ControlPlane(view)
    dynamic = {
        "ads_config": service("delta")["api_config_source"],
        "lds_config": {"ads": {}},
        "cds_config": {"ads": {}},
    }
    assert Proxy(tmp_path, bootstrap(dynamic), xds=plane).holds(view)


def test_static_clusters_are_taken_or_end_the_start_unless_a_server_is_waited_for(tmp_path: Path) -> None:
    view = golden_view(CASE)
    name = next(iter(view.resources["endpoint"]))
    source = service("delta")
    waiting = {"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": source}}
    tree = bootstrap({"lds_config": source, "cds_config": source}, clusters=[waiting])
    proxy = Proxy(tmp_path, tree, refuse=name, xds=ControlPlane(view))
    assert ("cluster", name) in proxy.status.refusals
    with pytest.raises(Unfit, match="cluster other: lb_policy: is too odd"):
        Proxy(tmp_path, tree, refuse="other", xds=ControlPlane(view))


# --- files ------------------------------------------------------------------------------------------------------------

EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def assignment(name: str, *ports: int) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in ports
    ]
    return {"@type": EDS, "cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def ports_of(proxy: Proxy, name: str) -> list[int]:
    found: Any = proxy.engine.plan("endpoints", name)
    return [each["address"]["port"] for locality in found["localities"] for each in locality["endpoints"]]


def filed_cluster(file: str) -> dict[str, Any]:
    source = {"path_config_source": {"path": file}}
    return {"name": "app", "type": "EDS", "eds_cluster_config": {"eds_config": source}}


def write(file: Path, *resources: dict[str, Any]) -> None:
    """As a deployment does: whole, under another name, then moved."""
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps({"version_info": "1", "resources": list(resources)}))
    aside.replace(file)


def test_endpoints_follow_their_file(tmp_path: Path) -> None:
    file = tmp_path / "eds.json"
    write(file, assignment("app", 1), assignment("nobody's", 9))
    proxy = Proxy(tmp_path, bootstrap({}, clusters=[filed_cluster("eds.json")]))
    assert proxy.names("endpoints") == ["app"]
    assert ports_of(proxy, "app") == [1]
    write(file, assignment("app", 2, 3))
    proxy.run(AT_REST)
    assert ports_of(proxy, "app") == [2, 3]


@pytest.mark.parametrize(
    "content",
    ["{", "resources: []\nno_such: 1", '{"resources": [{"@type": "type.googleapis.com/no.Such"}]}'],
)
def test_file_that_makes_no_sense_changes_nothing(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "eds.yaml"
    write(file, assignment("app", 1))
    proxy = Proxy(tmp_path, bootstrap({}, clusters=[filed_cluster("eds.yaml")]))
    file.write_text(content)
    proxy.run(AT_REST)
    assert ports_of(proxy, "app") == [1]
    assert "cannot take a file" in caplog.text
    write(file, assignment("app", 4))
    proxy.run(AT_REST)
    assert ports_of(proxy, "app") == [4]


def test_file_that_comes_later_is_taken_then(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, bootstrap({}, clusters=[filed_cluster("eds.json")]))
    assert proxy.names("cluster") == []
    write(tmp_path / "eds.json", assignment("app", 1))
    proxy.run(AT_REST)
    assert proxy.names("cluster") == ["app"]


def test_clusters_that_leave_their_file_are_removed(tmp_path: Path) -> None:
    def static(name: str) -> dict[str, Any]:
        kind = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
        return {"@type": kind, "name": name, "type": "STATIC", "load_assignment": {"cluster_name": name}}

    write(tmp_path / "cds.json", static("a"), static("b"))
    dynamic = {"cds_config": {"path_config_source": {"path": "cds.json"}}}
    proxy = Proxy(tmp_path, bootstrap(dynamic))
    assert proxy.names("cluster") == ["a", "b"]
    assert proxy.status.state == "ready"
    write(tmp_path / "cds.json", static("b"), static("c"))
    proxy.run(AT_REST)
    assert proxy.names("cluster") == ["b", "c"]


def test_everything_may_come_from_files(tmp_path: Path) -> None:
    view = golden_view(CASE)

    def put(kind: Kind, source: dict[str, Any]) -> None:
        resources = [
            {"@type": TYPES[kind].url, **pool.to_json(pool.parse(MESSAGES[kind], each.body))}
            for each in with_source(view, source).resources[kind].values()
        ]
        write(tmp_path / f"{kind}.json", *resources)

    def file(name: str) -> dict[str, Any]:
        return {"path_config_source": {"path": name}}

    put("cluster", file("endpoint.json"))
    put("listener", file("route.json"))
    put("endpoint", {})
    put("route", {})
    dynamic = {"cds_config": file("cluster.json"), "lds_config": file("listener.json")}
    assert Proxy(tmp_path, bootstrap(dynamic)).holds(view)


# --- certificates in files --------------------------------------------------------------------------------------------


def tls_listener(port: int = 8443) -> dict[str, Any]:
    certificate = {"certificate_chain": {"filename": "leaf.pem"}, "private_key": {"filename": "leaf.key"}}
    return {
        "name": "secure",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "transport_socket": {
                    "name": "tls",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                        "common_tls_context": {"tls_certificates": [certificate]},
                    },
                },
                "filters": [
                    {
                        "name": "tcp",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                            "stat_prefix": "tcp",
                            "cluster": "other",
                        },
                    }
                ],
            }
        ],
    }


@pytest.fixture
def secure(tmp_path: Path) -> Proxy:
    (tmp_path / "leaf.pem").write_text("leaf 1")
    (tmp_path / "leaf.key").write_text("key 1")
    return Proxy(tmp_path, bootstrap({}, listeners=[tls_listener()]))


def leaf_of(proxy: Proxy) -> tuple[bytes, bytes]:
    (name,) = proxy.names("secret")
    found: Any = proxy.engine.plan("secret", name)
    chain = found["material"]["chain"]
    return chain["certificates"], chain["key"]


def test_changed_certificate_is_the_only_thing_sent(tmp_path: Path, secure: Proxy) -> None:
    sent = len(secure.engine.deltas)
    (tmp_path / "leaf.pem").write_text("leaf 22")
    (tmp_path / "leaf.key").write_text("key 22")
    secure.run(AT_REST)
    assert leaf_of(secure) == (b"leaf 22", b"key 22")
    (delta,) = secure.engine.deltas[sent:]
    assert [upsert.resource for upsert in delta.upserts] == ["secret"]


def test_pair_is_not_taken_while_it_is_being_written(tmp_path: Path, secure: Proxy) -> None:
    for size in range(10):
        (tmp_path / "leaf.pem").write_text("leaf 2" + "2" * size)
        secure.run(POLL_MS)
        assert leaf_of(secure) == (b"leaf 1", b"key 1")
    secure.run(AT_REST)
    assert leaf_of(secure) == (b"leaf 2222222222", b"key 1")


def test_certificate_that_went_away_serves_on(
    tmp_path: Path, secure: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "leaf.pem").unlink()
    secure.run(AT_REST)
    assert leaf_of(secure) == (b"leaf 1", b"key 1")
    assert "changed files are of no use" in caplog.text
    (tmp_path / "leaf.pem").write_text("leaf 3")
    secure.run(AT_REST)
    assert leaf_of(secure) == (b"leaf 3", b"key 1")


def test_pair_that_the_engine_refuses_is_tried_again_when_it_changes(tmp_path: Path, secure: Proxy) -> None:
    (name,) = secure.names("secret")
    secure.engine.refuse["secret", name] = ("material", "key and certificate do not belong together")
    (tmp_path / "leaf.pem").write_text("leaf 22")
    secure.run(AT_REST)
    assert leaf_of(secure) == (b"leaf 1", b"key 1")
    secure.engine.refuse.clear()
    (tmp_path / "leaf.key").write_text("key 22")
    secure.run(AT_REST)
    assert leaf_of(secure) == (b"leaf 22", b"key 22")


def test_folder_swapped_below_a_link_is_seen(tmp_path: Path) -> None:
    """What Kubernetes does with a mounted secret."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "leaf.pem").write_text(f"leaf {number}")
        (tmp_path / f"v{number}" / "leaf.key").write_text(f"key {number}")
    (tmp_path / "now").symlink_to("v1")
    for file in ("leaf.pem", "leaf.key"):
        (tmp_path / file).symlink_to(f"now/{file}")
    proxy = Proxy(tmp_path, bootstrap({}, listeners=[tls_listener()]))
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").replace(tmp_path / "now")
    proxy.run(AT_REST)
    assert leaf_of(proxy) == (b"leaf 2", b"key 2")


def test_secrets_may_come_from_a_file(tmp_path: Path) -> None:
    secret = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "mine",
        "tls_certificate": {
            "certificate_chain": {"filename": "leaf.pem"},
            "private_key": {"filename": "leaf.key"},
            "watched_directory": {"path": "."},
        },
    }
    write(tmp_path / "sds.json", secret)
    (tmp_path / "leaf.pem").write_text("leaf 1")
    (tmp_path / "leaf.key").write_text("key 1")
    listener = tls_listener()
    context = listener["filter_chains"][0]["transport_socket"]["typed_config"]
    context["common_tls_context"] = {
        "tls_certificate_sds_secret_configs": [
            {"name": "mine", "sds_config": {"path_config_source": {"path": "sds.json"}}}
        ]
    }
    proxy = Proxy(tmp_path, bootstrap({}, listeners=[listener]))
    assert leaf_of(proxy) == (b"leaf 1", b"key 1")
    (tmp_path / "leaf.pem").write_text("leaf 22")
    proxy.run(AT_REST)
    assert leaf_of(proxy) == (b"leaf 22", b"key 1")


# --- refusals ---------------------------------------------------------------------------------------------------------


def edit(tree: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    change(tree)
    return tree


@pytest.mark.parametrize(
    ("dynamic", "words"),
    [
        (
            {"lds_config": {"ads": {}}},
            "lds_config: would come over ADS, but dynamic_resources.ads_config is not set",
        ),
        ({"lds_config": service("delta", "gone")}, "lds_config: its source 'gone' is not one of"),
        ({"cds_config": {"self": {}}}, "cds_config.self: has no meaning here"),
        (
            {"cds_config": {"path_config_source": {"path": "x.toml"}}},
            "path_config_source.path: 'x.toml' must end in",
        ),
        (
            {"ads_config": {"api_type": "REST", "cluster_names": ["xds"]}},
            "ads_config.api_type: must be GRPC or DELTA_GRPC",
        ),
        (
            {"ads_config": {"api_type": "GRPC", "grpc_services": [{"google_grpc": {"target_uri": "x:1"}}]}},
            "ads_config.grpc_services[0].google_grpc: is not supported; use envoy_grpc",
        ),
    ],
)
def test_source_to_which_nothing_leads_is_refused(
    tmp_path: Path, dynamic: dict[str, Any], words: str
) -> None:
    from mainstay.settings.define import OperatorError

    with pytest.raises(OperatorError, match="cannot start") as caught:
        Proxy(tmp_path, bootstrap(dynamic))
    assert words in str(caught.value)


def test_static_cluster_without_a_way_to_its_endpoints_is_refused(tmp_path: Path) -> None:
    from mainstay.settings.define import OperatorError

    cluster = {"name": "app", "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}}
    with pytest.raises(OperatorError, match=r"cluster 'app': endpoints 'app': would come over ADS"):
        Proxy(tmp_path, bootstrap({}, clusters=[cluster]))
