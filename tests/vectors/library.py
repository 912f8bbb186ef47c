"""What fedgenome makes of a vector: one function a structure, from ``given`` to ``gives``, or one of its errors.

Bytes are hex, floats that a digest covers are hexadecimal, ring words are the hex of their little-endian
bytes. ``reading/`` answers the same questions without fedgenome.
"""

import hashlib
import secrets
import socket
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pydantic
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedgenome.errors import FedgenomeError, Refused, SpecError
from fedgenome.federation import wire
from fedgenome.privacy.books import Run
from fedgenome.privacy.replay import replay
from fedgenome.query import Query, Terms, digest_of, from_header
from fedgenome.secure import bundle, dealer, envelope, frames, joining, links, party, ring, sharing
from fedgenome.secure.envelope import PartyKey, PublicKey
from fedgenome.secure.generators import Pass, stream_key
from fedgenome.secure.group import meeting
from fedgenome.secure.identity import Identity, _statement, verify
from fedgenome.secure.once import Once
from fedgenome.secure.party import Party
from fedgenome.secure.replies import possible
from fedgenome.secure.runkeys import RunKey
from fedgenome.secure.winners import _INDEX, NOISE, WINNERS, unmasked, unpack
from fedgenome.streams import Root
from fedgenome.study import Plan, Study

Given = dict[str, Any]


def outcome(structure: str, given: Given) -> Given | str:
    """Return what fedgenome derives, or the name of the error by which it refuses."""
    try:
        return STRUCTURES[structure](**given)
    except Refused as fault:
        return f"Refused {fault.code}"
    except FedgenomeError as fault:
        return type(fault).__name__


# ── keys made from bytes ─────────────────────────────────────────────────────────────────────────


def identity_of(seed: str) -> Identity:
    """Return the identity of a 32-byte Ed25519 private key in hex."""
    return Identity._of(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))


def party_key_of(seed: str) -> PartyKey:
    """Return the encryption key of 96 bytes in hex: ML-KEM-768 seed (64), X25519 private key (32)."""
    raw = bytes.fromhex(seed)
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(raw[:64])
    curve = x25519.X25519PrivateKey.from_private_bytes(raw[64:])
    public = PublicKey(raw=lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw())
    return PartyKey(public=public, _key=hpke.MLKEM768X25519PrivateKey(lattice, curve))


def terms_of(told: Given) -> Terms:
    """Return the terms of a record that is right."""
    return Terms(**told | {"caps": tuple(map(tuple, told["caps"]))})


def query_of(header: Given, terms: Given) -> Query:
    """Return the query of a header and terms that are right."""
    return from_header(header, terms_of(terms), None)


def words_of(text: str, width: int) -> ring.Words:
    """Return ring words from hex."""
    return ring.as_words(bytes.fromhex(text), width).copy()


def counted(width: int, count: int) -> ring.Words:
    """Return the words 0, 1, 2, … that stand for a long vector."""
    return np.arange(count, dtype=ring.dtype_of(width))


# ── what all sides pin ───────────────────────────────────────────────────────────────────────────


def digest(kind: str, json: str) -> Given:
    value = frames._parse(b'{"value":' + json.encode() + b"}")["value"]
    return {"digest": digest_of(kind, value)}


def study(study: Given, plan: Given) -> Given:
    try:
        pinned, priced = Study.model_validate(study), Plan.model_validate(plan)
    except pydantic.ValidationError:
        raise SpecError("a record of the join") from None
    digests = {"study": pinned.digest, "plan": priced.digest, "roster": pinned.keys.digest}
    return digests | {"terms": pinned.terms(priced).digest}


def terms(terms: Given, roster: Given) -> Given:
    told = party._terms(terms), party._roster(roster)
    if (told[0].roster, told[0].caps) != (told[1].digest, told[1].caps):
        raise Refused("other-roster")
    return {"terms": told[0].digest, "roster": told[1].digest}


