"""(e) Idle robots: how fast they are let in, and what each costs in memory while it says nothing.

imserver's handshake is the real one: TCP, WebSocket, ``hello``, and the Ed25519 challenge, of robots that
were registered before; or a bearer token of a robot that never came before, which is stored first.
"""

from typing import Final

from bench.scenario import Scenario
from bench.task import Task

_OURS: Final = ("imserver, challenge", "imserver")
_PEERS: Final = (
    *_OURS,
    "nats core",
    "mosquitto qos 0",
    "centrifugo",
    "python-socketio",
    "websockets broadcast",
)


def _idle(count: int) -> Scenario:
    return Scenario(
        name=f"idle-{count}",
        title=f"{count:,} idle connections",
        section="Idle connections",
        task=Task("idle", count=count, seconds=1.0),
        peers=_PEERS,
        headline=("kib_per_connection", "accepts_per_s", "idle_core"),
        standard=_PEERS if count == 1_000 else _OURS[:1],
        quick=_OURS[:1] if count == 1_000 else (),
        cluster=_OURS[1:] if count == 1_000 else (),
        rounds_max=99 if count == 1_000 else 1,
    )


SCENARIOS: Final = (_idle(1_000), _idle(10_000))
