"""Robots over HTTP, on a server of the test's own or on the one for all."""

import itertools
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import pytest

from tests.e2e.http.robot_over_http import HttpRobot
from tests.e2e.server_process import ServerProcess

NewRobot: TypeAlias = Callable[..., HttpRobot]
_tags = itertools.count(1)


@pytest.fixture
async def new_robot() -> AsyncIterator[NewRobot]:
    """Make robots: ``new_robot(server, name)``."""
    made: list[HttpRobot] = []

    def make(server: ServerProcess, name: str, *, admin: bool = False) -> HttpRobot:
        made.append(HttpRobot(server, name, admin=admin))
        return made[-1]

    yield make
    for robot in made:
        await robot.aclose()


@pytest.fixture
def tag() -> str:
    """What makes names this test's own on the server for all."""
    return f"h{next(_tags)}"
