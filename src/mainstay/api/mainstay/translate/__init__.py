"""Mainstay's own objects → facts. Pure; a file per kind."""
