"""The registry API between an application and its sidecar: what SOFARPC's `mesh` registry and its Python clients speak.

`requests` reads what they post, `machine` decides, `keep` outlives a restart, `serve` binds the three to engine and brain.
"""
