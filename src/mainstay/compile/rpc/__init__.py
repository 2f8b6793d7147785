"""Ports of described RPC protocols, on Envoy's generic proxy: codecs, routes, matcher trees.

`codec` says which protocol a listener speaks, `table` makes routes of a service's rules out of `match` and `action`. Rules and
actions are those of HTTP: what the generic proxy has no field for travels beside it, to proxies that understand it.
"""
