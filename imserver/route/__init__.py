"""The route tier: moves committed events and signals to the nodes that have readers for them."""
