"""Every cell of the table of permissions, asked of a real server over WebSocket and over HTTP."""

import itertools
from collections.abc import Iterator

import pytest

from imserver.core.scopes import Verb
from imserver.logic.permissions import ALLOWED, SCOPE, Operation
from imserver.protocol.events import Role
from tests.e2e.doors import OK, Door, HttpDoor, Scene, WebSocketDoor
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet, Peer

HIDDEN, FORBIDDEN = "not_found", "forbidden"
DOORS = pytest.mark.parametrize("door", [WebSocketDoor, HttpDoor], ids=["websocket", "http"])
OPERATIONS = pytest.mark.parametrize("operation", Operation, ids=lambda found: found.name.lower())
_tags = itertools.count(1)


class Site:
    """A server with an owner who makes a new group for each cell."""

    def __init__(self, fleet: Fleet, boss: Peer) -> None:
        self.fleet = fleet
        self.server: ServerProcess = fleet.server
        self.boss = boss
        self.subject, self.member, self.stranger = (
            fleet.name(name) for name in ("subject", "member", "stranger")
        )

    async def scene(self, role: Role | None, *, is_open: bool = False) -> Scene:
        """Make a group in which the subject has a role."""
        tag = next(_tags)
        conv = await self.fleet.group(self.boss, name=f"g{tag}", open=is_open)
        await self.boss.request("add_members", conv=conv, robots=[self.member])
        if role is not None:
            fields = {"robots": [self.subject], "role": role.value}
            await self.boss.request("add_members", conv=conv, **fields)
        sent = await self.boss.send(conv, "written by the boss")
        name = self.fleet.name(f"new{tag}")
        return Scene(conv, sent["seq"], self.member, self.stranger, name)


@pytest.fixture
async def site(fleet: Fleet) -> Site:
    boss = await fleet.online("boss", auto=False)
    for name in ("subject", "member", "stranger"):
        await fleet.register(name)
    return Site(fleet, boss)


def expected_of(operation: Operation, role: Role | None) -> str:
    """Return the answer that the table gives to a role, in words of its own."""
    if operation is Operation.CREATE_GROUP:
        return OK
    if operation is Operation.JOIN:
        return OK if role is None else "exists"
    if role is None:
        return HIDDEN
    return OK if role in ALLOWED[operation] else FORBIDDEN


@DOORS
@OPERATIONS
async def test_a_role_may_do_what_the_table_says(
    site: Site, door: type[WebSocketDoor] | type[HttpDoor], operation: Operation
) -> None:
    asking: Door = door()
    await asking.open(site.server, site.subject)
    answers, table = {}, {}
    for role in (*Role, None):
        scene = await site.scene(role, is_open=operation is Operation.JOIN)
        answers[role] = await asking.ask(operation, scene)
        table[role] = expected_of(operation, role)
    await asking.aclose()
    assert answers == table


@DOORS
@OPERATIONS
async def test_an_admin_of_the_deployment_does_what_an_owner_may(
    site: Site, door: type[WebSocketDoor] | type[HttpDoor], operation: Operation
) -> None:
    asking: Door = door()
    await asking.open(site.server, site.fleet.name("chief"), scopes=["admin"])
    answer = await asking.ask(operation, await site.scene(None, is_open=True))
    await asking.aclose()
    assert answer == (HIDDEN if operation is Operation.LEAVE else OK)


def scopes_of(conv: str) -> Iterator[tuple[str, str | None]]:
    """Yield scopes, and the verb by which each is about ``conv``, if it is."""
    for verb in Verb:
        yield f"{verb}:{conv}", verb
        yield f"{verb}:*", verb
        yield f"{verb}:{conv}x", None
    yield "*", "*"


@DOORS
@OPERATIONS
async def test_a_scope_reaches_as_far_as_the_table_says(
    site: Site, door: type[WebSocketDoor] | type[HttpDoor], operation: Operation
) -> None:
    answers, table = {}, {}
    for number in range(len(list(scopes_of("")))):
        role = None if operation is Operation.JOIN else Role.OWNER
        scene = await site.scene(role, is_open=operation is Operation.JOIN)
        creates = operation is Operation.CREATE_GROUP
        about = f"g/{scene.new_name}" if creates else scene.conv
        scope, verb = list(scopes_of(about))[number]
        asking: Door = door()
        await asking.open(site.server, site.subject, scopes=[scope])
        answers[scope] = await asking.ask(operation, scene)
        await asking.aclose()
        enough = verb in ("*", SCOPE[operation].value)
        table[scope] = OK if enough else FORBIDDEN if verb else HIDDEN
    assert answers == table


@DOORS
@pytest.mark.parametrize("operation", [o for o in Operation if o is not Operation.CREATE_GROUP])
async def test_what_is_missing_and_what_is_hidden_get_one_answer(
    site: Site, door: type[WebSocketDoor] | type[HttpDoor], operation: Operation
) -> None:
    """Neither a robot that is no member nor a token without a scope can tell the two apart."""
    scene = await site.scene(None)
    ghost = scene._replace(conv=f"{scene.conv}x")
    for scopes in (["*"], ["read:g/other"], [f"read:{scene.conv}", f"read:{ghost.conv}"]):
        asking: Door = door()
        await asking.open(site.server, site.subject, scopes=scopes)
        assert await asking.ask(operation, scene) == await asking.ask(operation, ghost)
        await asking.aclose()
