"""The REST API: Kubernetes' shapes for objects, `/v1/…` for what has none there. Built by `app`, on loopback
only."""
