"""Which protocols a proxy of ours has, as it tells its control plane.

A sidecar knows some protocols by itself: descriptions that come with it, and native codecs. What the control plane has and an
older sidecar lacks must not be named to it, since a listener that names one codec too many is refused whole.
"""

PROTOCOLS_METADATA = "MAINSTAY_PROTOCOLS"
"""Node metadata: the names, joined by commas."""

HAD_BEFORE = ("bolt", "dubbo", "thrift")
"""Those of a proxy that does not tell."""
