"""The bench: a load generator in a process of its own, scenarios, and the table that a sceptic reads.

Not part of the distribution. ``python -m bench.quick`` is its entry.
"""
