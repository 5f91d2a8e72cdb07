"""The logic tier: what messages, groups, cursors and presence mean. Knows no sockets, no SQL, no Redis.

One use case a file. `conversations` holds what a node knows of each log, `committer` brings events into the
store, `delivery` brings them to readers.
"""
