"""Istio's kinds: what authors write, how it becomes facts, what is checked. A file per kind in each folder."""
