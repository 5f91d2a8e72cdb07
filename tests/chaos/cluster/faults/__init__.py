"""All faults of a cluster: one file for each thing that breaks."""

from tests.chaos.cluster.faults import answers, mongods, nodes, partitions, redis

ALL_FAULTS = (
    *nodes.FAULTS,
    *mongods.FAULTS,
    *answers.FAULTS,
    *redis.FAULTS,
    *partitions.FAULTS,
)
