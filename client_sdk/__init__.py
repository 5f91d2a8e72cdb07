"""The SDK for robots: connect, send, receive, never lose, never double.

`Robot` is for asyncio, `BlockingRobot` for scripts and threads, `client_sdk.testing` for tests without a
network. It logs to ``client_sdk`` and configures nothing.
"""

from client_sdk.blocking import BlockingRobot
from client_sdk.errors import (
    ConnectionLost,
    FileDamaged,
    KeyFileError,
    MemoryFileError,
    MissedEvents,
    NoAnswer,
    OutcomeUnknown,
    Refused,
    RobotError,
    StayAway,
    WrongServer,
)
from client_sdk.keys import RobotKey, create_key, load_key
from client_sdk.options import Options
from client_sdk.records import ClockReading, Event, Gap, Sent, Signal, Statistics, Upload, Waiting
from client_sdk.robot import Robot
from client_sdk.sealed.outcome import Seal, Unopened, Why
from client_sdk.sealed.sealing import Sealing
from client_sdk.sealed_calls import Reader
from client_sdk.sqlite_memory import SqliteMemory
from client_sdk.states import State
from client_sdk.streams import EventStream, SignalStream
from client_sdk.volatile_memory import VolatileMemory
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.server_frames import GroupRow, Identity, MemberRow, RobotRow

__all__ = [
    "BlockingRobot",
    "ClockReading",
    "ConnectionLost",
    "ErrorCode",
    "Event",
    "EventStream",
    "FileDamaged",
    "Gap",
    "GroupRow",
    "Identity",
    "KeyFileError",
    "MemberRow",
    "MemoryFileError",
    "MissedEvents",
    "NoAnswer",
    "Options",
    "OutcomeUnknown",
    "Reader",
    "Refused",
    "Robot",
    "RobotError",
    "RobotKey",
    "RobotRow",
    "Role",
    "Seal",
    "Sealing",
    "Sent",
    "Signal",
    "SignalStream",
    "SqliteMemory",
    "State",
    "Statistics",
    "StayAway",
    "Unopened",
    "Upload",
    "VolatileMemory",
    "Waiting",
    "Why",
    "WrongServer",
    "create_key",
    "load_key",
]
