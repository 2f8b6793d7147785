"""What keeps a cluster from being overrun, and calls from endpoints that fail: circuit breakers and outlier detection."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.refuse import at, check, known, unsupported
from mainstay.sidecar.convert.remembered import remembered

_CIRCUIT_BREAKERS_FIELDS = known("envoy.config.cluster.v3.CircuitBreakers", {"thresholds"})
_OUTLIER_DETECTION_FIELDS = known(
    "envoy.config.cluster.v3.OutlierDetection",
    {
        "consecutive_5xx",
        "interval",
        "base_ejection_time",
        "max_ejection_time",
        "max_ejection_percent",
        "enforcing_consecutive_5xx",
        "enforcing_success_rate",
        "consecutive_gateway_failure",
        "enforcing_consecutive_gateway_failure",
        "split_external_local_origin_errors",
        "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure",
        "enforcing_local_origin_success_rate",
        "enforcing_failure_percentage",
    },
)


@remembered
def circuit_breakers(message: Any) -> plan.CircuitBreakers:
    """`envoy.config.cluster.v3.CircuitBreakers`."""
    default, high = plan.Thresholds(), plan.Thresholds()
    with at("circuit_breakers"):
        check(message, _CIRCUIT_BREAKERS_FIELDS)
        for index, threshold in enumerate(message.thresholds):
            with at(f"thresholds[{index}]"):
                if threshold.priority == 1:
                    high = _threshold(threshold)
                else:
                    default = _threshold(threshold)
    return plan.CircuitBreakers(default, high)


_NO_LIMIT = 1 << 31
"""Istio writes 2^32-1 for "no limit"; whatever is beyond any machine counts as that."""
_THRESHOLDS_FIELDS = known(
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
    {
        "priority",
        "max_connections",
        "max_pending_requests",
        "max_requests",
        "max_retries",
        "retry_budget",
        "track_remaining",
    },
)


def _threshold(message: Any) -> plan.Thresholds:
    check(message, _THRESHOLDS_FIELDS)

    def of(field: str, default: int) -> int | None:
        value = values.wrapped(message, field, default)
        return None if value >= _NO_LIMIT else int(value)

    budget = message.retry_budget if message.HasField("retry_budget") else None
    percent = None
    if budget is not None:
        with at("retry_budget"):
            percent = values.percentage(budget, "budget_percent", 20.0)
    return plan.Thresholds(
        of("max_connections", 1_024),
        of("max_pending_requests", 1_024),
        of("max_requests", 1_024),
        of("max_retries", 3),
        percent,
        values.wrapped(budget, "min_retry_concurrency", 3) if budget is not None else 3,
    )


@remembered
def outlier_detection(found: Any) -> plan.OutlierDetection:
    """`envoy.config.cluster.v3.OutlierDetection`."""
    with at("outlier_detection"):
        check(
            found,
            _OUTLIER_DETECTION_FIELDS,
        )
        for field in (
            "enforcing_success_rate",
            "enforcing_local_origin_success_rate",
            "enforcing_failure_percentage",
        ):
            # Istio writes 0 to switch it off; Envoy's default of 100 needs more hosts than our first users have.
            if values.wrapped(found, field, 0) > 0:
                unsupported(field, "success-rate outlier detection is not supported yet; set it to 0")
    base = values.milliseconds(found, "base_ejection_time", 30_000) or 30_000
    return plan.OutlierDetection(
        values.wrapped(found, "consecutive_5xx", 5) or None,
        values.wrapped(found, "consecutive_gateway_failure", 5) or None,
        values.wrapped(found, "consecutive_local_origin_failure", 5) or None,
        found.split_external_local_origin_errors,
        values.milliseconds(found, "interval", 10_000) or 10_000,
        base,
        max(base, values.milliseconds(found, "max_ejection_time", 300_000) or 300_000),
        values.wrapped(found, "max_ejection_percent", 10),
        values.wrapped(found, "enforcing_consecutive_5xx", 100),
        values.wrapped(found, "enforcing_consecutive_gateway_failure", 0),
        values.wrapped(found, "enforcing_consecutive_local_origin_failure", 100),
    )
