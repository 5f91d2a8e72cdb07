"""Which channels of a Redis Cluster go together: by partition, and by the slot that a partition has.

A cluster gives each channel a slot, and each server some of the slots; one command may only name channels of
one slot. With a slot for each conversation, a node that comes back would need as many commands as it holds
conversations. So channels are dealt out to a fixed number of partitions, each in one slot, by a *hash tag*:
what stands in braces in a channel's name is all that its slot depends on.

Source of the idea: Centrifugo's sharded PUB/SUB partitions; the slots are those of the Redis Cluster
specification.
"""

from binascii import crc_hqx
from collections.abc import Iterable, Iterator
from typing import Final

PARTITIONS: Final = 256
SLOTS: Final = 16_384


def tagged(channel: str) -> str:
    """Return a channel's name in a cluster: with its partition in front."""
    return f"{{{partition_of(channel)}}}{channel}"


def untagged(channel: str) -> str:
    """Return the name of a channel that has its partition in front."""
    return channel.partition("}")[2]


def partition_of(channel: str) -> int:
    """Return a channel's partition."""
    return crc_hqx(channel.encode(), 0) % PARTITIONS


def slot_of(partition: int) -> int:
    """Return the slot that all channels of a partition have."""
    return crc_hqx(str(partition).encode(), 0) % SLOTS


def of_one_slot(tagged_channels: Iterable[str]) -> Iterator[list[str]]:
    """Yield the channels in lists that one command may name: those of a partition."""
    by_tag: dict[str, list[str]] = {}
    for channel in tagged_channels:
        by_tag.setdefault(channel.partition("}")[0], []).append(channel)
    yield from by_tag.values()
