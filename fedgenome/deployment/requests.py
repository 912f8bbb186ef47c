"""Keys made where they are used, the requests that carry their public halves, and what becomes of them.

A role's state folder holds three private keys that never leave it: its identity (:mod:`fedgenome.secure.identity`),
the key by which Flower's SuperLink knows its relay, and the key that agent and relay share. A *request* tells
the public halves, signed by the identity; the consortium compares fingerprints over another channel and
approves: a roster file for the Study and a list of node keys for the SuperLink.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field, ValidationError, model_validator

from fedgenome import files
from fedgenome.errors import SpecError, WireError
from fedgenome.query import PARTIES, digest_of
from fedgenome.secure.identity import Identity, unhex, verify
from fedgenome.secure.party import IDENTITY
from fedgenome.secure.roster import RosterFile
from fedgenome.study import Name, Strict, finding

NODE_KEY, SOCKET_KEY, REQUEST = "node.key", "socket.key", "request.json"  # in the state folder, beside IDENTITY
PARTY_NAMES = tuple(f"party-{index}" for index in range(PARTIES))
_MOST_BYTES = 64 << 10

Role = Literal["site", "party", "dealer"]
_Record = TypeVar("_Record", bound=Strict)


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
        if node_key(self.node) is None:
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

    @classmethod
    def make(cls, role: Role, name: str, cap: int, identity: Identity, node: str) -> Self:
        """Return the signed request of ``identity``."""
        told = [role, name, cap, identity.public, node]
        fields = dict(zip(("role", "name", "cap", "identity", "node"), told, strict=True))
        return _validated(cls, name, fields | {"signature": identity.sign("request", told).hex()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a request.

        Raises:
            SpecError: one line naming the file and what is wrong with it.
        """
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise SpecError(f"{path}: expected a request of at most {_MOST_BYTES >> 10} KiB")
            told = json.loads(path.read_text(encoding="utf-8"))
        except OSError as fault:
            raise SpecError(f"{path}: expected a request, {fault.strerror}") from None
        except (ValueError, RecursionError) as fault:
            raise SpecError(f"{path}: expected JSON, {fault}") from None
        return _validated(cls, str(path), told)


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
        files.replace(state / REQUEST, made.text.encode())
    except OSError as fault:
        raise SpecError(f"{state}: expected a folder for keys, {fault.strerror}") from None
    return made


def check_role(role: str, name: str, cap: int) -> None:
    """Refuse a name or cap that does not fit the role.

    Raises:
        SpecError: says what would.
    """
    taken = name in ("dealer", *PARTY_NAMES)
    fits = {"party": name in PARTY_NAMES, "dealer": name == "dealer", "site": not taken}
    if not fits.get(role, False):
        rule = {"party": f"one of {', '.join(PARTY_NAMES)}", "dealer": "dealer", "site": "no name of a party or dealer"}
        raise SpecError(f"name: expected {rule.get(role, 'role site, party or dealer')}, got {name!r}")
    if (role == "site") != (cap > 0):
        raise SpecError(f"cap: expected {'at least 1, its most donors' if role == 'site' else 'none'}, got {cap}")


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


class Node(Strict):
    """A relay of the node list."""

    role: Role
    cap: int = Field(ge=0)
    key: str = Field(description="ECDSA P-384 public key, OpenSSH format")


def nodes(requests: Sequence[Request]) -> dict[str, Node]:
    """Return name → relay of every request, in order of names."""
    every = sorted(requests, key=lambda one: one.name)
    return {one.name: Node(role=one.role, cap=one.cap, key=one.node) for one in every}


def nodes_digest(told: Mapping[str, Node]) -> str:
    """Return the digest of a node list, to compare over another channel."""
    return digest_of("node list", [[name, node.role, node.cap, node.key] for name, node in sorted(told.items())])


def save(requests: Sequence[Request], roster: Path, node_list: Path) -> RosterFile:
    """Write roster and node list as new files; they are there already and the same, nothing happens.

    Raises:
        SpecError: as :func:`approve`; or other files are there, which are never replaced.
    """
    made = approve(requests)
    told = {name: node.model_dump() for name, node in nodes(requests).items()}
    blob = (json.dumps(told, indent=1) + "\n").encode()
    other = roster.exists() and RosterFile.load(roster) != made
    if other or (node_list.exists() and node_list.read_bytes() != blob):
        raise SpecError(f"{roster}, {node_list}: expected none yet or the same; a roster is never replaced")
    if not roster.exists():
        made.save(roster)
    if not node_list.exists():
        _create(node_list, blob, 0o644)
    return made


def load_nodes(path: Path) -> dict[str, Node]:
    """Read a node list.

    Raises:
        SpecError: one line naming the file and what is wrong with it.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise SpecError(f"{path}: expected a node list, {fault.strerror}") from None
    except (ValueError, RecursionError) as fault:
        raise SpecError(f"{path}: expected JSON, {fault}") from None
    if not isinstance(told, dict):
        raise SpecError(f"{path}: expected name → role, cap and key, as fedgenome keys approve writes it")
    return {name: _validated(Node, f"{path}: {name}", one) for name, one in told.items()}


def node_key(text: str) -> ec.EllipticCurvePublicKey | None:
    """Return the P-384 public key that an OpenSSH line holds; None if it holds none."""
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        key = serialization.load_ssh_public_key(text.encode())
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1):
            return key
    return None


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
        _create(
            path,
            made.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            ),
            0o600,
        )
    key = None
    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):  # their texts could quote the file
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise SpecError(f"{path}: expected an unencrypted ECDSA P-384 key in OpenSSH format")
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    files.replace(path.with_name(f"{NODE_KEY}.pub"), line + b"\n")
    return line.decode()


def _once(what: str, values: Sequence[str], names: Sequence[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            both = ", ".join(name for name, own in zip(names, values, strict=True) if own == value)
            raise SpecError(f"requests: expected every {what} once, got the same of {both}")


def _validated(model: type[_Record], where: str, told: object) -> _Record:
    try:
        return model.model_validate(told)
    except ValidationError as fault:
        raise SpecError(f"{where}: {finding(fault, model)}") from None


def _create(path: Path, blob: bytes, mode: int) -> None:
    try:
        files.create(path, blob, mode)
    except OSError as fault:
        raise SpecError(f"{path}: expected a place for a new file, {fault.strerror}") from None
