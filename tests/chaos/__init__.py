"""Chaos on the real thing: a server, robots in processes of their own, and faults one after another.

Read in this order: `run` (a run from its beginning to its verdict), `world` (what faults act on),
`faults` (one file for each thing that breaks), `client` (what the robots do), `proxy` (a network that can
be spoilt), `report`. Run it by ``make chaos``; docs/explanation/chaos.md says what it shows and what it
cannot.
"""
