"""Faults of answers: writes that are done, or are not, and nobody learns which."""

import asyncio
import random
from typing import Any

from tests.chaos.cluster.scene import Cluster
from tests.chaos.fault import Fault

_LOST: dict[str, dict[str, Any]] = {
    "the connection breaks": {"closeConnection": True},
    "the primary is none any more": {"errorCode": 10107},
    "it is shut down": {"errorCode": 91},
}
_UNCONFIRMED = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}


async def _fail(
    cluster: Cluster, dice: random.Random, name: str, *, why: str, how: dict[str, Any]
) -> None:
    commands = dice.choice([["insert"], ["insert"], ["insert", "update"]])
    share, for_s = dice.choice([0.3, 0.9]), dice.uniform(1.0, 4.0)
    cluster.fault(name, why=why, of=commands, share=share, for_s=round(for_s, 2))
    member = await cluster.primary()
    await asyncio.to_thread(cluster.mongo.fail_some, member, commands, share=share, how=how)
    try:
        await asyncio.sleep(for_s)
    finally:
        await asyncio.to_thread(cluster.mongo.fail_some, member, commands, share=0.0)
    cluster.healed(name)
    await cluster.wait_sound(name)


async def lose(cluster: Cluster, dice: random.Random) -> None:
    why = dice.choice(list(_LOST))
    await _fail(cluster, dice, "lost answers", why=why, how=_LOST[why])


async def leave_unconfirmed(cluster: Cluster, dice: random.Random) -> None:
    """Do the writes, and say that no majority has confirmed them in time."""
    why = "no majority confirms it in time"
    await _fail(cluster, dice, "unconfirmed writes", why=why, how=_UNCONFIRMED)


FAULTS = (
    Fault(
        "lost answers",
        "a share of the inserts and updates ends in a broken connection, or says that the primary is gone",
        lose,
        often=2,
    ),
    Fault(
        "unconfirmed writes",
        "a share of the inserts and updates is done, and its majority is not confirmed",
        leave_unconfirmed,
        often=2,
    ),
)
