"""All faults: one file for each thing that breaks."""

from tests.chaos.faults import disk, network, packets, process, resources, storage_calls

ALL_FAULTS = (
    *process.FAULTS,
    *disk.FAULTS,
    *storage_calls.FAULTS,
    *network.FAULTS,
    *packets.FAULTS,
    *resources.FAULTS,
)
