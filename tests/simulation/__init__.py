"""The deterministic simulator: the real server and the real SDK under a simulated clock, network and disk.

One seed decides everything: what the robots do, which faults happen and when, how bytes are torn.
`python -m tests.simulation --seeds 100` runs a hundred worlds; docs/explanation/simulation.md explains.
"""
