"""All faults: one file for each thing that breaks."""

from tests.chaos.faults import (
    damage,
    disk,
    neighbours,
    network,
    packets,
    process,
    resources,
    starts,
    storage_calls,
)

ALL_FAULTS = (
    *process.FAULTS,
    *starts.FAULTS,
    *disk.FAULTS,
    *damage.FAULTS,
    *storage_calls.FAULTS,
    *neighbours.FAULTS,
    *network.FAULTS,
    *packets.FAULTS,
    *resources.FAULTS,
)
