"""Chaos in a cluster: nodes, mongods, Redis and robots in network namespaces of their own.

Read in this order: `network` (the namespaces, the bridge, and how it is cut), `scene` (what faults act on),
`faults` (one file for each thing that breaks), `setting` (how it is made). The robots, the journal, the
report and the judges are those of `tests.chaos`. Run it by ``make chaos-cluster``.
"""
