"""The xDS protocol (v3) as machines without I/O, and one file that does the gRPC of the server.

`types` is the one table of resource types, `messages` what goes over the wire. `client` is loaded by sidecars, `server` and
`serve_grpcio` by the control plane, never both. Knows nothing of the graph, of compiling or of the engine's plan.
"""
