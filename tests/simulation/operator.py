"""The operator of the simulated server: takes backups, puts them back, and answers an alarm."""

import random
from collections.abc import Callable

from tests.simulation.disk import Disk
from tests.simulation.server import Server
from tests.simulation.timeline import Timeline


class Operator:
    """Somebody who may stop the server and change what is on its disk.

    ``on_change`` is called whenever what robots knew of the server may not be so any more.
    """

    def __init__(
        self, timeline: Timeline, server: Server, dice: random.Random, on_change: Callable[[], None]
    ) -> None:
        self._timeline = timeline
        self._server = server
        self._disk: Disk = server.disk
        self._dice = dice
        self._on_change = on_change
        self._is_alarmed = False
        self._is_calm = False
        self._disk.on_alarm = self._on_alarm

    def restore(self, after_s: float) -> None:
        """Put a backup back after a while: one of now, while the server runs, or an old one."""
        copy = self._disk.copy(old=self._dice.random() < 0.25)

        def put_back() -> None:
            if self._is_calm or not self._disk.is_of_this_epoch(copy):
                return
            self._server.stop("is stopped for a restore")
            self._disk.trace.counts["backups restored"] += 1
            self._disk.put_back(copy)
            self._on_change()

        self._timeline.after(after_s, put_back)

    def lose_tail(self) -> None:
        """Let the power fail, and the disk lose some of what it had promised to keep."""
        self._server.kill(power_cut=True)
        self._disk.trace.counts["tails lost"] += 1
        self._disk.lose_tail(self._dice.choice((1, 1, 2, 5)))
        self._disk.closed_well = False
        self._on_change()

    def heal(self) -> None:
        """Restore nothing any more; an alarm is answered all the same."""
        self._is_calm = True

    def _on_alarm(self) -> None:
        if not self._is_alarmed:
            self._is_alarmed = True
            self._timeline.after(self._dice.uniform(0.1, 2.0), self._accept_loss)

    def _accept_loss(self) -> None:
        self._is_alarmed = False
        if self._disk.halted:
            self._server.stop("is stopped to accept a loss")
            self._disk.trace.counts["losses accepted"] += 1
            self._disk.accept_loss()
            self._on_change()
