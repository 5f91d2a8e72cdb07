"""What the project's commands need beside the server: set-up, and the generators of docs/."""
