"""What an engine on MongoDB counts; whoever shows metrics reads it."""


class MongoCounts:
    """Counts since the store was opened; they only rise.

    Attributes:
        overtaken: times a batch was planned anew because another node had taken a place in a log.
        repeated: times a batch was planned anew because a cid was stored already.
        unknown: inserts whose outcome had to be looked for.
        taken_back: events that were taken out again because retention had passed them, and stored anew.
    """

    def __init__(self) -> None:
        self.overtaken = 0
        self.repeated = 0
        self.unknown = 0
        self.taken_back = 0