def query(header: Given, terms: Given, study: str, run: str) -> Given:
    pinned = party._Pinned(study=study, run=run, terms=terms_of(terms), roster=None)
    asked = party._query(header, pinned)
    floats = {"sensitivity": asked.sensitivity, "sigma": asked.sigma_ring, "limit": asked.limit}
    floats |= {"sigma_party": asked.sigma_party, "sigma_home": asked.sigma_home}
    chosen = asked.selection and asdict(asked.selection) | {"rate": str(asked.selection.rate)}
    derived = {name: value.hex() for name, value in floats.items()}
    return {"digest": asked.digest, "width": asked.width, "selection": chosen} | derived


def payload(header: Given, terms: Given, arrays: dict[str, Given]) -> Given:
    held = {name: _numbers(**array) for name, array in arrays.items()}
    return {"digest": from_header(header, terms_of(terms), held).digest}


def _numbers(dtype: str, shape: list[int], data: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(data), dtype).reshape(shape)


# ── who says so ──────────────────────────────────────────────────────────────────────────────────


def statement(kind: str, values: list[Any], public: str, signature: str) -> Given:
    verify(public, kind, values, bytes.fromhex(signature))
    return {"signed": _statement(kind, values).hex()}


def party_key(study: str, run: str, terms: Given, party: int, identity: str, told: Given) -> Given:
    key = RunKey.from_json(told)
    key.check(identity, study, run, terms_of(terms), party)
    envelope.seal_small(bytes(32), key.public, b"")
    return {"sha256": hashlib.sha256(key.public.to_bytes()).hexdigest()}


def stamp(query: str, site: str, identity: str, party: int, part: str, stamp: str) -> Given:
    asked = SimpleNamespace(digest=query)
    bundle.check_stamp(asked, site, identity, party, bytes.fromhex(part), bytes.fromhex(stamp))
    return {"sha256": bundle.digest_of(bytes.fromhex(part)).hex()}


# ── shares ───────────────────────────────────────────────────────────────────────────────────────


def numbers(numbers: list[str], scale: float, width: int) -> Given:
    total = np.array([float.fromhex(number) if "x" in number else float(number) for number in numbers])
    words = ring.encode(total, scale, width)
    return {"words": words.tobytes().hex(), "read": [x.hex() for x in ring.decode(words, scale, width).tolist()]}


def context(run: str, query: str, attempt: int, site: str, party: int) -> Given:
    asked = SimpleNamespace(run=run, digest=query, attempt=attempt)
    return {"context": sharing.context(asked, site, party).hex()}


def mask(seed: str, context: str, width: int, count: int) -> Given:
    words = np.zeros(count, ring.dtype_of(width))
    sharing.add_mask(words, bytes.fromhex(seed), bytes.fromhex(context))
    return {"first": words.tobytes()[:32].hex(), "sha256": hashlib.sha256(words.tobytes()).hexdigest()}


def sealed_secret(key: str, info: str, sealed: str) -> Given:
    return {"secret": envelope.open_small(bytes.fromhex(sealed), party_key_of(key), bytes.fromhex(info)).hex()}


def sealed_vector(key: str, info: str, sealed: str, width: int, count: int, spans: list[list[int]]) -> Given:
    holder, context = party_key_of(key), bytes.fromhex(info)
    secret = envelope.open_small(bytes.fromhex(sealed), holder, context)
    with patch.object(secrets, "token_bytes", lambda n: secret):
        made = envelope.seal_vector(counted(width, count), holder.public, context)
    whole = bytes.fromhex(sealed) + made[envelope.SMALL_BYTES :]
    blob = b"".join(whole[start:end] for start, end in spans)
    plain = bytearray()
    envelope.open_vector_into(blob, holder, context, plain.extend)
    return {"sealed": hashlib.sha256(blob).hexdigest(), "opened": hashlib.sha256(plain).hexdigest()}


def part(header: Given, terms: Given, site: str, party: int, key: str, part: str) -> Given:
    asked = query_of(header, terms)
    words = np.zeros(asked.question.length, ring.dtype_of(asked.width))
    index = [name for name, _ in terms["caps"]].index(site)
    bundle.add_part(asked, site, index, party, party_key_of(key), bytes.fromhex(part), words)
    return {"share": words.tobytes().hex()}


