"""Access logs of a chain, by the mesh's settings.

In: ``Mesh``. Out: access loggers; JSON with the fields of Istio's default format, or the proxy's default text.
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
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}


def access_log(mesh: Mesh) -> list[Fields]:
    """Return the access loggers of a chain: none, or standard output."""
    if mesh.access_log == "OFF":
        return []
    fields: Fields = {"path": "/dev/stdout"}
    if mesh.access_log == "JSON":
        fields["log_format"] = {"json_format": struct(_LOG_FIELDS)}
    return [extension("envoy.access_loggers.file", _LOG, fields)]
