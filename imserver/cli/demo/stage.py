"""Puts the demo on: a server, a fleet and a view, from the ready line to the last figure."""

import asyncio
import contextlib
import logging
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import typer
from msgspec import Struct

from imserver.cli.demo.child import Server, server_process
from imserver.cli.demo.fleet import CONV, Fleet, Outings
from imserver.cli.demo.scene import Scene
from imserver.cli.demo.view import View, view_for
from imserver.cli.failure import CommandFailed
from imserver.core.clock import SystemClock
from imserver.core.tasks import TaskScope

_END_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Plan(Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    listen: str
    url: str | None
    data: Path
    robots: int
    seconds: float | None
    keep: bool


def perform(plan: Plan) -> None:
    """Run the demo; Ctrl-C, SIGTERM and SIGHUP end it in good order.

    Raises:
        CommandFailed: the server did not start, ended by itself, or is not at the URL that was named.
        RobotError: a robot is not welcome there.
    """
    # The robots' own remarks (a reconnect) are told by the scene; as log lines they would tear the picture.
    logging.getLogger("client_sdk").addHandler(logging.NullHandler())
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_perform(plan))


async def _perform(plan: Plan) -> None:
    this = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in _END_SIGNALS:
        loop.add_signal_handler(number, this.cancel if this is not None else loop.stop)
    async with _server(plan) as server:
        typer.echo(server.ready_line)
        view = view_for(server.url, is_terminal=sys.stdout.isatty())
        scene = Scene(CONV, view.line)
        fleet = Fleet(
            server.url,
            data=plan.data,
            pickers=plan.robots,
            scene=scene,
            clock=SystemClock(),
            dice=random.Random(),
        )
        try:
            await _play(plan, server=server, fleet=fleet, scene=scene, view=view)
        except asyncio.CancelledError:
            _sum_up(scene, fleet)
            raise
        if plan.url is not None and not fleet.has_received:
            raise CommandFailed(f"no robot came online at {plan.url} in time; is a server there?")
        _sum_up(scene, fleet)
        if plan.keep:
            typer.echo(f"the server at {server.url} stays up until Ctrl-C")
            await server.wait_ended()


async def _play(plan: Plan, *, server: Server, fleet: Fleet, scene: Scene, view: View) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(plan.seconds), TaskScope() as scope:
            scope.spawn(server.wait_ended(), name="server")
            scope.spawn(view.show(scene), name="view")
            scope.spawn(fleet.run(Outings.within(plan.seconds)), name="fleet")


def _sum_up(scene: Scene, fleet: Fleet) -> None:
    typer.echo(f"{scene.figures()}\n{fleet.verdict()}")


@contextlib.asynccontextmanager
async def _server(plan: Plan) -> AsyncIterator[Server]:
    if plan.url is not None:
        yield Server(plan.url)
    else:
        async with server_process(listen=plan.listen, data=plan.data) as server:
            yield server
