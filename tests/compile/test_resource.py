"""Resources: deterministic bytes, whatever way protobuf reads mappings."""

import pytest

from mainstay._proto import pool
from mainstay.compile.resource import Ref, make_resource, struct
from mainstay.model.digest import DIGEST_BYTES


def test_struct_keeps_its_content_wherever_it_stands() -> None:
    content = {"tlsMode": "istio", "able": True, "number": 3, "list": [{"host": "a"}], "inner": {"b": "c"}}
    cluster = make_resource(
        "cluster",
        "c",
        {
            "name": "c",
            "metadata": {"filter_metadata": {"istio": struct(content)}},
            "transport_socket_matches": [{"name": "m", "match": struct(content)}],
        },
    )
    read = pool.to_json(pool.parse("envoy.config.cluster.v3.Cluster", cluster.body))
    assert read["metadata"]["filter_metadata"]["istio"] == content
    assert read["transport_socket_matches"][0]["match"] == content


def test_equal_fields_have_equal_versions_whatever_their_order() -> None:
    one = make_resource(
        "cluster", "c", {"name": "c", "metadata": {"filter_metadata": {"a": struct({}), "b": struct({})}}}
    )
    two = make_resource(
        "cluster", "c", {"metadata": {"filter_metadata": {"b": struct({}), "a": struct({})}}, "name": "c"}
    )
    other = make_resource("cluster", "c", {"name": "c"})
    assert one.version == two.version
    assert len(one.version) == DIGEST_BYTES
    assert other.version != one.version


def test_references_are_sorted_and_unique() -> None:
    refs = [Ref("route", "b"), Ref("cluster", "z"), Ref("route", "b")]
    assert make_resource("listener", "l", {"name": "l"}, refs).refers == (
        Ref("cluster", "z"),
        Ref("route", "b"),
    )


def test_misspelt_field_is_found_at_once() -> None:
    with pytest.raises(ValueError, match="lb_polici"):
        make_resource("cluster", "c", {"name": "c", "lb_polici": "RANDOM"})
