"""Test robots without a network: a server in memory that any number of them may talk through.

    server = MemoryServer()
    async with server.robot("r1") as r1, server.robot("r2") as r2:
        ...

What it promises is what the real one promises: one order, no gaps, each cid once, delivery from the cursor on
within the window. Everything dies with it. It can also be asked to fail, in all the ways a network can.
"""

from client_sdk.testing.server import MemoryServer

__all__ = ["MemoryServer"]
