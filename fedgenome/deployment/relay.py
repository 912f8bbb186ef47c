"""Why a relay does not work: a line for each thing that does not fit, with its remedy.

A SuperNode says of a certificate that does not hold, a clock that is off, a key that is not known and a key that
is used twice much the same: nothing, or that it was turned away. So a relay looks for itself when its SuperNode ended:
``python -m fedgenome.deployment.relay SUPERLINK ca.crt node.key``, with the environment that its SuperNode has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path

from fedgenome.deployment.hospital import network
from fedgenome.deployment.hospital.findings import Finding, failed, ok, text, untested
from fedgenome.deployment.hospital.link import link
from fedgenome.errors import RoleError, SpecError
from fedgenome.federation import agents, registration

_AWAY_SECONDS = 60  # for which a SuperLink holds a node for online that was killed


def findings(address: str, authority: Path, node_key: Path) -> Iterator[Finding]:
    """Yield what is found of a relay: its role's socket, the way to the SuperLink, its key.

    Args:
        address: The SuperLink's host:port.
        authority: ``ca.crt``.
        node_key: The relay's private key.

    Raises:
        SpecError: the address is none, or a file is not what it should be.
    """
    yield role()
    reached = True
    for found in network.findings(link(address, authority)):
        reached = reached and (found.state == "ok" or found.check in ("authority", "certificate"))
        yield found
    yield node(address, authority, node_key) if reached else untested("node", "no way to the SuperLink")


def role() -> Finding:
    """Greet the role behind the relay, by the key that the relay was given."""
    socket, file = (os.environ.get(name, "") for name in (agents.ADDRESS, agents.KEY_FILE))
    if not socket or not file:
        return untested("role", f"no {agents.ADDRESS} and {agents.KEY_FILE} in the environment")
    try:
        key = bytes.fromhex(Path(file).read_text(encoding="ascii").strip())
        Client(socket, "AF_UNIX", authkey=key).close()
    except AuthenticationError:
        remedy = "copy socket.key of the role's state folder to its relay again"
        return failed("role", f"{file}: not the key of the role that listens on {socket}", remedy)
    except ValueError:
        return failed("role", f"{file}: expected a key in hex", "copy socket.key of the role's state folder again")
    except (OSError, EOFError) as fault:
        why = getattr(fault, "strerror", None) or type(fault).__name__
        return failed("role", f"{socket}: {why}", "start the role, or mend what its log says")
    return ok("role", f"it answers on {socket}")


def node(address: str, authority: Path, node_key: Path) -> Finding:
    """Ask the SuperLink what it makes of the relay's key."""
    try:
        standing = registration.standing(address, authority, node_key)
    except RoleError as fault:
        return untested("node", str(fault))
    if standing == "unknown":
        remedy = f"have the coordinator register {node_key.name}.pub under the role's name, or take the key it knows"
        return failed("node", f"{node_key}: the SuperLink does not know this key", remedy)
    if standing == "turned away":
        return failed("node", "the SuperLink takes no signature of this time", "set this clock, or its own, by NTP")
    return ok("node", "the SuperLink knows the key")


def ended() -> Finding:
    """Return what is left where all else is well and yet the SuperNode ended."""
    told = f"another relay with this node.key is online, or one was killed less than {_AWAY_SECONDS} s ago"
    return failed("ended", f"all else is well, so perhaps {told}", "end the other: a key is for one relay; else wait")


def main(arguments: Sequence[str]) -> int:
    """Print what is found of the relay; return 1 if anything failed.

    Args:
        arguments: The SuperLink's host:port, ``ca.crt``, the node key; ``ended`` where its SuperNode did.
    """
    address, authority, node_key, *more = arguments
    try:
        found = list(findings(address, Path(authority), Path(node_key)))
    except SpecError as fault:
        found = [failed("files", str(fault), "have the consortium send them again")]
    if more and not any(one.state == "failed" for one in found):
        found.append(ended())
    sys.stderr.write(text(found) + "\n")
    return int(any(one.state == "failed" for one in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
