"""Faults of answers: inserts that are done, or are not, and nobody learns which."""

import asyncio
import random
from typing import Any

from tests.chaos.cluster.scene import Cluster
from tests.chaos.fault import Fault

_LOST: dict[str, dict[str, Any]] = {
    "the connection breaks": {"closeConnection": True},
    "no majority confirms it in time": {
        "writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}
    },
    "the primary is none any more": {"errorCode": 10107},
    "it is shut down": {"errorCode": 91},
}


async def lose_answers(cluster: Cluster, dice: random.Random) -> None:
    name, for_s = "ambiguous writes", dice.uniform(1.0, 4.0)
    commands = dice.choice([["insert"], ["insert"], ["update"], ["insert", "update", "find"]])
    why = dice.choice(list(_LOST))
    if "find" in commands:
        why = "the connection breaks"
    share = dice.choice([0.3, 0.9])
    cluster.fault(name, why=why, of=commands, share=share, for_s=round(for_s, 2))
    member = await cluster.primary()
    fail = cluster.mongo.fail_some
    await asyncio.to_thread(fail, member, commands, share=share, how=_LOST[why])
    try:
        await asyncio.sleep(for_s)
    finally:
        await asyncio.to_thread(fail, member, commands, share=0.0)
    cluster.healed(name)
    await cluster.wait_sound(name)


FAULTS = (
    Fault(
        "ambiguous writes",
        "a share of the inserts, updates or reads ends without an answer, or with an unclear one",
        lose_answers,
        often=4,
    ),
)
