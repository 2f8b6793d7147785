"""Bootstraps: what is taken, and how refusals point."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay._proto import pool
from mainstay.compile import names
from mainstay.identity.join_wire import BundleAnswer, Joined
from mainstay.model.key import ObjectKey
from mainstay.protocols.native import protocols_had
from mainstay.settings.define import OperatorError
from mainstay.settings.sidecar import ControlPlane, Probe, SidecarSettings
from mainstay.sidecar import plan
from mainstay.sidecar.bootstrap import own
from mainstay.sidecar.bootstrap.boot import Dynamic
from mainstay.sidecar.bootstrap.read import read_bootstrap
from mainstay.sidecar.convert.source import Service

STATIC = """
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: app
    type: STATIC
    connect_timeout: 0.25s
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9000}}}
"""
DYNAMIC = """
node: {id: test-id, cluster: test}
static_resources:
  clusters:
  - name: xds_cluster
    type: STATIC
    load_assignment: {cluster_name: xds_cluster}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services:
    - envoy_grpc: {cluster_name: xds_cluster}
      initial_metadata: [{key: X-Token, value: abc}]
  cds_config: {ads: {}}
  lds_config: {ads: {}}
"""


@pytest.mark.parametrize(("flag", "always"), [("false", True), ("true", False)])
def test_the_node_is_told_as_often_as_the_file_says(tmp_path: Path, flag: str, always: bool) -> None:
    text = DYNAMIC.replace(
        "api_type: DELTA_GRPC", f"api_type: DELTA_GRPC\n    set_node_on_first_message_only: {flag}"
    )
    boot = read_bootstrap(write(tmp_path, text), "1")
    assert boot.dynamic is not None
    assert boot.dynamic.ads is not None
    assert boot.dynamic.ads.node_always == always


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(text)
    return path


def refusals(tmp_path: Path, text: str) -> str:
    with pytest.raises(OperatorError) as caught:
        read_bootstrap(write(tmp_path, text), "1")
    assert caught.value.code == 3
    return str(caught.value)


def test_a_static_bootstrap_needs_no_control_plane(tmp_path: Path) -> None:
    boot = read_bootstrap(write(tmp_path, STATIC), "1")
    assert [(each.resource.kind, each.resource.name) for each in boot.static] == [
        ("cluster", "app"),
        ("listener", "127.0.0.1_8080"),
    ]
    assert boot.dynamic is None
    assert boot.admin == plan.Socket("127.0.0.1", 0)


def test_the_same_in_json(tmp_path: Path) -> None:
    import json

    import yaml

    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(yaml.safe_load(STATIC)))
    assert read_bootstrap(path, "1") == read_bootstrap(write(tmp_path, STATIC), "1")


def test_ads_is_found_with_its_metadata(tmp_path: Path) -> None:
    boot = read_bootstrap(write(tmp_path, DYNAMIC), "1.2")
    assert boot.dynamic == Dynamic(Service("xds_cluster", "delta", (("x-token", "abc"),), node_always=True))
    node = pool.parse("envoy.config.core.v3.Node", boot.node)
    assert (node.id, node.cluster, node.user_agent_name, node.user_agent_version) == (
        "test-id",
        "test",
        "mainstay",
        "1.2",
    )


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (
            "stat_prefix: in",
            "stat_prefix: in\n          no_such: 1",
            "filter_chains[0].filters[0].typed_config.no_such",
        ),
        ("connect_timeout: 0.25s", "lb_policy: MAGLEV", "static_resources.clusters[0].lb_policy"),
        ("connect_timeout: 0.25s", "connect_timeout: soon", "connect_timeout"),
        ("connect_timeout: 0.25s", "typo_timeout: 1s", "static_resources.clusters[0].typo_timeout"),
        ("admin:", "layered_runtime: {layers: []}\nadmin:", "layered_runtime"),
        (
            "http_connection_manager.v3.HttpConnectionManager",
            "made_up.v3.MadeUp",
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config",
        ),
        ("prefix: /", "prefix: /, safe_regex: {regex: x}", "static_resources"),
    ],
)
def test_a_refusal_points_at_the_field(tmp_path: Path, old: str, new: str, path: str) -> None:
    assert old in STATIC
    assert path in refusals(tmp_path, STATIC.replace(old, new))


def test_all_refusals_are_told_at_once(tmp_path: Path) -> None:
    text = STATIC.replace("connect_timeout: 0.25s", "lb_policy: MAGLEV").replace(
        "stat_prefix: in", "stat_prefix: in\n          delayed_close_timeout: 1s"
    )
    told = refusals(tmp_path, text)
    assert "lb_policy" in told
    assert "delayed_close_timeout" in told


def test_lenient_takes_it_and_lists_what_is_left_out(tmp_path: Path) -> None:
    text = STATIC.replace("stat_prefix: in", "stat_prefix: in\n          delayed_close_timeout: 1s")
    text = text.replace("admin:", "overload_manager: {refresh_interval: 1s}\nadmin:", 1)
    boot = read_bootstrap(write(tmp_path, text), "1", leniently=True)
    assert len(boot.static) == 2
    assert any("delayed_close_timeout" in line for line in boot.ignored)
    assert any("overload_manager" in line for line in boot.ignored)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "a: [", "static_resources: {clusters: 3}", "{}}"])
def test_what_is_no_bootstrap_is_refused_in_words(tmp_path: Path, text: str) -> None:
    assert "cannot start from the bootstrap" in refusals(tmp_path, text)


def test_a_name_may_stand_there_once(tmp_path: Path) -> None:
    cluster = "  - {name: app, type: STATIC}\n"
    assert "stands there twice" in refusals(tmp_path, STATIC + cluster)


def test_dynamic_resources_need_a_node_and_ads(tmp_path: Path) -> None:
    assert "node.id" in refusals(tmp_path, DYNAMIC.replace("id: test-id, ", ""))
    assert "lds_config" in refusals(
        tmp_path, DYNAMIC.replace("lds_config: {ads: {}}", "lds_config: {path_config_source: {path: x}}")
    )


def test_certificates_are_read_from_beside_the_bootstrap(tmp_path: Path) -> None:
    text = """
