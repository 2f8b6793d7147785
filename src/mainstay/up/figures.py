"""Who called whom, how often, how well and how fast: read from the sidecars' own metrics.

In: Prometheus text of each sidecar and gateway. Out: `Pair`s, summed over instances. Invariant: a pair is reported by its
source where the source is in the mesh and has a proxy that reports, else by its destination; so no request is counted twice.
Pure; called each second. What Envoy's counters say is read by `envoy_figures`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

NOBODY: Mapping[str, str] = {}

OUTSIDE = "outside"
"""Name of callers that have no sidecar."""

_LINE = re.compile(r"^(istio_[a-z_]+)\{(.*)\} (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

HTTP_FAILED = 500
GRPC_OK = "0"
# gRPC statuses that are the caller's doing: CANCELLED, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
# FAILED_PRECONDITION, OUT_OF_RANGE, UNAUTHENTICATED.
GRPC_CALLER = frozenset({"1", "3", "5", "6", "7", "9", "11", "16"})


class Histogram(msgspec.Struct):
    """Cumulative counts by upper bound in milliseconds."""

    counts: dict[float, float] = {}

    def add(self, bound: float, count: float) -> None:
        self.counts[bound] = self.counts.get(bound, 0.0) + count

    def since(self, earlier: Histogram) -> Histogram:
        """What has come since an earlier reading of the same histogram."""
        return Histogram(
            {bound: count - earlier.counts.get(bound, 0.0) for bound, count in self.counts.items()}
        )

    def quantile(self, share: float) -> float | None:
        """Milliseconds below which `share` (0 to 1) of the values lie, interpolated inside a bucket; `None` without values."""
        bounds = sorted(self.counts)
        total = self.counts[bounds[-1]] if bounds else 0.0
        if total <= 0:
            return None
        wanted = share * total
        below, lower = 0.0, 0.0
        for bound in bounds:
            count = self.counts[bound]
            if count >= wanted:
                if bound == float("inf") or count == below:
                    return lower
                return lower + (bound - lower) * (wanted - below) / (count - below)
            below, lower = count, bound
        return lower


class Pair(msgspec.Struct):
    """One source calling one destination over one protocol."""

    source: str
    destination: str
    protocol: str
    requests: int = 0
    """Requests, or connections for TCP."""
    failures: int = 0
    mutual: int = 0
    """Requests over mutual TLS."""
    plain: int = 0
    """Requests that reached the other side without it."""
    versions: dict[str, int] = {}
    """Requests by the destination's version."""
    duration: Histogram = msgspec.field(default_factory=Histogram)

    @property
    def mtls(self) -> bool | None:
        """Whether all requests were over mutual TLS; `None` where one end is outside the mesh, or none reached the other."""
        if OUTSIDE in (self.source, self.destination) or not (self.mutual or self.plain):
            return None
        return not self.plain


class Sample(msgspec.Struct, frozen=True):
    name: str
    labels: dict[str, str]
    value: float


def read_samples(text: str) -> Iterator[Sample]:
    """Istio's metrics in Prometheus text; other lines are passed over."""
    for line in text.splitlines():
        if found := _LINE.match(line):
            labels = {name: _unescape(value) for name, value in _LABEL.findall(found[2])}
            try:
                yield Sample(found[1], labels, float(found[3]))
            except ValueError:
                continue


def read_pairs(texts: Mapping[str, str], silent: Mapping[str, str] = NOBODY) -> list[Pair]:
    """Pairs of all sidecars, sorted. `texts`: Prometheus text by the name of the workload or gateway. `silent`: account → name of
    sources in the mesh that report nothing themselves, such as gRPC's library."""
    pairs: dict[tuple[str, str, str], Pair] = {}
    for samples in (list(read_samples(text)) for text in texts.values()):
        for sample in samples:
            if key := _key_of(sample, silent):
                pair = pairs.setdefault(key, Pair(*key))
                _take(pair, sample)
    return [pairs[key] for key in sorted(pairs)]


def _key_of(sample: Sample, silent: Mapping[str, str]) -> tuple[str, str, str] | None:
    labels = sample.labels
    source, destination = _name(labels, "source"), _name(labels, "destination")
    if labels.get("reporter") == "destination":
        account = labels.get("source_principal", "").rpartition("/sa/")[2]
        if account in silent:
            return silent[account], destination, labels.get("request_protocol", "")
        # A peer of the mesh tells of it itself, also where only its certificate says who it is, as on byte streams.
        if source != OUTSIDE or labels.get("source_principal", "unknown") not in ("", "unknown"):
            return None
    elif destination == OUTSIDE:
        destination = labels.get("destination_service_name", OUTSIDE)
    return source, destination, labels.get("request_protocol", "")


def _name(labels: Mapping[str, str], side: str) -> str:
    for label in ("canonical_service", "app", "workload"):
        value = labels.get(f"{side}_{label}", "unknown")
        if value not in ("", "unknown"):
            return value
    return OUTSIDE


