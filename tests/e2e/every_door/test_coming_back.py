"""Robots that are away for a while, or lose their connection in the middle: no gap, no double."""

from tests.e2e.every_door.company import Company, agree
from tests.e2e.every_door.member import Member
from tests.e2e.wire import together

MISSED = 200


def seqs(member: Member, conv: str) -> list[int]:
    return [event["seq"] for event in member.logs[conv]]


async def test_who_was_away_gets_what_it_missed_and_then_what_comes(company: Company) -> None:
    robots = await company.everybody()
    speaker, *away = robots
    conv = await company.group(*robots)
    for robot in away:
        await robot.until(conv, 1)
        await robot.vanish()
    await speaker.send_all(conv, range(MISSED))
    for robot in away:
        await robot.come()
    # The seam is in the middle: what comes is sent while the missed part is on its way.
    head = 1 + MISSED + 50
    await together(speaker.send_all(conv, range(50)), *(read(robot, conv, head) for robot in away))
    await agree(conv, *robots)
    for robot in away:
        assert seqs(robot, conv) == list(range(1, head + 2))


async def test_who_forgot_everything_goes_on_behind_its_last_ack(company: Company) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)
    for number in range(10):
        await robots[number % len(robots)].send(conv, number)
    for robot in robots:
        robot.acking = False
        await robot.until(conv, 11)
        await robot.ack(conv, 4)
        await robot.ack(conv, 7)
        await robot.ack(conv, 5)  # never backwards
        assert await robot.acked(conv) == 7
        await robot.vanish()
        robot.forget()
        await robot.come()
        await robot.until(conv, 11)
        assert seqs(robot, conv) == [8, 9, 10, 11]
    await agree(conv, *robots)


async def test_who_remembers_goes_on_behind_its_last_event_whatever_it_acked(
    company: Company,
) -> None:
    robots = await company.everybody()
    speaker, *readers = robots
    conv = await company.group(*robots)
    for robot in readers:
        robot.acking = False
    head = 1
    for _ in range(4):
        head = (await speaker.send(conv, "next"))["seq"]
        for robot in readers:
            await robot.until(conv, head)
            await robot.vanish()
        head = (await speaker.send(conv, "missed"))["seq"]
        for robot in readers:
            await robot.come()
    await agree(conv, *robots)
    for robot in readers:
        assert seqs(robot, conv) == list(range(1, head + 2))


async def test_a_sender_that_loses_its_connection_asks_again_and_all_is_there_once(
    company: Company,
) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)

    async def speak(robot: Member) -> None:
        for number in range(6):
            sent = await robot.send(conv, number, cid=f"c{number}")
            await robot.vanish()
            await robot.come()
            again = await robot.send(conv, number, cid=f"c{number}")
            assert again["dup"] and again["seq"] == sent["seq"]

    await together(*map(speak, robots))
    log = await agree(conv, *robots)
    assert len(log) == 1 + 6 * len(robots) + 1


async def test_an_ack_beyond_the_head_is_a_conflict(company: Company) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)
    for robot in robots:
        await robot.until(conv, 1)
        assert await robot.refused_with("ack", conv=conv, seq=99) == "conflict"
    await agree(conv, *robots)


async def read(member: Member, conv: str, seq: int) -> None:
    """Let a member read until its log is at ``seq``."""
    await member.until(conv, seq)
