"""Benchmarks: Mainstay beside a byte relay, haproxy and Envoy in the same run. See `bench/README.md`."""
