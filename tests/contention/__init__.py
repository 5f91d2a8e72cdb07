"""Several nodes that all append to the same few conversations, for as long as asked, and what that costs."""
