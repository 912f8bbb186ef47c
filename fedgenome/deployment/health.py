"""A container's health check, which Docker asks every half minute: the standard library alone, .06 s of processor time.

``python3 -m fedgenome.deployment.health role site.toml`` says hello on a role's socket as its relay would, and
``… superlink PORT HUB ca.crt`` asks the SuperLink and the hub of its machine. ``fedgenome site|party|dealer health``
says more: it checks the whole configuration, and a party's identity.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import tomllib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

SECONDS = 10.0  # for each answer
_RENEW = "the consortium renews it (fedgenome keys certificates FOLDER --renew); then start the SuperLink again"
_MOST = 65536  # bytes that a greeting or its answer may have


def role(file: Path, seconds: float = SECONDS) -> str:
    """Return why the role of a configuration is not well; nothing if it says its name on its socket.

    Args:
        file: Its ``site.toml``, ``party.toml`` or ``dealer.toml``.
        seconds: How long every step of it may take.
    """
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
        home = file.resolve().parent
        key = bytes.fromhex((home / told["state"] / "socket.key").read_text(encoding="ascii").strip())
        found = hello(str(home / told["socket"]), key, seconds)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as fault:
        return f"{file}: {type(fault).__name__}: {fault}"
    expected = told.get("name", f"party-{told['index']}" if "index" in told else "dealer")
    return "" if found == expected else f"{file}: {found} answers on the socket, expected {expected}"


def hello(path: str, key: bytes, seconds: float = SECONDS) -> object:
    """Return the name of who answers on a socket of ``federation.agents``; None if it refuses.

    Args:
        path: The socket's.
        key: What both ends prove to hold.
        seconds: How long every step of it may take.

    Raises:
        OSError: nobody is there, or not in time.
        EOFError: it hung up.
        ValueError: what came is no answer of a role, or of one that holds another key.
    """
    from multiprocessing import AuthenticationError
    from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

    with socket.socket(socket.AF_UNIX) as link:
        # The kernel's own bound on every read: a role that stopped takes connections and never greets.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", *divmod(int(seconds * 1e6), 10**6)))
        link.connect(path)
        connection = Connection(link.detach())
    with connection:
        try:
            answer_challenge(connection, key)
            deliver_challenge(connection, key)
            connection.send_bytes(_hello())
            while not (answer := connection.recv_bytes(_MOST)):
                pass  # a sign of life
        except AuthenticationError as fault:
            raise ValueError(str(fault)) from None
        except BlockingIOError:
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        return _header(answer).get("site")


def superlink(port: int, hub: int, authority: Path, seconds: float = SECONDS) -> str:
    """Return why a SuperLink or the hub beside it, both on this machine, is not well; nothing if they answer.

    Args:
        port: The SuperLink's.
        hub: The hub's.
        authority: The SuperLink's ``ca.crt``.
        seconds: How long every step of it may take.
    """
    try:
        trusted = ssl.create_default_context(cafile=str(authority))
        answers = {
            name: _asked(*how, seconds) for name, how in {"superlink": (port, trusted), "hub": (hub, None)}.items()
        }
    except ssl.SSLCertVerificationError as fault:
        return f"{authority.with_name('server.crt')}: {fault.verify_message}; {_RENEW}"
    except OSError as fault:
        return f"{type(fault).__name__}: {fault}"
    return "".join(f"{name}: answered {said!r}" for name, said in answers.items() if said.split()[1:2] != [b"200"])


def _asked(port: int, trusted: ssl.SSLContext | None, seconds: float) -> bytes:
    """Return the first line of the answer to GET /health; http.client takes as long to import as all else here."""
    with socket.create_connection(("127.0.0.1", port), seconds) as plain:
        wrapped: AbstractContextManager[socket.socket] = nullcontext(plain)
        if trusted is not None:
            wrapped = trusted.wrap_socket(plain, server_hostname="localhost")
        with wrapped as link:
            link.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return link.recv(_MOST).partition(b"\r\n")[0]


def _hello() -> bytes:
    """Return the question as ``federation.agents`` encodes it: safetensors without tensors."""
    call = json.dumps({"kind": "hello", "agent": 0, "header": {}})
    header = json.dumps({"__metadata__": {"call": call}}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def _header(blob: bytes) -> dict[str, Any]:
    size = int.from_bytes(blob[:8], "little")
    told: dict[str, Any] = json.loads(json.loads(blob[8 : 8 + size])["__metadata__"]["call"])["header"]
    return told


def main(arguments: Sequence[str]) -> int:
    """Check what ``arguments`` name; return 0 if it is well, else 1 with one line on stderr."""
    what, *rest = arguments
    why = role(Path(rest[0])) if what == "role" else superlink(int(rest[0]), int(rest[1]), Path(rest[2]))
    if why:
        sys.stderr.write(f"{why}\n")
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
