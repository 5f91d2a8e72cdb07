"""A large deployment on the move: from a data directory to a real MongoDB and back, with files in it."""
