"""The store in a MongoDB replica set (`store`), which nodes share."""
