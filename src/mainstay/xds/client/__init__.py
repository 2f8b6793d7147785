"""The client's half of xDS: a machine the sidecar drives over the engine's gRPC. See `stream`."""
