"""Meshes to look at, as package data: `mainstay up shop`."""
