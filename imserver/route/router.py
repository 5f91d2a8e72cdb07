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

    def on_signal(self, signal: SignalValue) -> None:
        """Take in a signal's value; at most once, and perhaps never."""


class Router(Protocol):
    """Carries what one node has to tell to every node with readers of the conversation, itself included."""

    def attach(self, listener: RouteListener) -> None:
        """Name the node's own listener, once, before anything is published."""

    def publish(self, run: Run) -> None:
        """Announce events after their commit. At most once; the publishing node itself always hears it."""

    def publish_signal(self, signal: SignalValue) -> None:
        """Pass a signal on. At most once."""

    def follow(self, conv: ConversationName) -> None:
        """Say that this node now has a reader of ``conv``."""

    def unfollow(self, conv: ConversationName) -> None:
        """Say that this node has no reader of ``conv`` any more."""