def total(header: Given, terms: Given, keys: list[str], sites: dict[str, Given]) -> Given:
    """Every site's parts, at the three parties, up to the opened sum."""
    asked, holders = query_of(header, terms), [party_key_of(key) for key in keys]
    totals = np.zeros((len(keys), asked.question.length), ring.dtype_of(asked.width))
    for index, (site, _) in enumerate(terms["caps"]):
        told = sites[site]
        for i, key in enumerate(holders):
            sealed = bytes.fromhex(told["parts"][i])
            bundle.check_stamp(asked, site, told["identity"], i, sealed, bytes.fromhex(told["stamp"]))
            bundle.add_part(asked, site, index, i, key, sealed, totals[i])
    return {"accumulators": [one.tobytes().hex() for one in totals]} | _opened(asked, totals)


def _opened(asked: Query, shares: Any) -> Given:
    words = shares[0] + shares[1] + shares[2]
    integers = ring.signed(words)
    ring.check_range(integers, asked.limit)
    numbers = ring.decode(words, asked.scale, asked.width)
    return {"integers": integers.tolist(), "numbers": [x.hex() for x in numbers.tolist()]} | _largest(asked, integers)


def _largest(asked: Query, integers: Any) -> Given:
    """What the coordinator takes of scores without noise."""
    if asked.question.reduce == "sum":
        return {}
    return {"winners": np.argsort(-integers, kind="stable")[: asked.question.reply_length].tolist()}


# ── messages and files ───────────────────────────────────────────────────────────────────────────


def frame(frame: str) -> Given:
    """A request must also be one that a party understands: its header has the fields of its kind."""
    found = frames.decode(bytes.fromhex(frame))
    if found.kind < frames.Kind.OK:
        with tempfile.TemporaryDirectory() as folder, Once(Path(folder) / party.ANSWERS) as once:
            reply = Party(0, Root.secret(), identity_of("01" * 32), once, lambda words: words).answer(
                bytes.fromhex(frame)
            )
        if reply.header.get("code") == "malformed":
            raise Refused("malformed")
    return {"kind": found.kind.name, "header": found.header, "body": bytes(found.body).hex()}


def _replies(replies: dict[str, str]) -> list[frames.Frame]:
    return [frames.decode(bytes.fromhex(replies[f"party-{index}"])) for index in range(len(replies))]


def opening(header: Given, terms: Given, sites: list[str], replies: dict[str, str]) -> Given:
    asked, found = query_of(header, terms), _replies(replies)
    told = {"query": asked.digest, "set": party.set_digest(asked.digest, sites)}
    if any(reply.kind is not frames.Kind.WORDS or reply.header != told for reply in found):
        raise Refused("other-set")
    shares = [words_of(bytes(reply.body).hex(), asked.width) for reply in found]
    return _opened(asked, shares)


def winners(header: Given, terms: Given, sites: list[str], replies: dict[str, str]) -> Given:
    asked, found = query_of(header, terms), _replies(replies)
    told = {"query": asked.digest, "set": party.set_digest(asked.digest, sites)}
    first = found[0].header.get("winners")
    for reply in found:
        same = reply.kind is frames.Kind.WINNERS and reply.header == told | {"winners": first}
        if not (same and possible(first, asked)):
            raise Refused("other-winners")
    return {"winners": first}


def message(sent: str) -> Given:
    """What ``frames.receive`` reads of the bytes that the other end sent before it left."""
    theirs, ours = socket.socketpair()
    with theirs, Connection(ours.detach()) as link:
        theirs.sendall(bytes.fromhex(sent))
        theirs.shutdown(socket.SHUT_WR)
        try:
            return {"frame": frames.receive(link).hex()}
        except (EOFError, OSError):
            raise Refused("gone") from None


def answers(file: str, terms: Given | None = None) -> Given:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / party.ANSWERS
        path.write_bytes(bytes.fromhex(file))
        with Once(path) as once:
            key, digest = once.last
            body = once.body(key)
            return {
                "answered": dict(once._told),
                "last": [key, digest],
                "body": None if body is None else body.hex(),
                "selection": _kept(str(digest), body, terms),
            }


