"""What Istio's objects refer to, and how they conflict. Pure; a file per kind."""
