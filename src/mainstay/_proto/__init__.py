"""Our subset of Envoy's types, in a descriptor pool of its own.

In: `types.fds`, written by `tools/build_proto.py`. Out: message classes. Invariant: nothing is registered in protobuf's default
pool and no package named `envoy`, `xds` or `udpa` is installed, so that Mainstay can live beside any other user of those types.
Knows no meaning; called by `compile`, `xds` and the sidecar.
"""