def _take(pair: Pair, sample: Sample) -> None:
    labels, count = sample.labels, round(sample.value)
    match sample.name:
        case "istio_requests_total":
            pair.requests += count
            pair.failures += count if _failed(labels) else 0
            _count_version(pair, labels, count)
            _secure(pair, labels, count)
        case "istio_tcp_connections_opened_total":
            pair.requests += count
            _count_version(pair, labels, count)
            _secure(pair, labels, count)
        case "istio_tcp_connections_closed_total":
            pair.failures += count if labels.get("response_flags", "-") not in ("-", "") else 0
        case "istio_request_duration_milliseconds_bucket":
            bound = labels.get("le", "+Inf")
            pair.duration.add(float("inf") if bound == "+Inf" else float(bound), sample.value)


def _count_version(pair: Pair, labels: Mapping[str, str], count: int) -> None:
    """The callee's version; a caller's proxy may know its revision only, from the endpoint."""
    if not _arrived(labels):
        return
    for label in ("destination_version", "destination_canonical_revision"):
        if (value := labels.get(label, "unknown")) not in ("", "unknown"):
            pair.versions[value] = pair.versions.get(value, 0) + count
            return


def _arrived(labels: Mapping[str, str]) -> bool:
    """A request that found no endpoint went nowhere: over no connection, to no version."""
    return labels.get("destination_workload", "") != "unknown"


def _secure(pair: Pair, labels: Mapping[str, str], count: int) -> None:
    if labels.get("connection_security_policy") == "mutual_tls":
        pair.mutual += count
    elif _arrived(labels):
        pair.plain += count


def _failed(labels: Mapping[str, str]) -> bool:
    status = labels.get("response_code", "0")
    grpc = labels.get("grpc_response_status", "")
    if labels.get("request_protocol") == "grpc":
        # A call that ends without a status has failed, unless its caller went away.
        gone = labels.get("response_flags") == "DC"
        return status != "200" or (grpc != GRPC_OK and grpc not in GRPC_CALLER and not gone)
    return not status.isdigit() or int(status) == 0 or int(status) >= HTTP_FAILED


def _unescape(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value)


def subtract(now: Iterable[Pair], earlier: Iterable[Pair]) -> list[Pair]:
    """What happened between two readings: for rates, and for figures after warm-up."""
    before = {(pair.source, pair.destination, pair.protocol): pair for pair in earlier}
    result = []
    for pair in now:
        past = before.get((pair.source, pair.destination, pair.protocol))
        if past is None:
            result.append(pair)
            continue
        more = {name: count - past.versions.get(name, 0) for name, count in pair.versions.items()}
        versions = {name: count for name, count in more.items() if count}
        result.append(
            Pair(
                pair.source,
                pair.destination,
                pair.protocol,
                pair.requests - past.requests,
                pair.failures - past.failures,
                pair.mutual - past.mutual,
                pair.plain - past.plain,
                versions,
                pair.duration.since(past.duration),
            )
        )
    return result


def unite(readings: Iterable[Iterable[Pair]]) -> list[Pair]:
    """Pairs of several readings added up, sorted: of several proxies, or of several lives of one."""
    united: dict[tuple[str, str, str], Pair] = {}
    for pairs in readings:
        for pair in pairs:
            key = (pair.source, pair.destination, pair.protocol)
            known = united.setdefault(key, Pair(*key))
            known.requests += pair.requests
            known.failures += pair.failures
            known.mutual += pair.mutual
            known.plain += pair.plain
            for version, count in pair.versions.items():
                known.versions[version] = known.versions.get(version, 0) + count
            for bound, value in pair.duration.counts.items():
                known.duration.add(bound, value)
    return [united[key] for key in sorted(united)]


def _went_back(before: list[Pair], now: list[Pair]) -> bool:
    requests = {(pair.source, pair.destination, pair.protocol): pair.requests for pair in now}
    return any(
        requests.get((pair.source, pair.destination, pair.protocol), 0) < pair.requests for pair in before
    )


class Tally:
    """Figures of all proxies since a moment, across their restarts: counters begin anew with a process, totals do not."""

    def __init__(self) -> None:
        self._ended: dict[str, list[Pair]] = {}
        self._latest: dict[str, tuple[int, list[Pair]]] = {}
        self._before: list[Pair] = []

    def take(self, proxy: str, life: int, pairs: list[Pair]) -> None:
        """A reading of one proxy; `life` tells one process of it from the next. Counters that go back tell it too: an Envoy may
        start anew while what looks after it lives on."""
        known = self._latest.get(proxy)
        if known is not None and (known[0] != life or _went_back(known[1], pairs)):
            self._ended[proxy] = unite([self._ended.get(proxy, []), known[1]])
        self._latest[proxy] = (life, pairs)

    def total(self) -> list[Pair]:
        """All pairs since the moment that `begin` marked."""
        return subtract(self._everything(), self._before)

    def begin(self) -> None:
        """Forget what was before: warm-up, and the checks of whoever starts the mesh."""
        self._before = self._everything()

    def _everything(self) -> list[Pair]:
        return unite([*self._ended.values(), *(pairs for _, pairs in self._latest.values())])
