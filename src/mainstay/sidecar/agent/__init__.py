"""The Python half alone, beside a proxy of other software: Envoy, or gRPC's library inside the application.

It joins, renews, registers the workload and runs its probe by the same brain as a sidecar; `files` keeps the certificates as
files, `envoy_bootstrap` and `grpc_bootstrap` tell the proxy where to find them and the control plane, `envoy` (a machine) and
`process` keep an Envoy running. Loaded only with `--proxy`.
"""
