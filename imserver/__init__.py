"""imserver: an instant-messaging server for groups of robots.

The tiers, from the outside in: ``access`` holds connections, ``logic`` knows what messages and groups mean,
``route`` carries committed events between nodes, ``data`` stores them. ``protocol`` holds the words that the
server and its clients share. ARCHITECTURE.md draws the map.
"""

__version__ = "0.1.0"
