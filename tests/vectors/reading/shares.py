"""Who signed what, and shares: from numbers to sealed parts and back to the sum."""

import hashlib
import hmac
import math
import struct
from fractions import Fraction

import numpy as np
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.reading.pinned import asked, terms_digest
from tests.vectors.reading.rules import PARTIES, exactly, named, rule, sha256, statement_of, unhex, verify

CHUNK, TAG, SEALED = 1 << 20, 16, 1168


def statement(kind, values, public, signature):
    text = statement_of(kind, values)
    verify(public, bytes.fromhex(signature), text)
    return {"signed": text.hex()}


def party_key(study, run, terms, party, identity, told):
    raw, signature = unhex(exactly(told, public=str, signature=str)["public"]), unhex(told["signature"])
    verify(identity, signature, statement_of("party key", [study, run, terms_digest(terms), party, told["public"]]))
    rule(len(raw) == 1216, "1216 bytes")
    MLKEM768PublicKey.from_public_bytes(raw[:1184])
    X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(raw[1184:]))  # refuses points of low order
    return {"sha256": sha256(raw)}


def stamp(query, site, identity, party, part, stamp):
    magic, version, hashes, signature = struct.unpack(">4sB96s64s", bytes.fromhex(stamp))
    rule((magic, version) == (b"FGBN", 1), "magic, version")
    told = [hashes[32 * i : 32 * (i + 1)].hex() for i in range(PARTIES)]
    verify(identity, signature, statement_of("bundle", [query, site, *told]))
    rule(sha256(fixing(bytes.fromhex(part))) == told[party], "the part's hash")
    return {"sha256": told[party]}


def fixing(part):
    """A part's header and sealed secret, and the tags of its chunks."""
    front, chunks = part[: 14 + 1168], part[14 + 1168 :]
    return front + b"".join(chunks[i : i + 2**20 + 16][-16:] for i in range(0, len(chunks), 2**20 + 16))


def word_type(width):
    return named({32: "<u4", 64: "<u8"}, width)


def signed(words):
    """Words as two's complement."""
    half = 1 << (8 * words.itemsize - 1)
    return [(int(word) + half) % (2 * half) - half for word in words]


def numbers(numbers, scale, width):
    rule(0 < scale < math.inf and math.frexp(scale)[0] == 0.5, "a power of two")
    exact = [float.fromhex(number) for number in numbers]
    rule(all(abs(x) < 2.0 ** (width - 2) / scale for x in exact), "numbers below 2^(w-2)")
    integers = [round(Fraction(x) * Fraction(scale)) for x in exact]  # halves to the even neighbour
    words = np.array([x % 2**width for x in integers], word_type(width))
    return {"words": words.tobytes().hex(), "read": [(x / scale).hex() for x in integers]}


def context_of(run, query, attempt, site, party):
    names = [name.encode() for name in (run, query, str(attempt), site, str(party))]
    return b"fedgenome share 1" + b"".join(struct.pack(">I", len(name)) + name for name in names)


def context(run, query, attempt, site, party):
    return {"context": context_of(run, query, attempt, site, party).hex()}


