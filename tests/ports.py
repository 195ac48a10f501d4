"""A port of this machine that nobody else is given."""

import socket


def reserved_port() -> socket.socket:
    """Bind a socket to a free port: while it is open, whoever is told the port may listen there, and nobody else will.

    The system gives a bound port to no other, and who listens with SO_REUSEADDR, as torch does, may bind it, too.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved
