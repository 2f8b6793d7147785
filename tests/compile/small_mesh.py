"""A small mesh as facts, for tests that look at one step."""

from mainstay.compile.capability import Capability
from mainstay.compile.facts import Fact
from mainstay.compile.traits import Proxy
from mainstay.model.endpoints import Endpoint, EndpointAttributes, EndpointSet, pack_endpoints
from mainstay.model.key import EndpointSetKey, ObjectKey, ServiceKey, labels_of
from mainstay.model.locality import Locality
from mainstay.model.protocol import PortProtocol
from mainstay.model.scope import EgressListener, HostPattern, IngressListener, Scope
from mainstay.model.service import Service, ServicePort

REVIEWS = ServiceKey("shop", "reviews.shop.svc.cluster.local")
RATINGS = ServiceKey("shop", "ratings.shop.svc.cluster.local")
DATABASE = ServiceKey("data", "orders.data.svc.cluster.local")

MESHED = EndpointAttributes(
    locality=Locality("eu", "a"),
    identity="spiffe://cluster.local/ns/shop/sa/reviews",
    labels=labels_of({"app": "reviews", "version": "v1"}),
    meshed=True,
    h2_tunnel=True,
    workload="reviews-1",
    namespace="shop",
    canonical_name="reviews",
    canonical_revision="v1",
    cluster="c1",
)


def service(
    key: ServiceKey, *ports: tuple[int, PortProtocol], addresses: tuple[str, ...] = (), **further: object
) -> Service:
    made = tuple(ServicePort(number, f"{protocol}-{number}", protocol, number) for number, protocol in ports)
    return Service(key, made, addresses, **further)  # type: ignore[arg-type]


def endpoints(key: ServiceKey, port: int, *rows: Endpoint) -> EndpointSet:
    return pack_endpoints(EndpointSetKey(key, port, "test"), rows)


def sidecar(**changes: object) -> Proxy:
    fields: dict[str, object] = {
        "node": "sidecar~127.1.0.1~front-1.shop~shop.svc.cluster.local",
        "namespace": "shop",
        "labels": labels_of({"app": "front", "version": "v1"}),
        "addresses": ("127.1.0.1",),
        "interception": "NONE",
        "capability": Capability("mainstay"),
    }
    return Proxy(**{**fields, **changes})  # type: ignore[arg-type]


EXPLICIT = Scope(
    ObjectKey("shop", "front"),
    labels_of({"app": "front"}),
    egress=(
        EgressListener(
            (HostPattern("shop", REVIEWS.host),), 9080, PortProtocol.HTTP, "http", "127.2.0.1", "NONE"
        ),
        EgressListener(
            (HostPattern("*", DATABASE.host),), 3306, PortProtocol.TCP, "tcp", "127.2.0.2", "NONE"
        ),
    ),
    ingress=(IngressListener(8080, PortProtocol.HTTP, "http", "127.1.0.1", "NONE", "127.3.0.1:8080"),),
)

SHOP: tuple[Fact, ...] = (
    service(REVIEWS, (9080, PortProtocol.HTTP)),
    service(RATINGS, (9080, PortProtocol.AUTO), addresses=("10.0.0.9",)),
    service(DATABASE, (3306, PortProtocol.TCP)),
    endpoints(REVIEWS, 9080, Endpoint("127.1.0.2", 9080, attributes=MESHED), Endpoint("10.0.0.2", 9080)),
    endpoints(DATABASE, 3306, Endpoint("10.0.0.3", 3306)),
    EXPLICIT,
)
