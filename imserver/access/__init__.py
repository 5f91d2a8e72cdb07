"""The access tier: holds connections, speaks their transports, and hands frames to logic.

`websocket` is a transport, `connection` the session shell that all transports share, `requests` the
table from frame to use case. Knows no storage engine.
"""
