"""The cache on Redis."""
