"""Conventions of docs/protocol.md: exact fields, canonical JSON, digests, statements, and what a refusal is."""

import hashlib
import math
import re
import struct
from json import loads

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PARTIES = 3


class Bad(Exception):
    """A rule of the protocol is broken."""


# Nothing that a slip of this code would raise as well: no KeyError, no TypeError.
REFUSALS = (Bad, InvalidSignature, InvalidTag, ValueError, struct.error)


def rule(ok, what="a rule"):
    if not ok:
        raise Bad(what)


def exactly(told, **types):
    """The fields of ``types``, no others, each of exactly its type: true is no integer, 1 no float."""
    rule(type(told) is dict and set(told) == set(types), "fields")
    rule(all(type(told[name]) in (kind if isinstance(kind, tuple) else (kind,)) for name, kind in types.items()))
    return told


def named(table, key):
    """The entry of a table that lists all there are."""
    rule(key in table, "one of those listed")
    return table[key]


def unhex(text):
    rule(type(text) is str and re.fullmatch("([0-9a-f]{2})+", text), "lower-case hex")
    return bytes.fromhex(text)


def sha256(raw):
    return hashlib.sha256(raw).hexdigest()


def canonical(value):
    if isinstance(value, str):
        return '"' + "".join(map(escaped, value)) + '"'
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        rule(math.isfinite(value))
        return repr(value)
    return {None: "null", True: "true", False: "false"}[value] if value is None or type(value) is bool else str(value)


def escaped(letter):
    short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if letter in short or " " <= letter <= "~":
        return short.get(letter, letter)
    units = letter.encode("utf-16-be")
    return "".join(f"\\u{unit:04x}" for (unit,) in struct.iter_unpack(">H", units))


def parsed(raw):
    """The value of canonical JSON."""
    text = raw.decode("ascii") if isinstance(raw, bytes) else raw
    value = loads(text)
    rule(canonical(value) == text, "canonical JSON")
    return value


def digest_of(kind, value):
    return sha256(f"fedgenome {kind} 1\0{canonical(value)}".encode())


def statement_of(kind, values):
    return f"fedgenome {kind} 1\0{canonical(values)}".encode()


def verify(public, signature, text):
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, text)
