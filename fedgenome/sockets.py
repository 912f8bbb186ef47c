"""Bounds on how long a socket of another process may keep us waiting."""

from __future__ import annotations

import os
import socket
import struct
from multiprocessing.connection import Connection


def bounded(link: Connection, seconds: float) -> Connection:
    """Bound each read and write: a process that was stopped leaves its socket open.

    Args:
        link: A connection over a socket; returned.
        seconds: After which reading or writing raises BlockingIOError; 0: never.
    """
    with socket.socket(fileno=os.dup(link.fileno())) as twin:  # options belong to the socket, not to the number
        limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    return link
