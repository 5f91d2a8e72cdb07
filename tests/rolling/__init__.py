"""A rolling restart under load: all nodes are restarted one after the other, and no robot's send fails."""
