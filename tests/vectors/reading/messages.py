"""Messages: frames, Flower's records, and what passes between parties and dealer."""

import hmac
import re
import struct
from json import loads

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tests.vectors.reading.pinned import asked, terms_digest
from tests.vectors.reading.rules import PARTIES, digest_of, exactly, named, parsed, rule, verify
from tests.vectors.reading.shares import opened, word_type

REQUESTS = {
    1: ("HELLO", {}),
    2: ("PIN", {"study": str, "run": str, "terms": dict, "roster": dict}),
    3: ("BEGIN", {"query": dict}),
    4: ("PART", {"site": str, "stamp": str}),
    5: ("REVEAL", {"query": str, "sites": list}),
    6: ("ABORT", {}),
    7: ("CLOSE", {}),
}
REPLIES = {64: "OK", 65: "WORDS", 66: "REFUSED", 67: "WINNERS"}


def frame_of(raw):
    magic, version, kind, n_header, n_body = struct.unpack_from(">4sBBIQ", raw)
    rule((magic, version) == (b"FGPF", 1) and len(raw) == 18 + n_header + n_body, "magic, version, lengths")
    header = parsed(raw[18 : 18 + n_header])
    name, fields = REQUESTS[kind] if kind in REQUESTS else (named(REPLIES, kind), None)
    rule(type(header) is dict and (not n_body or name in ("PART", "WORDS")), "header, body")
    if fields is not None:
        exactly(header, **fields)
    return name, header, raw[18 + n_header :]


def frame(frame):
    kind, header, body = frame_of(bytes.fromhex(frame))
    return {"kind": kind, "header": header, "body": body.hex()}


def opening(header, terms, sites, replies):
    found = asked(header, terms)
    told = {"query": found["digest"], "set": digest_of("set", [found["digest"], sites])}
    shares = []
    for kind, reply, body in (frame_of(bytes.fromhex(replies[f"party-{party}"])) for party in range(PARTIES)):
        rule(kind == "WORDS" and reply == told, "one query and set")
        shares.append(np.frombuffer(body, word_type(found["width"])))
    return opened(shares[0] + shares[1] + shares[2], header, found["limit"])


def winners(header, terms, sites, replies):
    found, question = asked(header, terms), header["question"]
    told = {"query": found["digest"], "set": digest_of("set", [found["digest"], sites])}
    first = None
    for kind, reply, _ in (frame_of(bytes.fromhex(replies[f"party-{party}"])) for party in range(PARTIES)):
        exactly(reply, query=str, set=str, winners=list)
        first = first or reply["winners"]
        rule(kind == "WINNERS" and reply == told | {"winners": first}, "one query, set and winners")
    rule(all(type(index) is int and 0 <= index < question["length"] for index in first), "indices of scores")
    rule(len(set(first)) == len(first) == question["reply_length"], "each once, as many as were asked for")
    return {"winners": first}


def message(sent):
    raw = bytes.fromhex(sent)
    (size,) = struct.unpack_from(">I", raw)
    rule(size < 1 << 31 and len(raw) >= 4 + size, "the length")
    return {"frame": raw[4 : 4 + size].hex()}


def call(json, arrays):
    header = loads(json)
    rule(type(header) is dict, "an object")
    return {"header": header, "arrays": {name: array_of(**array) for name, array in arrays.items()}}


def array_of(dtype, shape, stype, data):
    rule(stype == "fedgenome.raw" and re.fullmatch("[<|][biuf][0-9]+", dtype), "numbers as raw bytes")
    return np.frombuffer(bytes.fromhex(data), dtype).reshape(shape).tolist()


def hkdf(salt, secret, info):
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\1", "sha256")


def hello(study, run, terms, identities, exchange, rank, hello):
    session = digest_of("session", [study, run, terms_digest(terms)])
    raw = bytes.fromhex(hello)
    magic, version, caller, size = struct.unpack_from(">4sBBH", raw)
    rule((magic, version) == (b"FGTL", 1) and rank < caller <= PARTIES and size <= 2048 and len(raw) == 8 + size)
    public, signature, certificate = raw[8:40], raw[40:104], raw[104:]
    meeting = bytes.fromhex(digest_of("meeting", [session, identities]))
    verify(identities[caller], signature, b"fedgenome pass 1" + meeting + bytes([caller]) + public + certificate)
    own = X25519PrivateKey.from_private_bytes(bytes.fromhex(exchange))
    pair = bytes([rank]) + own.public_key().public_bytes_raw() + bytes([caller]) + public
    secret = hkdf(meeting, own.exchange(X25519PublicKey.from_public_bytes(public)), b"fedgenome pair 1" + pair)
    stream = hkdf(bytes(32), secret, b"fedgenome stream 1tuples")
    told = {"rank": caller, "certificate": certificate.hex(), "secret": secret.hex(), "tuples": stream.hex()}
    return {"session": session} | told


LINKS = {"WELCOME": 1, "AGREE": 2, "WORDS": 3, "REQUEST": 4, "TUPLE": 5}


def link_frame(kind, number, body_bytes, frame):
    raw = bytes.fromhex(frame)
    rule(raw[:18] == struct.pack(">4sBBIQ", b"FGLF", 1, LINKS[kind], number, body_bytes), "the frame that is due")
    rule(len(raw) == 18 + body_bytes, "its length")
    return {"body": raw[18:].hex()}


def tuple_request(request):
    function, count = struct.unpack(">BQ", bytes.fromhex(request))
    rule(0 < count <= 1 << 26, "1 to 2^26 tuples")
    return {"function": named({1: "PRODUCT", 2: "AND", 3: "BIT"}, function), "count": count}