static_resources:
  secrets:
  - name: server
    tls_certificate:
      certificate_chain: {filename: cert.pem}
      private_key: {filename: key.pem}
"""
    assert "secrets[0].tls_certificate.certificate_chain.filename" in refusals(tmp_path, text)
    (tmp_path / "cert.pem").write_text("cert")
    (tmp_path / "key.pem").write_text("key")
    (secret,) = read_bootstrap(write(tmp_path, text), "1").static
    assert secret.resource.name == "server"


# --- from settings ------------------------------------------------------------------------------------------------


def settings(**fields: object) -> SidecarSettings:
    base: dict[str, object] = {
        "workload": "cart-1",
        "namespace": "shop",
        "labels": ("app=cart", "version=v1"),
        "addresses": ("127.3.4.5",),
        "control_plane": ControlPlane("127.0.0.1:15012"),
    }
    return SidecarSettings(**(base | fields))  # type: ignore[arg-type]


def test_the_node_is_one_that_the_control_plane_reads() -> None:
    from mainstay.compile.node import proxy_of_node
    from mainstay.xds.messages import _plain_struct

    boot = own.own_boot(settings(), "sidecar", "0.1.0")
    node = pool.parse("envoy.config.core.v3.Node", boot.node)
    proxy = proxy_of_node(node.id, _plain_struct(node.metadata), node.user_agent_name)
    assert (proxy.kind, proxy.namespace, proxy.addresses) == ("sidecar", "shop", ("127.3.4.5",))
    assert proxy.interception == "NONE"
    assert dict(proxy.labels) == {"app": "cart", "version": "v1"}
    assert (proxy.capability.software, proxy.capability.protocols) == ("mainstay", protocols_had())
    gateway = pool.parse("envoy.config.core.v3.Node", own.own_boot(settings(), "gateway", "0.1.0").node)
    assert proxy_of_node(gateway.id, {"NAMESPACE": "shop"}, "mainstay").kind == "gateway"


def test_only_the_question_for_the_roots_goes_out_unverified() -> None:
    first, joining, joined = (
        own.first_contact("127.0.0.1", 1),
        own.joining("127.0.0.1", 1, "spiffe://x/cp"),
        own.joined(own.XDS_CLUSTER, "127.0.0.1", 1, "spiffe://x/cp"),
    )
    found = [cluster.tls for cluster in (first, joining, joined) if cluster.tls is not None]
    assert [(tls.validation, tls.certificates) for tls in found] == [
        (None, ()),
        ("ROOTCA", ()),
        ("ROOTCA", ("default",)),
    ]
    for tls in found[1:]:
        assert tls.alternative_names.any_of == (plan.StringMatch(plan.ExactText("spiffe://x/cp")),)


def test_a_host_name_is_resolved_by_the_engine() -> None:
    assert isinstance(own.first_contact("control.example", 1).discovery, plan.StrictDnsDiscovery)
    assert own.split_address("[::1]:15012", "sidecar") == ("::1", 15012)


@pytest.mark.parametrize(
    "fields",
    [
        {"workload": ""},
        {"control_plane": ControlPlane("nowhere")},
        {"control_plane": ControlPlane("host:0")},
        {"labels": ("app",)},
        {"addresses": ("cart.example",)},
    ],
)
def test_settings_that_do_not_fit_are_a_matter_of_usage(fields: dict[str, object]) -> None:
    with pytest.raises(OperatorError) as caught:
        own.own_boot(settings(**fields), "sidecar", "1")
    assert caught.value.code == 2


def test_the_certificate_says_account_and_group() -> None:
    boot = own.own_boot(settings(), "sidecar", "1")
    identity = "spiffe://cluster.local/ns/shop/sa/cart"
    joined = Joined(identity, "", BundleAnswer("cluster.local", ()), 0, 1, "shop/carts")
    node = pool.parse("envoy.config.core.v3.Node", own.introduce(boot.node, joined))
    assert node.metadata.fields["SERVICE_ACCOUNT"].string_value == "cart"
    assert node.metadata.fields["AUTO_REGISTER_GROUP"].string_value == "carts"
    named = own.own_boot(settings(group="other"), "sidecar", "1")
    node = pool.parse("envoy.config.core.v3.Node", own.introduce(named.node, joined))
    assert node.metadata.fields["AUTO_REGISTER_GROUP"].string_value == "other"


def test_the_control_plane_calls_probes_as_we_expect() -> None:
    assert names.probe_cluster(ObjectKey("shop", "carts")).startswith(own.PROBE_PREFIX)


def test_a_probe_becomes_a_health_check_of_its_own_cluster() -> None:
    boot = own.own_boot(settings(probe=Probe(port=8080, path="/health", failures=2)), "sidecar", "1")
    (probe,) = boot.static
    assert probe.resource.name == "probe|settings"


def test_text_that_is_no_yaml_is_refused_by_line(tmp_path: Path) -> None:
    told = refusals(tmp_path, "node: {id: a}\nadmin: [1\nstatic_resources: {}\n")
    assert f"cannot start from the bootstrap {tmp_path}/bootstrap.yaml" in told
    assert "line 3, column 17: while parsing a flow sequence, did not find expected ',' or ']'" in told
    assert "unicode string" not in told


ISTIO_LIKE = """
node: {id: sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local, cluster: web.shop, metadata: {NAMESPACE: shop}}
layered_runtime:
  layers:
  - {name: global config, static_layer: {re2.max_program_size.error_level: "32768"}}
  - {name: admin, admin_layer: {}}