def mask_of(seed, names, width, count):
    rule(len(seed) == 32, "a seed of 32 bytes")
    key = hmac.digest(seed, names, "sha256")
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(count * width // 8))
    return np.frombuffer(stream, word_type(width))


def mask(seed, context, width, count):
    words = mask_of(bytes.fromhex(seed), bytes.fromhex(context), width, count).tobytes()
    return {"first": words[:32].hex(), "sha256": sha256(words)}


def hpke_open(key, info, sealed):
    """RFC 9180, base mode, one shot: KEM 0x647a, KDF 0x0001, AEAD 0x0002."""
    rule(len(sealed) == SEALED, "1168 bytes")
    lattice, curve = MLKEM768PrivateKey.from_seed_bytes(key[:64]), X25519PrivateKey.from_private_bytes(key[64:])
    share = sealed[1088:1120]
    parts = [lattice.decapsulate(sealed[:1088]), curve.exchange(X25519PublicKey.from_public_bytes(share)), share]
    shared = hashlib.sha3_256(b"".join(parts) + curve.public_key().public_bytes_raw() + rb"\.//^" + b"\\").digest()
    suite = b"HPKE-v1HPKE" + struct.pack(">HHH", 0x647A, 1, 2)

    def extract(salt, label, text):
        return hmac.digest(salt, suite + label + text, "sha256")

    def expand(secret, label, size):
        return hmac.digest(secret, struct.pack(">H", size) + suite + label + names + b"\1", "sha256")[:size]

    names = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    return AESGCM(expand(secret, b"key", 32)).decrypt(expand(secret, b"base_nonce", 12), sealed[1120:], b"")


def sealed_secret(key, info, sealed):
    return {"secret": hpke_open(bytes.fromhex(key), bytes.fromhex(info), bytes.fromhex(sealed)).hex()}


def nonces(n_chunks):
    return [bytes(7) + struct.pack(">IB", index, index == n_chunks - 1) for index in range(n_chunks)]


def open_vector(key, info, blob):
    cipher, chunks = AESGCM(hpke_open(key, info, blob[:SEALED])), blob[SEALED:]
    pieces = [chunks[i : i + CHUNK + TAG] for i in range(0, max(1, len(chunks)), CHUNK + TAG)]
    opened = [cipher.decrypt(nonce, one, None) for nonce, one in zip(nonces(len(pieces)), pieces, strict=True)]
    return b"".join(opened)


def sealed_vector(key, info, sealed, width, count, spans):
    key, info, secret = bytes.fromhex(key), bytes.fromhex(info), bytes.fromhex(sealed)
    plain = np.arange(count, dtype=word_type(width)).tobytes()
    pieces, cipher = [plain[i : i + CHUNK] for i in range(0, len(plain), CHUNK)], AESGCM(hpke_open(key, info, secret))
    whole = secret + b"".join(cipher.encrypt(*one, None) for one in zip(nonces(len(pieces)), pieces, strict=True))
    arrived = b"".join(whole[start:end] for start, end in spans)
    return {"sealed": sha256(arrived), "opened": sha256(open_vector(key, info, arrived))}


def share_of(header, found, index, site, party, key, part):
    """The share that a part holds, as words."""
    length, width = header["question"]["length"], found["width"]
    vector = index % PARTIES == party
    size = SEALED + (length * width // 8 + TAG * -(-length * width // 8 // CHUNK) if vector else 0)
    head = struct.pack(">4sBBQ", b"FGPT", 1, vector, size)
    rule(part[:14] == head and len(part) == 14 + size, "the part's header and length")
    names = context_of(header["run"], found["digest"], header["attempt"], site, party)
    if vector:
        return np.frombuffer(open_vector(key, head + names, part[14:]), word_type(width))
    return mask_of(hpke_open(key, head + names, part[14:]), names, width, length)


def part(header, terms, site, party, key, part):
    index = [name for name, _ in terms["caps"]].index(site)
    found = asked(header, terms)
    words = share_of(header, found, index, site, party, bytes.fromhex(key), bytes.fromhex(part))
    return {"share": words.tobytes().hex()}


def opened(total, header, limit):
    integers = signed(total)
    rule(all(abs(x) <= float.fromhex(limit) for x in integers), "the range")
    return {"integers": integers, "numbers": [(float(x) / header["scale"]).hex() for x in integers]} | largest(
        header, integers
    )


def largest(header, integers):
    """The winners among scores without noise."""
    ranked = sorted(range(len(integers)), key=lambda index: (-integers[index], index))
    return {"winners": ranked[: header["question"]["reply_length"]]} if header["question"]["reduce"] == "select" else {}


def total(header, terms, keys, sites):
    """Every site's parts, at the three parties, up to the opened sum."""
    found = asked(header, terms)
    sums = [np.zeros(header["question"]["length"], word_type(found["width"])) for _ in range(PARTIES)]
    for index, (site, _) in enumerate(terms["caps"]):
        told = sites[site]
        for party in range(PARTIES):
            stamp(found["digest"], site, told["identity"], party, told["parts"][party], told["stamp"])
            raw = bytes.fromhex(told["parts"][party])
            sums[party] = sums[party] + share_of(header, found, index, site, party, bytes.fromhex(keys[party]), raw)
    held = {"accumulators": [one.tobytes().hex() for one in sums]}
    return held | opened(sums[0] + sums[1] + sums[2], header, found["limit"])
