"""The probe of a WorkloadGroup, as a cluster with an active health check that gets no traffic.

In: ``ProbeTraits``. Out: a Cluster resource. Mainstay's sidecars run the check in their engine and report its outcome on the xDS
stream; the workload enters endpoints when it passes. Other software has no way to report it and gets none: the agent beside
it does, on a stream of its own.
"""

from mainstay.compile import names
from mainstay.compile.facts import Facts
from mainstay.compile.resource import Fields, Resource, duration, extension, make_resource, struct
from mainstay.compile.traits import ProbeTraits, Proxy
from mainstay.model.key import ObjectKey
from mainstay.model.problem import Problem
from mainstay.model.workload import ExecProbe, GrpcProbe, HttpProbe, Probe, TcpProbe

LOOPBACK = "127.0.0.1"
EXEC = "mainstay.dev/exec"
"""Name of the health check that is a command; Mainstay's sidecars know it, if they are allowed to run any."""
_TYPED_STRUCT = "xds.type.v3.TypedStruct"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def plan_probe(facts: Facts, proxy: Proxy) -> tuple[ProbeTraits, ...]:
    """Return the probe's step, if the proxy registers into a group that has one and can report it."""
    if proxy.kind == "gateway" or not proxy.group or proxy.capability.software != "mainstay":
        return ()
    group = facts.workload_group(ObjectKey(proxy.namespace, proxy.group))
    if group is None or group.probe is None:
        return ()
    # In explicit mode the workload's address is the inbound listener's; the application is behind it, on loopback.
    is_behind = proxy.interception == "NONE" or not proxy.addresses
    return (ProbeTraits(group.key, LOOPBACK if is_behind else proxy.addresses[0]),)


def compile_probe(facts: Facts, traits: ProbeTraits) -> Resource:
    """Compile the cluster; a group whose probe has gone gives one without a check."""
    name = names.probe_cluster(traits.group)
    fields: Fields = {"name": name, "type": "STATIC", "connect_timeout": duration(10_000)}
    group = facts.workload_group(traits.group)
    problems: list[Problem] = []
    if group is not None and group.probe is not None:
        said: Fields = {}
        if isinstance(group.probe.check, TcpProbe):
            said = _heartbeat(facts, group.probe.check.heartbeat, traits.group, problems)
        fields |= _checked(name, group.probe, traits.address, said)
    return make_resource("cluster", name, fields, (), problems)


def _heartbeat(facts: Facts, name: str, group: ObjectKey, problems: list[Problem]) -> Fields:
    """Return what is said and heard. A protocol that nobody described was reported with the object; connecting is left."""
    protocol = facts.protocol(name) if name else None
    if protocol is None:
        return {}
    if not protocol.heartbeat:
        problem = Problem(
            code="MS4206",
            severity="warning",
            object=f"WorkloadGroup/{group}",
            path="metadata.annotations",
            reason=f"{name} has no heartbeat whose bytes are known beforehand: the probe only connects",
            remedy="Leave the annotation out, or probe by a command that speaks the protocol",
        )
        problems.append(problem)
        return {}
    send, receive = protocol.heartbeat
    return {"send": {"text": send.hex()}, "receive": [{"text": receive.hex()}]}


def _checked(name: str, probe: Probe, address: str, said: Fields) -> Fields:
    check: Fields = {
        "timeout": duration(probe.timeout),
        "interval": duration(probe.period),
        # Without traffic, as here, this is the interval that counts in Envoy's terms.
        "no_traffic_interval": duration(probe.period),
        "initial_jitter": duration(probe.initial_delay),
        "healthy_threshold": {"value": probe.success_threshold},
        "unhealthy_threshold": {"value": probe.failure_threshold},
    }
    transport: Fields = {}
    match probe.check:
        case HttpProbe(port, path, host, scheme, headers):
            added = [{"header": {"key": key, "value": value}} for key, value in headers]
            statuses = [{"start": 200, "end": 400}]
            check["http_health_check"] = {
                "path": path,
                "request_headers_to_add": added,
                "expected_statuses": statuses,
            }
            if scheme == "https":
                # As Kubernetes does: a probe asks whether somebody answers, not who.
                transport = {"transport_socket": extension("envoy.transport_sockets.tls", _TLS)}
        case TcpProbe(port, host):
            check["tcp_health_check"] = said
        case GrpcProbe(port, service):
            host = ""
            check["grpc_health_check"] = {"service_name": service}
        case ExecProbe(command):
            value = struct({"command": command})
            check["custom_health_check"] = extension(EXEC, _TYPED_STRUCT, {"type_url": EXEC, "value": value})
            return {"health_checks": [check]}
    target = {"socket_address": {"address": host or address, "port_value": port}}
    member = {"endpoint": {"address": target}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [member]}]}
    return {"load_assignment": assignment, "health_checks": [check], **transport}