stats_config:
  use_all_default_tags: false
  stats_tags: [{tag_name: cluster_name, regex: "^cluster"}]
bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config:
    "@type": type.googleapis.com/udpa.type.v1.TypedStruct
    type_url: type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener
    value: {buffer_size_kb: 64}
admin:
  access_log:
  - name: envoy.access_loggers.file
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
      path: /dev/null
  profile_path: /var/lib/istio/data/envoy.prof
  address: {socket_address: {address: 127.0.0.1, port_value: 15000}}
dynamic_resources:
  lds_config: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}
  cds_config: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}
  ads_config:
    api_type: DELTA_GRPC
    set_node_on_first_message_only: true
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}}]
static_resources:
  clusters:
  - name: xds-grpc
    type: STATIC
    connect_timeout: 1s
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: xds-grpc
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: ./etc/istio/proxy/XDS}}}}]}]
    circuit_breakers:
      thresholds: [{priority: DEFAULT, max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]
    upstream_connection_options: {tcp_keepalive: {keepalive_time: 300}}
    max_requests_per_connection: 1
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"""
CONSUL_LIKE = """
{
  "admin": {
    "access_log_path": "/dev/null",
    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 19000}}
  },
  "node": {"cluster": "web", "id": "web-sidecar-proxy", "metadata": {"namespace": "default"}},
  "static_resources": {
    "clusters": [
      {
        "name": "local_agent",
        "ignore_health_on_host_removal": false,
        "connect_timeout": "1s",
        "type": "STATIC",
        "http2_protocol_options": {},
        "loadAssignment": {
          "clusterName": "local_agent",
          "endpoints": [
            {"lbEndpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8502}}}}]}
          ]
        }
      }
    ]
  },
  "stats_config": {"stats_tags": [{"tag_name": "local_cluster", "fixed_value": "web"}], "use_all_default_tags": true},
  "dynamic_resources": {
    "lds_config": {"ads": {}, "resource_api_version": "V3"},
    "cds_config": {"ads": {}, "resource_api_version": "V3"},
    "ads_config": {
      "api_type": "DELTA_GRPC",
      "transport_api_version": "V3",
      "grpc_services": {
        "initial_metadata": [{"key": "x-consul-token", "value": ""}],
        "envoy_grpc": {"cluster_name": "local_agent"}
      }
    }
  }
}
"""


@pytest.mark.parametrize(
    ("text", "cluster", "left_out"),
    [
        (ISTIO_LIKE, "xds-grpc", ["layered_runtime", "stats_config", "bootstrap_extensions"]),
        (CONSUL_LIKE, "local_agent", ["stats_config"]),
    ],
    ids=["Istio", "Consul"],
)
def test_bootstrap_of_another_mesh_lacks_only_what_is_told(
    tmp_path: Path, text: str, cluster: str, left_out: list[str]
) -> None:
    told = refusals(tmp_path, text)
    lines = [line.strip() for line in told.splitlines()]
    assert (
        sorted(line.partition(":")[0] for line in lines[1:-1]) == sorted(left_out)[:1] or "--lenient" in told
    )
    boot = read_bootstrap(write(tmp_path, text), "1", leniently=True)
    assert boot.dynamic == Dynamic(
        Service(
            cluster,
            "delta",
            boot.dynamic.ads.metadata,  # type: ignore[union-attr]
            node_always="set_node_on_first_message_only" not in text,
        )
    )
    assert sorted(line.partition(":")[0] for line in boot.ignored) == sorted(left_out)


def test_admin_pages_keep_no_log(tmp_path: Path) -> None:
    told = refusals(tmp_path, "admin: {access_log_path: /tmp/admin.log}")
    assert "admin.access_log_path: is not supported: the admin pages keep no log; write /dev/null" in told
