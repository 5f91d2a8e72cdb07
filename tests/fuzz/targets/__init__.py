"""What is fuzzed, one module each."""

from typing import Final

from tests.fuzz.targets.bodies import Bodies
from tests.fuzz.targets.frames import ClientFrames, ServerFrames
from tests.fuzz.targets.robots import Robots
from tests.fuzz.targets.sessions import Sessions
from tests.fuzz.targets.streams import Streams

TARGETS: Final = {
    kind.name: kind for kind in (ClientFrames, Bodies, Streams, ServerFrames, Robots, Sessions)
}
