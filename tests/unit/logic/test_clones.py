"""What is known of the starts of devices when the store fails meanwhile."""

from collections.abc import Sequence

import pytest

from imserver.core.acts import Act, ActKind
from imserver.core.errors import StoreUnavailable
from imserver.core.model import Boot
from imserver.data.memory.administration import MemoryAdministration, MemoryBoots
from imserver.logic.clones import CloneGuard, Holder
from imserver.protocol.client_frames import Hello
from imserver.protocol.errors import CloseCode
from imserver.protocol.names import DeviceName, RobotName
from tests.unit.logic.logic_tier import LogicTier

R1, MAIN = RobotName("r1"), DeviceName("main")
AWAY = StoreUnavailable("the disk is away")


class FirstFails(MemoryBoots):
    """Boots of which the first note fails."""

    has_failed = False

    async def note_boot(self, robot: RobotName, device: DeviceName, boot: Boot) -> None:
        if not self.has_failed:
            self.has_failed = True
            raise AWAY
        await super().note_boot(robot, device, boot)


class FirstActFails(MemoryAdministration):
    """An administration that does not take the first acts."""

    has_failed = False

    async def perform(self, acts: Sequence[Act]) -> list[bool]:
        if not self.has_failed:
            self.has_failed = True
            raise AWAY
        return await super().perform(acts)


def guard(tier: LogicTier, boots: MemoryBoots) -> CloneGuard:
    return CloneGuard(boots, tier.ledger, policy="keep", clock=tier.clock)


async def test_a_start_that_could_not_be_stored_is_stored_when_it_comes_again(
    tier: LogicTier,
) -> None:
    boots, hello = FirstFails(), Hello(robot="r1", boot=5, instance="a")
    clones = guard(tier, boots)
    with pytest.raises(StoreUnavailable):
        await clones.judge(R1, MAIN, hello, None)
    assert await clones.judge(R1, MAIN, hello, None) is None
    assert await boots.last_boot(R1, MAIN) == Boot(5, "a")


async def test_a_clone_whose_report_could_not_be_stored_is_reported_when_it_comes_again(
    tier: LogicTier,
) -> None:
    tier.ledger._administration = administration = FirstActFails({}, set())
    clones, holder = guard(tier, MemoryBoots()), Holder("a", lambda: True)
    clone = Hello(robot="r1", boot=5, instance="b")
    await clones.judge(R1, MAIN, Hello(robot="r1", boot=5, instance="a"), None)
    with pytest.raises(StoreUnavailable):
        await clones.judge(R1, MAIN, clone, holder)
    for _ in range(2):
        refused = await clones.judge(R1, MAIN, clone, holder)
        assert refused is not None and refused.code == CloseCode.CLONED
    acts = await administration.acts(before=None, limit=9)
    assert [act.kind for act in acts] == [ActKind.CLONE_SEEN], "once"
