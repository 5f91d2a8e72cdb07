"""Two honest robots that talk all the time, beside whatever is done to the server."""

import asyncio
import threading

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet, Peer
from tests.until import PATIENCE_S

PACE_S = 0.005  # how often the honest robots have something to say


class HonestPair:
    """A thread in which one robot sends and the other must receive every message, in order."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._changed = threading.Condition()
        self._rounds = 0
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to talk."""
        self._thread.start()
        self.assert_undisturbed()

    def stop(self) -> None:
        """Talk no more."""
        self._stop.set()
        self._thread.join(PATIENCE_S)

    def assert_undisturbed(self, rounds: int = 3) -> None:
        """Return once ``rounds`` more messages were sent and received; fail if any was not."""
        with self._changed:
            goal = self._rounds + rounds
            arrived = self._changed.wait_for(
                lambda: self._failure is not None or self._rounds >= goal, PATIENCE_S
            )
            assert self._failure is None, f"honest traffic was disturbed: {self._failure!r}"
            assert arrived, "honest traffic stands still"

    def _run(self) -> None:
        try:
            asyncio.run(self._talk())
        except Exception as failure:  # noqa: BLE001 - the tests must hear of it, whatever it is
            self._tell(failure)

    async def _talk(self) -> None:
        fleet = Fleet(self._server)
        one, other = await fleet.online("honest-1"), await fleet.online("honest-2")
        conv = await fleet.group(one, other, name="honest")
        while not self._stop.is_set():
            sent = await one.send(conv, "x" * 100)
            for peer in (one, other):
                await self._receive(peer, conv, sent["seq"])
            self._tell(None)
            await asyncio.sleep(PACE_S)
        await fleet.aclose()

    async def _receive(self, peer: Peer, conv: str, seq: int) -> None:
        log = await peer.until_seq(conv, seq)
        assert not peer.errors and not peer.notices, (peer.errors, peer.notices)
        del log[:-1], peer.signals[:]

    def _tell(self, failure: Exception | None) -> None:
        with self._changed:
            self._failure = failure
            self._rounds += failure is None
            self._changed.notify_all()
