"""Mainstay's own kinds, for what Istio's API has no word for."""
