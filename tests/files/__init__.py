"""A video that is killed again and again on its way, and the memory that takes the server: `make files`."""
