"""The guarantees that a history is judged by: one table of what they say and what is counted for each."""

import enum
from typing import Final, NamedTuple


class Guarantee(enum.StrEnum):
    """Names of the guarantees, as reports write them."""

    G1 = "G1"
    G2 = "G2"
    G3 = "G3"
    G4 = "G4"
    G5 = "G5"
    G6 = "G6"
    G7 = "G7"
    G8 = "G8"
    G9 = "G9"
    G10 = "G10"
    G11 = "G11"
    G12 = "G12"
    G13 = "G13"
    G14 = "G14"
    G22 = "G22"


class Meaning(NamedTuple):
    """What a guarantee says, what of it is counted, and why it may have nothing to judge."""

    says: str
    counted: str
    needs: str


MEANING: Final[dict[Guarantee, Meaning]] = {
    Guarantee.G1: Meaning(
        "what was acked stands in the log once, as it was sent", "acks", "a raw log and acked sends"
    ),
    Guarantee.G2: Meaning("every log is 1, 2, 3, … without a gap", "events", "a raw log"),
    Guarantee.G3: Meaning(
        "a place in a log has one value for everybody, for ever",
        "words about a place",
        "acks or received events",
    ),
    Guarantee.G4: Meaning("a cid is one event, however often it is sent", "cids", "acked sends"),
    Guarantee.G5: Meaning(
        "what was acked before another was sent stands before it", "sends", "acked sends"
    ),
    Guarantee.G6: Meaning(
        "sends of one connection keep their order", "acks", "acks that name their connection"
    ),
    Guarantee.G7: Meaning(
        "there is nothing that nobody sent, or that was refused",
        "events",
        "events of clients with a history",
    ),
    Guarantee.G8: Meaning(
        "nothing was delivered that is not in the log",
        "received events",
        "a raw log and received events",
    ),
    Guarantee.G9: Meaning(
        "a session is shown each event once, in order, without a hole",
        "received events",
        "received events",
    ),
    Guarantee.G10: Meaning(
        "in the end everybody has everything",
        "conversations of robots",
        "sessions that were closed as drained",
    ),
    Guarantee.G11: Meaning(
        "a session goes on where the last one ended",
        "beginnings",
        "received events, and a raw log or earlier sessions",
    ),
    Guarantee.G12: Meaning(
        "cursors do not go back, nor beyond what was shown", "cursors", "acks or stored cursors"
    ),
    Guarantee.G13: Meaning(
        "only members see and send", "events", "a raw log that tells the members"
    ),
    Guarantee.G14: Meaning(
        "every request ends in one of three ways, and the unknown happened once at most",
        "requests",
        "sends or changes",
    ),
    Guarantee.G22: Meaning(
        "the sender of an event is the client that sent it",
        "events",
        "events of clients with a history",
    ),
}