def _kept(digest: str, body: bytes | None, terms: Given | None) -> Given | None:
    """What a party takes up a selection with, as ``Chooser.repeat`` reads it."""
    *_, stage = digest.split(" ")
    if terms is None or body is None or stage not in (NOISE, WINNERS):
        return None
    key, header, rest = unpack(body)
    asked = query_of(header, terms)
    if stage == NOISE:
        return {"query": asked.digest, "key": key.hex(), "share": unmasked(key, rest, asked.width).tobytes().hex()}
    return {"query": asked.digest, "winners": np.frombuffer(rest, _INDEX).tolist()}


def ledger(file: str) -> Given:
    found = replay(file.encode(), Path("ledger"), signature=verify)
    told = {name: getattr(found, name) for name in ("heads", "noted", "torn", "signers", "unsigned")}
    held = found.books
    return told | {
        "account": held.account,
        "runs": {name: _run(run) for name, run in held.runs.items()},
        "reserved": list(held.reserved()),
        "spent": list(held.spent()),
        "budget": held.budget and [held.budget.epsilon, held.budget.delta],
    }


def _run(run: Run) -> Given:
    used = [[form and asdict(form), count] for form, count in run.used.items()]
    return {"plan": run.plan.digest, "status": run.status, "used": used}


def call(json: str, arrays: dict[str, Given]) -> Given:
    held = {
        name: Array(array["dtype"], tuple(array["shape"]), array["stype"], bytes.fromhex(array["data"]))
        for name, array in arrays.items()
    }
    found = wire.from_records(RecordDict({"header": ConfigRecord({"json": json}), "arrays": ArrayRecord(held)}))
    return {"header": found.header, "arrays": {name: array.tolist() for name, array in found.arrays.items()}}


# ── parties and dealer among themselves ──────────────────────────────────────────────────────────


def hello(study: str, run: str, terms: Given, identities: list[str], exchange: str, rank: int, hello: str) -> Given:
    """What ``joining._greet`` reads before TLS, at the role ``rank`` with the session key ``exchange``."""
    where = meeting(study, run, terms_of(terms), identities, ("/a", "/b", "/c"))
    own = Pass(
        rank=rank,
        tls=identity_of("01" * 32).key,
        certificate=b"",
        shown=b"",
        _exchange=x25519.X25519PrivateKey.from_private_bytes(bytes.fromhex(exchange)),
    )
    raw = bytes.fromhex(hello)
    theirs, ours = socket.socketpair()
    with theirs, ours, patch.object(joining, "_context", _stop):
        theirs.sendall(raw)
        theirs.shutdown(socket.SHUT_WR)
        try:
            joining._greet(where, own, ours, None)
        except _Met as met:
            told, secret = raw[5], own.meet(where, raw[5], raw[joining.HELLO.size :])[1]
            found = {
                "session": where.session,
                "rank": told,
                "certificate": met.certificate.hex(),
                "secret": secret.hex(),
            }
            return found | {"tuples": stream_key(secret, dealer.PURPOSE).hex()}
        except OSError:
            raise Refused("gone") from None
    raise AssertionError


class _Met(Exception):
    def __init__(self, certificate: bytes) -> None:
        self.certificate = certificate


def _stop(own: Pass, trusted: bytes, server: bool) -> None:
    raise _Met(trusted)


def link_frame(kind: str, number: int, body_bytes: int, frame: str) -> Given:
    """``frame`` arrives where the receiver awaits this kind, number and length."""
    raw, room = bytes.fromhex(frame), bytearray(body_bytes)
    theirs, ours = socket.socketpair()
    with theirs, ours:
        link = links.Link(1, ours, b"")
        link._numbers[1] = number
        link.expect(links.Kind[kind], [memoryview(room)])
        theirs.sendall(raw)
        theirs.shutdown(socket.SHUT_WR)
        while link.busy:
            link.step()
        if ours.recv(1):
            raise Refused("more")  # the next frame begins where this one should have ended
    return {"body": room.hex()}


def tuple_request(request: str) -> Given:
    function, count = dealer._parse(bytearray.fromhex(request))
    return {"function": function.name, "count": count}


STRUCTURES: dict[str, Callable[..., Given]] = {
    one.__name__: one
    for one in (
        *(digest, study, terms, query, payload, statement, party_key, stamp, numbers, context, mask, sealed_secret),
        *(sealed_vector, part, total, frame, message, opening, winners, answers, ledger, call),
        *(hello, link_frame, tuple_request),
    )
}
