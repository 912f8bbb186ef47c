"""Keys made where they are used, the requests that carry their public halves, and what becomes of them.

A role's state folder holds three private keys that never leave it: its identity (:mod:`fedgenome.secure.identity`),
the key by which Flower's SuperLink knows its relay, and the key that agent and relay share. A *request* tells
the public halves, signed by the identity; the consortium compares fingerprints over another channel and
approves: a roster file for the Study and a list of node keys for the SuperLink.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field, ValidationError, model_validator

from fedgenome import files
from fedgenome.deployment import disk
from fedgenome.deployment.consortium import nodes
from fedgenome.deployment.consortium.nodes import Node, Role
from fedgenome.deployment.roles import NODE_KEY, SOCKET_KEY
from fedgenome.errors import SpecError, WireError
from fedgenome.query import PARTIES
from fedgenome.secure.identity import Identity, unhex, verify
from fedgenome.secure.party import IDENTITY
from fedgenome.secure.roster import RosterFile
from fedgenome.strict import Strict, finding
from fedgenome.study import Name

REQUEST = "request.json"  # in the state folder, beside the keys
PARTY_NAMES = tuple(f"party-{index}" for index in range(PARTIES))
_MOST_BYTES = 64 << 10


class Request(Strict):
    """What a role tells of itself, signed by its identity."""

    role: Role
    name: Name
    cap: int = Field(ge=0, le=1_000_000_000, description="a site's public cap on its donors; 0 for others")
    identity: str = Field(pattern=r"^[0-9a-f]{64}$", description="Ed25519 public key")
    node: str = Field(
        pattern=r"^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+$", max_length=400, description="relay's public key"
    )
    signature: str = Field(pattern=r"^[0-9a-f]{128}$", description="by the identity, over the fields above")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_role(self.role, self.name, self.cap)
        if not is_node_key(self.node):
            raise ValueError("node: expected an ECDSA P-384 public key in OpenSSH format")
        try:
            verify(self.identity, "request", self._told, unhex(self.signature, "signature"))
        except WireError:
            raise ValueError("signature: expected that of the request's own identity over its other fields") from None
        return self

    @property
    def _told(self) -> list[object]:
        return [self.role, self.name, self.cap, self.identity, self.node]

    @property
    def fingerprints(self) -> tuple[str, str]:
        """Of the identity and of the node key, to read out over the telephone."""
        return fingerprint(bytes.fromhex(self.identity)), fingerprint(self.node.encode())

    @property
    def text(self) -> str:
        """The request as its file holds it."""
        return self.model_dump_json(indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Write it in the place of ``path``, whole or not at all."""
        disk.replace(path, self.text.encode(), "the request")

    @classmethod
    def make(cls, role: Role, name: str, cap: int, identity: Identity, node: str) -> Self:
        """Return the signed request of ``identity``."""
        told = [role, name, cap, identity.public, node]
        fields = dict(zip(("role", "name", "cap", "identity", "node"), told, strict=True))
        return cls._of(name, fields | {"signature": identity.sign("request", told).hex()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a request.

        Raises:
            SpecError: one line naming the file and what is wrong with it.
        """
        return cls._of(str(path), disk.read_json(path, "a request", _MOST_BYTES))

    @classmethod
    def _of(cls, where: str, told: object) -> Self:
        try:
            return cls.model_validate(told)
        except ValidationError as fault:
            raise SpecError(f"{where}: {finding(fault, cls)}") from None


def request(state: Path, role: Role, name: str, cap: int = 0) -> Request:
    """Make a role's state folder and keys, or find them, and return its request.

    Asked again, the same keys give the same request. A site may ask anew with another cap; a folder never
    changes its role or name.

    Args:
        state: The folder; made if absent, for its owner alone.
        role: ``site``, ``party`` or ``dealer``.
        name: A site's name; ``party-0`` to ``party-2``; ``dealer``.
        cap: The most donors that a site will ever hold; 0 for the others.

    Raises:
        SpecError: name or cap do not fit the role, the folder is another's, or a file of it is no key.
    """
    check_role(role, name, cap)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = Request.load(state / REQUEST) if (state / REQUEST).exists() else None
        if before is not None and (before.role, before.name) != (role, name):
            raise SpecError(f"{state}: expected the keys of {role} {name}, these are of {before.role} {before.name}")
        made = Request.make(role, name, cap, Identity.kept(state / IDENTITY), _node(state))
        if not (state / SOCKET_KEY).exists():
            files.create(state / SOCKET_KEY, secrets.token_hex(32).encode(), 0o600)
        made.save(state / REQUEST)
    except OSError as fault:
        raise SpecError(f"{state}: expected a folder for keys, {fault.strerror}") from None
    return made


def check_role(role: str, name: str, cap: int) -> Role:
    """Return the role, if name and cap fit it.

    Raises:
        SpecError: says what would.
    """
    taken = name in ("dealer", *PARTY_NAMES)
    known: dict[Role, tuple[bool, str]] = {
        "site": (not taken, "no name of a party or dealer"),
        "party": (name in PARTY_NAMES, f"one of {', '.join(PARTY_NAMES)}"),
        "dealer": (name == "dealer", "dealer"),
    }
    found = next((one for one in known if one == role), None)
    if found is None:
        raise SpecError(f"role: expected site, party or dealer, got {role!r}")
    if not known[found][0]:
        raise SpecError(f"name: expected {known[found][1]}, got {name!r}")
    if (role == "site") != (cap > 0):
        raise SpecError(f"cap: expected {'at least 1, its most donors' if role == 'site' else 'none'}, got {cap}")
    return found


def approve(requests: Sequence[Request]) -> RosterFile:
    """Return the roster of these requests; sites in order of their names, whatever the order asked.

    Raises:
        SpecError: a name or key stands twice, or there are no sites or not three parties.
    """
    names = [one.name for one in requests]
    _once("name", names, names)
    _once("identity", [one.identity for one in requests], names)
    _once("node key", [one.node for one in requests], names)
    parties = {one.name: one.identity for one in requests if one.role == "party"}
    if absent := [name for name in PARTY_NAMES if name not in parties]:
        raise SpecError(f"requests: expected those of {', '.join(PARTY_NAMES)}, got none of {', '.join(absent)}")
    return RosterFile(
        sites=tuple(sorted((one.name, one.identity) for one in requests if one.role == "site")),
        parties=tuple(parties[name] for name in PARTY_NAMES),
        dealer=next((one.identity for one in requests if one.role == "dealer"), ""),
    )


def relays(requests: Sequence[Request]) -> dict[str, Node]:
    """Return the node list of these requests, in order of names."""
    every = sorted(requests, key=lambda one: one.name)
    return {one.name: Node(role=one.role, cap=one.cap, key=one.node) for one in every}


def save(requests: Sequence[Request], roster: Path, node_list: Path) -> RosterFile:
    """Write roster and node list as new files; they are there already and the same, nothing happens.

    Raises:
        SpecError: as :func:`approve`; or other files are there, which are never replaced.
    """
    made = approve(requests)
    blob = nodes.dump(relays(requests))
    other = roster.exists() and RosterFile.load(roster) != made
    if other or (node_list.exists() and node_list.read_bytes() != blob):
        raise SpecError(f"{roster}, {node_list}: expected none yet or the same; a roster is never replaced")
    if not roster.exists():
        made.save(roster)
    if not node_list.exists():
        disk.create(node_list, blob, 0o644, "the node list")
    return made


def table(requests: Sequence[Request]) -> str:
    """Return roles, names, caps and fingerprints as text, in order of names."""
    lines = []
    for one in sorted(requests, key=lambda one: one.name):
        identity, node = one.fingerprints
        lines.append(f"{one.role:7} {one.name:15} cap {one.cap:<8} identity {identity}")
        lines.append(f"{'':37}node key {node}")
    return "\n".join(lines)


def is_node_key(text: str) -> bool:
    """Tell whether ``text`` is a P-384 public key as OpenSSH writes it: one key has one text."""
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        key = serialization.load_ssh_public_key(text.encode())
        return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1) and _line(key) == text
    return False


def fingerprint(public: bytes) -> str:
    """Return 128 bits of a key's SHA-256 in groups of four hex digits.

    >>> fingerprint(bytes(32))
    '6668 7aad f862 bd77 6c8f c18b 8e9f 8e20'
    """
    text = hashlib.sha256(public).hexdigest()[:32]
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def _node(state: Path) -> str:
    """Return the public line of the relay's key, which is made if absent."""
    path = state / NODE_KEY
    if not path.exists():
        made = ec.generate_private_key(ec.SECP384R1())
        plain = serialization.NoEncryption()
        blob = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain)
        disk.create(path, blob, 0o600, "a new key")
    key = None
    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):  # their texts could quote the file
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise SpecError(f"{path}: expected an unencrypted ECDSA P-384 key in OpenSSH format")
    line = _line(key.public_key())
    files.replace(path.with_name(f"{NODE_KEY}.pub"), f"{line}\n".encode())
    return line


def _line(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _once(what: str, values: Sequence[str], names: Sequence[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            both = ", ".join(name for name, own in zip(names, values, strict=True) if own == value)
            raise SpecError(f"requests: expected every {what} once, got the same of {both}")
