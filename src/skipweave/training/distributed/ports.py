"""Rendezvous ports of the processes of a run."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager


def reserved_port() -> socket.socket:
    """Bind a socket to a free port: while it is open, no other process is given the port.

    A process that gets the port may listen there, with SO_REUSEADDR as torch does: the socket does not listen.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


@contextmanager
def meeting_port() -> Iterator[None]:
    """Reserve the rendezvous port of processes started in the block, unless MASTER_PORT names one.

    Otherwise a free port would be looked for before the processes start, and might be taken until they listen.
    """
    if "MASTER_PORT" in os.environ:
        yield
        return
    with reserved_port() as reserved:
        os.environ["MASTER_PORT"] = str(reserved.getsockname()[1])
        try:
            yield
        finally:
            os.environ.pop("MASTER_PORT", None)
