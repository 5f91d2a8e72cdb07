"""The store in one SQLite file (`store`): a thread that writes, some that read, a judge of the file."""
