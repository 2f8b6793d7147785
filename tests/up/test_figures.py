"""Figures of a mesh, read from what its sidecars report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstay.up.figures import OUTSIDE, Histogram, Tally, read_pairs, read_samples, subtract


def line(name: str, value: float, **labels: str) -> str:
    base = {
        "reporter": "source",
        "source_canonical_service": "front",
        "destination_canonical_service": "cart",
        "destination_version": "v1",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "grpc_response_status": "",
        "connection_security_policy": "mutual_tls",
    }
    text = ",".join(f'{key}="{value}"' for key, value in {**base, **labels}.items())
    return f"{name}{{{text}}} {value}"


def take(tally: Tally, proxy: str, life: int, text: str) -> None:
    tally.take(proxy, life, read_pairs({proxy: text}))


def test_each_request_is_counted_once_by_its_source() -> None:
    front = line("istio_requests_total", 7)
    cart = line("istio_requests_total", 7, reporter="destination")
    (pair,) = read_pairs({"front": front, "cart": cart})
    assert (pair.source, pair.destination, pair.requests, pair.failures, pair.mtls) == (
        "front",
        "cart",
        7,
        0,
        True,
    )


def test_callers_without_a_sidecar_are_reported_by_the_destination() -> None:
    text = line(
        "istio_requests_total",
        3,
        reporter="destination",
        source_canonical_service="unknown",
        connection_security_policy="none",
    )
    (pair,) = read_pairs({"cart": text})
    assert (pair.source, pair.requests, pair.mtls) == (OUTSIDE, 3, None)


def test_one_plain_connection_makes_a_pair_not_mutual() -> None:
    text = "\n".join(
        [
            line("istio_requests_total", 1),
            line("istio_requests_total", 1, connection_security_policy="unknown", destination_version="v2"),
        ]
    )
    (pair,) = read_pairs({"front": text})
    assert pair.mtls is False
    assert pair.versions == {"v1": 1, "v2": 1}


def test_what_counts_as_a_failure() -> None:
    cases = [
        ({"response_code": "200"}, False),
        ({"response_code": "404"}, False),
        ({"response_code": "503"}, True),
        ({"response_code": "0", "response_flags": "DC"}, True),
        ({"request_protocol": "grpc", "grpc_response_status": "0"}, False),
        ({"request_protocol": "grpc", "grpc_response_status": "5"}, False),
        ({"request_protocol": "grpc", "grpc_response_status": "14"}, True),
    ]
    for labels, failed in cases:
        (pair,) = read_pairs({"front": line("istio_requests_total", 1, **labels)})
        assert pair.failures == int(failed), labels


def test_tcp_counts_connections() -> None:
    text = "\n".join(
        [
            line("istio_tcp_connections_opened_total", 4, request_protocol="tcp"),
            line("istio_tcp_connections_closed_total", 1, request_protocol="tcp", response_flags="UF"),
        ]
    )
    (pair,) = read_pairs({"front": text})
    assert (pair.protocol, pair.requests, pair.failures) == ("tcp", 4, 1)


def test_quantiles_are_interpolated() -> None:
    histogram = Histogram({1.0: 0, 2.0: 50, 4.0: 100, float("inf"): 100})
    assert histogram.quantile(0.5) == 2.0
    assert histogram.quantile(0.75) == 3.0
    assert Histogram().quantile(0.5) is None
    assert Histogram({1.0: 0, float("inf"): 3}).quantile(0.99) == 1.0


def test_subtracting_a_reading_leaves_what_came_since() -> None:
    earlier = read_pairs({"front": line("istio_requests_total", 5)})
    now = read_pairs({"front": line("istio_requests_total", 9)})
    (pair,) = subtract(now, earlier)
    assert (pair.requests, pair.versions) == (4, {"v1": 4})


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    list(read_samples(text))


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.text(alphabet='abc"\\\n', max_size=8), min_size=1))
def test_labels_come_back_unescaped(labels: dict[str, str]) -> None:
    def escape(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    text = ",".join(f'{name}="{escape(value)}"' for name, value in labels.items())
    (sample,) = read_samples(f"istio_x{{{text}}} 1")
    assert sample.labels == labels


def test_totals_go_on_when_a_proxy_begins_to_count_anew() -> None:
    tally = Tally()
    take(tally, "front", 1, line("istio_requests_total", 5))
    tally.begin()
    take(tally, "front", 1, line("istio_requests_total", 9))
    take(tally, "front", 2, line("istio_requests_total", 2))
    take(tally, "front", 2, line("istio_requests_total", 3))
    take(tally, "edge", 7, line("istio_requests_total", 1, source_canonical_service="edge"))
    assert [(pair.source, pair.requests) for pair in tally.total()] == [("edge", 1), ("front", 7)]


@given(
    st.lists(st.tuples(st.sampled_from(["front", "edge"]), st.booleans(), st.integers(0, 50)), max_size=20)
)
def test_totals_are_the_sum_of_all_that_was_counted(turns: list[tuple[str, bool, int]]) -> None:
    tally, life, counted, wanted = Tally(), {"front": 0, "edge": 0}, {"front": 0, "edge": 0}, 0
    for proxy, restarts, more in turns:
        if restarts:
            life[proxy], counted[proxy] = life[proxy] + 1, 0
        counted[proxy] += more
        wanted += more
        take(tally, proxy, life[proxy], line("istio_requests_total", counted[proxy]))
    assert sum(pair.requests for pair in tally.total()) == wanted


def test_a_byte_stream_of_the_mesh_is_told_by_its_source_alone() -> None:
    """Its destination knows the client by certificate, not by name."""
    labels = 'reporter="destination",source_app="unknown",destination_app="ledger",request_protocol="tcp"'
    known = (
        f'istio_tcp_connections_opened_total{{{labels},source_principal="spiffe://m/ns/shop/sa/front"}} 3\n'
    )
    stranger = f'istio_tcp_connections_opened_total{{{labels},source_principal="unknown"}} 2\n'
    (pair,) = read_pairs({"ledger": known + stranger})
    assert (pair.destination, pair.requests) == ("ledger", 2)


def test_a_version_known_from_the_endpoint_alone_counts() -> None:
    text = line("istio_requests_total", 2, destination_version="unknown", destination_canonical_revision="v2")
    (pair,) = read_pairs({"front": text})
    assert pair.versions == {"v2": 2}


def test_what_found_no_endpoint_went_over_no_connection_and_to_no_version() -> None:
    lost = {
        "destination_workload": "unknown",
        "destination_version": "unknown",
        "destination_canonical_revision": "latest",
        "connection_security_policy": "unknown",
        "response_flags": "UH",
        "response_code": "503",
    }
    text = "\n".join([line("istio_requests_total", 3), line("istio_requests_total", 1, **lost)])
    (pair,) = read_pairs({"front": text})
    assert (pair.requests, pair.failures, pair.mtls, pair.versions) == (4, 1, True, {"v1": 3})


def test_what_was_plain_before_the_load_does_not_count() -> None:
    tally = Tally()
    take(tally, "front", 1, line("istio_requests_total", 1, connection_security_policy="none"))
    tally.begin()
    take(
        tally,
        "front",
        1,
        "\n".join(
            [
                line("istio_requests_total", 1, connection_security_policy="none"),
                line("istio_requests_total", 5, destination_version="v2"),
            ]
        ),
    )
    (pair,) = tally.total()
    assert (pair.requests, pair.mtls, pair.versions) == (5, True, {"v2": 5})


def test_a_call_without_a_status_has_failed_unless_its_caller_went_away() -> None:
    grpc = {"request_protocol": "grpc", "response_code": "200", "grpc_response_status": ""}
    (pair,) = read_pairs({"front": line("istio_requests_total", 1, **grpc, response_flags="UH")})
    assert pair.failures == 1
    (pair,) = read_pairs({"front": line("istio_requests_total", 1, **grpc, response_flags="DC")})
    assert pair.failures == 0
