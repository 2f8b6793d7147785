"""The control plane: sources, graph, compile, xDS, identity and REST, put together. `main` is the composition
root."""
