"""The load generator's parts: plain sockets and epoll, no event loop and no WebSocket library."""
