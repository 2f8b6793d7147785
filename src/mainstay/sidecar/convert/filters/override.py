"""Per-route settings of HTTP filters (`typed_per_filter_config`)."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert.filters.table import OVERRIDES, open_config, type_of
from mainstay.sidecar.convert.refuse import at, unsupported

_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"


def overrides(configs: Any, field: str = "typed_per_filter_config") -> plan.FilterOverrides:
    """By the filter's name, in the order of names. `field`: where they stand."""
    found: list[tuple[str, plan.HttpFilterConfig]] = []
    for name in sorted(configs):
        with at(f"{field}[{name!r}]"):
            config = configs[name]
            optional = False
            if type_of(config) == _FILTER_CONFIG:
                _, wrapper = open_config(config, "")
                if wrapper.disabled:
                    found.append((name, plan.DisabledFilter()))
                    continue
                optional, config = wrapper.is_optional, wrapper.config
            kind = type_of(config)
            if kind not in OVERRIDES:
                if not optional:
                    unsupported("", f"{kind} is not supported")
                continue
            _, message = open_config(config, "")
            found.append((name, OVERRIDES[kind](message)))
    return tuple(found)
