"""The store in memory (`store`), for tests and trials."""
