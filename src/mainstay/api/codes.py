"""Every problem code with the paragraph that explains it; the reference page is made from this table.

In: looked up when a problem is made and by ``publish``. Invariants: a code is never reused, not even after its
removal; Istio's own codes (``IST0…``) keep Istio's meaning; a remedy is given where the problem is made.
"""

from __future__ import annotations

import msgspec

from mainstay.model.problem import Severity


class Code(msgspec.Struct, frozen=True):
    """A kind of fault: its code, how bad it is, a short title and what an author should know about it."""

    code: str
    severity: Severity
    title: str
    text: str


_TABLE = (
    Code(
        "MS1001",
        "error",
        "Unreadable text",
        "The text is neither YAML 1.2 nor, in a file named .json, JSON. A document that cannot be read is skipped up to the"
        " next line that begins with `---`; the others of the file are still checked.",
    ),
    Code(
        "MS1002",
        "error",
        "Key written twice",
        "A mapping has the same key twice. Most readers of YAML would silently keep the last one; which one was meant cannot"
        " be known.",
    ),
    Code(
        "MS1003",
        "error",
        "Anchor inside itself",
        "An alias (`*name`) stands inside the node it refers to, so the value would be endless.",
    ),
    Code(
        "MS1004",
        "error",
        "Nested too deep",
        "Objects may be nested 64 levels deep; no kind needs a third of it.",
    ),
    Code(
        "MS1005",
        "error",
        "Too large",
        "An object may have 1 MiB of text and, after its aliases are filled in, 100,000 values.",
    ),
    Code(
        "MS1006",
        "error",
        "Not an object",
        "A document must be a mapping with `apiVersion`, `kind` and `metadata.name`, or a `List` of such.",
    ),
    Code(
        "MS1007",
        "error",
        "Unknown kind",
        "No kind of this name exists in this API group and version. The reference page of kinds lists all of them.",
    ),
    Code(
        "MS1008",
        "error",
        "Unknown field",
        "The kind has no such field. Nothing is ignored silently: a misspelt field would otherwise look as if it worked.",
    ),
    Code(
        "MS1009",
        "error",
        "Not supported yet",
        "The field or value is part of the API but Mainstay does not act on it yet, so it is refused rather than ignored.",
    ),
    Code("MS1010", "error", "Missing field", "A field without which the object has no meaning is absent."),
    Code(
        "MS1011",
        "error",
        "Wrong type",
        "The value is not of the field's type. In YAML an unquoted scalar is read by the type of its field, so `on` or"
        " `0123` is text where text is wanted; a quoted one is always text.",
    ),
    Code(
        "MS1012",
        "error",
        "Value not allowed",
        "The value has the right type but lies outside the field's range, pattern, length or list of choices.",
    ),
    Code(
        "MS1013",
        "error",
        "Fields exclude each other",
        "Of these fields exactly one (or at most one) may be given.",
    ),
    Code(
        "MS1014",
        "error",
        "YAML feature not taken",
        "Tags other than `!!str`, merge keys (`<<`) and keys that are no plain scalars are refused: Kubernetes' tools and"
        " YAML 1.2 read them differently.",
    ),
    Code(
        "MS1101",
        "error",
        "Not a host name",
        "A host is a DNS name of at most 253 characters; `*` or a leading `*.` is allowed where the field says so. Short names"
        " are completed with the object's namespace: `reviews` means `reviews.<namespace>.svc.cluster.local`.",
    ),
    Code(
        "MS1102",
        "error",
        "Regular expression not usable",
        "Regular expressions follow RE2, which always takes linear time. Look-around (`(?=`, `(?!`, `(?<=`, `(?<!`),"
        " back-references (`\\1`, `(?P=name)`), possessive quantifiers and atomic groups do not exist there. They match"
        " the whole text, and are at most 1,024 characters long.",
    ),
    Code("MS1103", "error", "Not an address", "An IP address, a CIDR block or a DNS name is wanted here."),
    Code(
        "MS1104",
        "error",
        "Weights choose nothing",
        "When a route has several destinations, at least one needs a weight above 0.",
    ),
    Code(
        "MS1105",
        "error",
        "Duration not allowed",
        "This duration must be at least one millisecond; 0 does not mean endless. Leave the field out for its default.",
    ),
    Code(
        "MS1106",
        "error",
        "Fields contradict each other",
        "Each of the fields is fine, but not together: one of them would have no effect or the opposite one.",
    ),
    Code(
        "MS1107",
        "error",
        "Same name or number twice",
        "Entries of this list are found by a name or number, which must be unique.",
    ),
    Code(
        "MS1108",
        "error",
        "Not a header",
        "Header names are tokens of RFC 9110 §5.1 and are compared without case; names that begin with `:` cannot be"
        " changed. The `host` header of requests can be set (as `rewrite.authority` does), but not added or removed. Values have"
        " no line breaks and no NUL.",
    ),
    Code(
        "MS1109",
        "error",
        "Unknown retry condition",
        "`retryOn` takes Envoy's conditions for HTTP and gRPC and status codes, separated by commas.",
    ),
    Code(
        "MS1110",
        "error",
        "Unknown condition",
        "`when.key` takes Istio's attributes, e.g. `request.headers[x-version]`, `source.namespace`, `destination.port`.",
    ),
    Code(
        "MS1111",
        "error",
        "Not a certificate or key",
        "A secret needs a PEM certificate chain with its private key, or CA certificates, or both. Values under `data` are"
        " base64, those under `stringData` are text. The values themselves are never shown.",
    ),
    Code(
        "MS1112",
        "error",
        "Protocol contradicts itself",
        "The description of a protocol names what it does not have, puts a field where it cannot be found, or describes frames"
        " that cannot be told apart. `mainstay protocol new` writes one to begin with.",
    ),
    Code(
        "MS1113",
        "error",
        "Protocols begin alike",
        "Two descriptions call their detection certain, and the first bytes of a connection may fit both. Ports can be declared"
        " instead of detected.",
    ),
    Code(
        "MS1120",
        "error",
        "Not a gRPC service",
        "A workload whose own gRPC library takes part in the mesh (`proxy: grpc`) serves and calls gRPC alone: every port of its"
        " service, and of those it calls, is declared `protocol: grpc`.",
    ),
    Code(
        "MS2001",
        "error",
        "Object given twice",
        "Two objects of one kind have the same namespace and name in one set; which one was meant cannot be known."
        " Or there are two MeshSettings, which hold for the whole mesh.",
    ),
    Code(
        "MS2002",
        "warning",
        "Two rules for one host",
        "Two DestinationRules in one namespace name the same host for the same clients. The older one counts, together with"
        " subsets that only the other one has.",
    ),
    Code(
        "MS2003",
        "error",
        "Port not found",
        "The service has no port of this number, so the rule would never apply.",
    ),
    Code(
        "MS2004",
        "warning",
        "Host defined twice",
        "Two services in one namespace claim the same host. The older one gives ports and settings.",
    ),
    Code(
        "MS2005",
        "warning",
        "Hosts match nothing",
        "Hosts of this egress list match no known service at present.",
    ),
    Code(
        "MS2006",
        "error",
        "Not in the file",
        "A Mesh document names a service, gateway or path that does not exist in it or beside it.",
    ),
    Code(
        "MS2007",
        "error",
        "Does not fit what the port speaks",
        "An RPCRoute is for a service none of whose ports speaks a described protocol; or a VirtualService asks for what only"
        " HTTP has, for calls of a service all of whose ports speak such protocols. `docs/rpc-routes.md` says which words mean"
        " what.",
    ),
    Code(
        "MS3001",
        "error",
        "File cannot be read",
        "The directory source found a file that it may not open. What the file gave before stays in use.",
    ),
    Code(
        "MS3002",
        "error",
        "Object defined twice",
        "The same kind, namespace and name comes from two files or sources. The first definition counts.",
    ),
    Code(
        "MS3003",
        "warning",
        "Stored, not yet taken up",
        "A write is safe in the store, but the control plane has not worked it in within the time that a client waits for.",
    ),
    Code(
        "MS3004",
        "error",
        "Record cannot be read",
        "The store holds something for this object that cannot be decoded, or was sealed with another key file.",
    ),
    Code(
        "MS4000",
        "error",
        "Could not be computed",
        "A bug of Mainstay: computing something failed in the middle. It fails alone, and its last good version stays in use.",
    ),
    Code(
        "MS4001",
        "error",
        "View is not consistent",
        "A bug of Mainstay: what a proxy would get refers to what it would not. The proxy keeps the view that it has.",
    ),
    Code(
        "MS4101",
        "error",
        "Policy cannot be expressed",
        "A rule of an AuthorizationPolicy uses what the proxies cannot judge. It fails closed: an ALLOW rule allows nobody, a"
        " DENY rule denies whatever the policy selects.",
    ),
    Code(
        "MS4201",
        "warning",
        "Byte streams cannot be told apart",
        "Two services have a TCP port of the same number and no address of their own, so one of them gets all connections.",
    ),
    Code(
        "MS4202",
        "warning",
        "Egress listener serves nothing",
        "A Sidecar's egress listener names a port that none of the services it may see has; nothing listens there.",
    ),
    Code(
        "MS4203",
        "warning",
        "Not done by this data plane",
        "Something written applies to a workload whose data plane cannot do it; the workload goes without. `docs/data-planes.md`"
        " says what each can do.",
    ),
    Code(
        "MS4204",
        "warning",
        "No meaning for RPC",
        "A rule of a VirtualService applies to a port that speaks RPC, and asks for what only HTTP has: that match or change is"
        " left out there. `docs/rpc-routes.md` says which words mean what.",
    ),
    Code(
        "MS4205",
        "error",
        "Unknown protocol of an application",
        "An application registered at its sidecar with a protocol that is neither one of Mainstay's nor a Protocol object: what"
        " it publishes gets no callers, and its own calls have no routes. `docs/registry-api.md`.",
    ),
    Code(
        "MS4206",
        "warning",
        "No heartbeat to probe with",
        "A WorkloadGroup wants its probe to speak the heartbeat of a protocol that has none, or none whose bytes can be known"
        " beforehand: the probe connects, and no more.",
    ),
    Code(
        "IST0101",
        "error",
        "Referenced object not found",
        "A host, subset, gateway or other object that is named here does not exist, or is not visible from this namespace.",
    ),
    Code(
        "IST0109",
        "error",
        "Conflicting hosts for the mesh",
        "Several VirtualServices give rules for the same host to sidecars. Their order would decide, and it is not defined:"
        " only the oldest one applies.",
    ),
    Code(
        "IST0110",
        "error",
        "Conflicting Sidecar selectors",
        "Two Sidecars of one namespace select the same workloads.",
    ),
    Code(
        "IST0111",
        "error",
        "Several Sidecars without selector",
        "A namespace may have one Sidecar without a workload selector; it is the namespace's default.",
    ),
    Code(
        "IST0112",
        "error",
        "Destination needs a port",
        "The service has several ports and the rule applies to connections, so the destination has to name one.",
    ),
    Code(
        "IST0128",
        "warning",
        "Server certificate is not verified",
        "TLS of mode SIMPLE or MUTUAL without `caCertificates` or `credentialName` encrypts, but accepts any server.",
    ),
    Code(
        "IST0129",
        "warning",
        "Server certificate is not verified on a port",
        "As IST0128, for one port of the service.",
    ),
    Code(
        "IST0130",
        "warning",
        "Unreachable rule",
        "A rule before this one takes every request it could match; rules are tried in order and the first fitting one wins.",
    ),
    Code(
        "IST0131",
        "info",
        "Ineffective match",
        "An earlier rule has the same match, so this one never decides; the rule's other matches still do.",
    ),
    Code(
        "IST0132",
        "warning",
        "Host not found in gateway",
        "No server of the gateway takes this host, so the rules are never reached through it.",
    ),
    Code(
        "IST0134",
        "warning",
        "Addresses required",
        "Without `addresses` a TCP port of this ServiceEntry can only be told from others by its number when traffic is"
        " intercepted.",
    ),
    Code(
        "IST0145",
        "error",
        "Conflicting gateways",
        "Two Gateways with the same selector use the same port for the same host.",
    ),
    Code(
        "IST0161",
        "error",
        "Invalid gateway credential",
        "The secret that `credentialName` names does not exist in the gateway's namespace, or lacks what the TLS mode needs.",
    ),
    Code(
        "IST0174",
        "warning",
        "Unknown DestinationRule host",
        "No service has the host of this DestinationRule at present.",
    ),
    Code(
        "IST0177",
        "warning",
        "Conflicting protocols of a ServiceEntry port",
        "Two ServiceEntries give the same port of the same host different protocols.",
    ),
)

CODES = {entry.code: entry for entry in _TABLE}
"""All codes, in the order of the reference page."""
