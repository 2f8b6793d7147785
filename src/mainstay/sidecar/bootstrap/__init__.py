"""From where a proxy starts: an Envoy v3 bootstrap (`document`, `read`), or the settings of a workload (`own`).

Both give a `Boot`; what is refused is refused by path, before anything listens.
"""
