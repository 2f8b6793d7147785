"""Access logs and traces of a chain, by the mesh's settings.

In: ``Mesh``. Out: access loggers; JSON with the fields of Istio's default format, or the proxy's default text. How traces begin.
"""

from mainstay.compile.resource import Fields, extension, struct
from mainstay.model.mesh import Mesh

_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_LOG_FIELDS = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
_NOT_OF_CALLS = (
    "connection_termination_details",
    "upstream_service_time",
    "x_forwarded_for",
    "user_agent",
    "request_id",
)
_OF_CALLS = {
    "method": "%METHOD%",
    "path": "%PATH%",
    "authority": "%HOST%",
    "rpc_status": "%GENERIC_RESPONSE_CODE%",
}
_OF_DESCRIBED_CALLS = {
    **_OF_CALLS,
    # `%PATH%` is the service alone, as Envoy tells it.
    "path": "%REQ(:PATH)%",
    "rpc_one_way": "%RPC_ONE_WAY%",
    "trace_id": "%TRACE_ID%",
    "request_id": "%RPC_REQUEST_ID%",
}
"""What Envoy's generic proxy calls things, and what a proxy of ours knows besides (``docs/reference/access-log.md``)."""


def rpc_access_log(mesh: Mesh, described: bool) -> list[Fields]:
    """Return the access loggers of a generic proxy: the same fields, of a call."""
    if mesh.access_log != "JSON":
        return access_log(mesh)
    fields = {name: text for name, text in _LOG_FIELDS.items() if name not in _NOT_OF_CALLS}
    fields |= _OF_DESCRIBED_CALLS if described else _OF_CALLS
    return [extension("envoy.access_loggers.file", _LOG, _json(fields))]


def _json(fields: dict[str, str]) -> Fields:
    return {"path": "/dev/stdout", "log_format": {"json_format": struct(fields)}}


def tracing(mesh: Mesh) -> Fields:
    """Return the field that says how traces begin, if they do; nothing exports spans."""
    if mesh.trace_sampling is None:
        return {}
    return {"tracing": {"random_sampling": {"value": mesh.trace_sampling}}}


def access_log(mesh: Mesh) -> list[Fields]:
    """Return the access loggers of a chain: none, or standard output."""
    if mesh.access_log == "OFF":
        return []
    fields = _json(_LOG_FIELDS) if mesh.access_log == "JSON" else {"path": "/dev/stdout"}
    return [extension("envoy.access_loggers.file", _LOG, fields)]
