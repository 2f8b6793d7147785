"""Mainstay, a service mesh for mixed estates: Python is its brain, Rust its muscle."""
