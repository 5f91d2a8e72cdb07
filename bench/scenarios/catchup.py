"""(f) Catch-up: robots that were away read what they missed; counted from connecting to the last event."""

from typing import Final

from bench.scenario import GRAIN_US, Scenario
from bench.task import Task

_PEERS: Final = ("imserver", "jetstream", "redis streams, everysec")
_FILLING_IN_FLIGHT: Final = 200


def _catch_up(readers: int, events: int, window: int = 1_024) -> Scenario:
    wide = f", window {window:,}" if window != 1_024 else ""
    return Scenario(
        name=f"catchup-{readers}x{events}" + (f"-window-{window}" if wide else ""),
        title=f"{readers:,} reader{'s' * (readers > 1)}, {events:,} events behind{wide}",
        section="Catch-up",
        task=Task(
            "catchup",
            members=readers,
            count=events,
            in_flight=_FILLING_IN_FLIGHT,
            grain_us=GRAIN_US,
            window=window,
        ),
        peers=_PEERS if not wide else _PEERS[:1],
        headline=("events_per_s", "cpu_us_per_event"),
        standard=_PEERS[:2] if events == 200_000 else _PEERS if readers == 1_000 else (),
        quick=_PEERS[:2] if events == 200_000 and not wide else (),
        rounds_max=99 if events < 1_000_000 else 1,
    )


SCENARIOS: Final = (
    _catch_up(1, 200_000),
    _catch_up(1_000, 1_000),
    _catch_up(1, 1_000_000),
    _catch_up(1, 1_000_000, 16_384),
)
