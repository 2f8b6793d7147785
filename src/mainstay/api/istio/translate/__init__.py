"""Istio's objects → facts. Pure; a file per kind, or per kinds that share a shape."""
