"""All faults: one file for each thing that breaks."""

from tests.chaos.faults import disk, network, process

ALL_FAULTS = (*process.FAULTS, *disk.FAULTS, *network.FAULTS)
