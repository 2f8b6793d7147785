"""Listeners: what is taken, what is refused, and where the refusal points."""

from __future__ import annotations

from typing import Any

import pytest

from mainstay._proto import pool
from mainstay.sidecar import plan
from mainstay.sidecar.convert.gathered import Gathered
from mainstay.sidecar.convert.listener import listener
from mainstay.sidecar.convert.references import needs_of
from mainstay.sidecar.convert.refuse import Refused, lenient

TYPE = "type.googleapis.com/"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER: dict[str, Any] = {
    "name": "router",
    "typed_config": {"@type": f"{TYPE}envoy.extensions.filters.http.router.v3.Router"},
}
RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"


def manager(**fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"@type": TYPE + MANAGER, "stat_prefix": "test", "http_filters": [ROUTER]}
    if "route_config" not in fields:
        base["rds"] = {"route_config_name": "routes", "config_source": {"ads": {}}}
    return {"name": "hcm", "typed_config": base | fields}


def tcp(**fields: Any) -> dict[str, Any]:
    kind = f"{TYPE}envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return {
        "name": "tcp",
        "typed_config": {"@type": kind, "stat_prefix": "test", "cluster": "target"} | fields,
    }


def convert(filters: list[dict[str, Any]], **fields: Any) -> plan.Listener:
    value = {
        "name": "test",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": filters}],
    } | fields
    return listener(pool.from_json("envoy.config.listener.v3.Listener", value), Gathered("test"))


def manager_of(found: plan.Listener) -> plan.HttpConnectionManager:
    terminal = found.chains[0].terminal
    assert isinstance(terminal, plan.HttpTerminal)
    return terminal.manager


def any_message(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """A TypedStruct as protobuf JSON."""
    return {"@type": f"{TYPE}xds.type.v3.TypedStruct", "type_url": TYPE + kind, "value": value}


def test_unset_fields_have_the_defaults_of_envoy() -> None:
    found = manager_of(convert([manager()]))
    assert (found.server_name, found.server_name_if_absent) == ("envoy", False)
    assert (found.stream_idle_timeout, found.idle_timeout) == (300_000, 3_600_000)
    assert (found.request_timeout, found.request_headers_timeout) == (None, None)
    assert (found.max_request_headers_bytes, found.max_request_headers) == (61_440, 100)
    assert found.generate_request_id


def test_a_timeout_of_zero_is_none() -> None:
    assert manager_of(convert([manager(stream_idle_timeout="0s")])).stream_idle_timeout is None


def test_a_listener_needs_its_routes() -> None:
    assert needs_of(convert([manager()])) == {("route", "routes")}


def test_a_byte_stream_needs_its_clusters() -> None:
    weighted = {"clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]}
    entry = tcp(weighted_clusters=weighted)
    del entry["typed_config"]["cluster"]
    assert needs_of(convert([entry])) == {("cluster", "a"), ("cluster", "b")}


def test_a_listener_without_a_name_is_called_by_its_address() -> None:
    assert convert([tcp()], name="").name == "127.0.0.1_0"


def test_an_unknown_http_filter_is_refused_by_name() -> None:
    entry = {"name": "lua", "typed_config": any_message("envoy.extensions.filters.http.lua.v3.Lua", {})}
    with pytest.raises(Refused) as caught:
        convert([manager(http_filters=[entry, ROUTER])])
    assert caught.value.path == "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config"
    assert "envoy.extensions.filters.http.lua.v3.Lua" in caught.value.reason


def test_an_optional_unknown_http_filter_is_passed_over() -> None:
    entry = {
        "name": "lua",
        "typed_config": any_message("envoy.extensions.filters.http.lua.v3.Lua", {}),
        "is_optional": True,
    }
    assert manager_of(convert([manager(http_filters=[entry, ROUTER])])).filters == ()


def test_a_typed_struct_is_read_as_the_message_it_stands_for() -> None:
    rules = {"action": "DENY", "policies": {"all": {"permissions": [{"any": True}]}}}
    entry = {"name": "rbac", "typed_config": any_message(RBAC, {"rules": rules})}
    (found,) = manager_of(convert([manager(http_filters=[entry, ROUTER])])).filters
    assert isinstance(found.config, plan.RbacFilter)
    assert found.config.rules is not None
    assert not found.config.rules.allow


def test_lenient_lists_what_it_leaves_out() -> None:
    with lenient() as ignored:
        convert([manager(delayed_close_timeout="1s")], enable_mptcp=True)
    assert len(ignored) == 2
    assert any(
        line.startswith("filter_chains[0].filters[0].typed_config.delayed_close_timeout: is not supported: ")
        for line in ignored
    )


@pytest.mark.parametrize(
    ("filters", "fields", "path"),
    [
        ([tcp(), tcp()], {}, "filter_chains[0].filters[1]"),
        ([], {}, "filter_chains[0].filters"),
        ([manager(http_filters=[])], {}, "filter_chains[0].filters[0].typed_config.http_filters"),
        ([tcp()], {"address": {"socket_address": {"address": "localhost", "port_value": 1}}}, "address"),
        ([tcp()], {"filter_chains": []}, "filter_chains"),
        ([tcp()], {"udp_listener_config": {}}, "udp_listener_config"),
        (
            [tcp()],
            {
                "default_filter_chain": {
                    "filters": [tcp()],
                    "filter_chain_match": {"destination_port": 1},
                }
            },
            "default_filter_chain.filter_chain_match",
        ),
        (
            [manager(upgrade_configs=[{"upgrade_type": "CONNECT"}])],
            {},
            "filter_chains[0].filters[0].typed_config.upgrade_configs[0].upgrade_type",
        ),
    ],
)
def test_a_refusal_points_at_the_field(
    filters: list[dict[str, Any]], fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(Refused) as caught:
        convert(filters, **fields)
    assert caught.value.path.startswith(path)


def test_standard_streams_are_told_from_files() -> None:
    def log(path: str) -> dict[str, Any]:
        kind = f"{TYPE}envoy.extensions.access_loggers.file.v3.FileAccessLog"
        return {"name": "file", "typed_config": {"@type": kind, "path": path}}

    logs = manager_of(convert([manager(access_log=[log("/dev/stdout"), log("/var/log/a")])])).access_logs
    assert [type(entry.sink) for entry in logs] == [plan.StdoutSink, plan.FileSink]


def test_keepalive_options_become_keepalive() -> None:
    options = [
        {"level": 1, "name": 9, "int_value": 1, "state": "STATE_PREBIND"},
        {"level": 6, "name": 4, "int_value": 30},
    ]
    assert convert([tcp()], socket_options=options).tcp_keepalive == plan.TcpKeepalive(time=30)
