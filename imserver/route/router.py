"""The port of the route tier. What it carries are hints: the store is the truth.

A hint may be lost, doubled or late; within one conversation and from one node they arrive in order. A
reader that sees a seq jump reads the store. The router does not know what an event means.
"""

from typing import Protocol

from imserver.core.model import Run
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import SignalValue


class RouteListener(Protocol):
    """Where a node takes in what the router brings; must not wait."""

    def on_committed(self, run: Run) -> None:
        """Take in events that are durable."""

    def on_head(self, conv: ConversationName, seq: int) -> None:
        """Take in that a log goes up to ``seq`` at least; the events are in the store."""

    def on_signal(self, signal: SignalValue) -> None:
        """Take in a signal's value; at most once, and perhaps never."""

    def on_notice(self, notice: bytes) -> None:
        """Take in what another node told all others with `Router.tell`; at most once, and perhaps never."""

    def on_followed(self, conv: ConversationName) -> None:
        """Hints of ``conv`` arrive from now on; those of what was committed before may have been missed."""

    def on_connected(self) -> None:
        """Notices arrive from now on; what other nodes told before may have been missed."""

    def on_unheard(self) -> None:
        """Hints and notices of this node get out again; what it told before may not have arrived."""


class Router(Protocol):
    """Carries what one node has to tell to every node that follows the conversation, itself included."""

    def attach(self, listener: RouteListener) -> None:
        """Name the node's own listener, once, before anything is published."""

    def publish(self, run: Run) -> None:
        """Announce events after their commit. At most once; the publishing node itself always hears it."""

    def publish_signal(self, signal: SignalValue) -> None:
        """Pass a signal on. At most once; the publishing node itself always hears it."""

    def tell(self, notice: bytes) -> None:
        """Tell every other node something. At most once."""

    async def handed_on(self) -> None:
        """Return when what was published and told before is with those who carry it, or is lost."""

    def follow(self, conv: ConversationName) -> None:
        """Say that this node holds ``conv`` from now on and wants its hints."""

    def unfollow(self, conv: ConversationName) -> None:
        """Say that this node holds ``conv`` no longer."""
