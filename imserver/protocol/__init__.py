"""The words that server and clients share: frames, codecs, names, limits, error codes.

Pure code on msgspec alone: no sockets, no clock, no asyncio. Both ``imserver`` and ``client_sdk`` import it.
"""
