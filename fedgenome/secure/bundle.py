"""A site's answer on the wire: one sealed part for each party (DESIGN §5, *Sharing*, *Envelopes*).

A part is a header and a body:

    offset  bytes  field
    0       4      magic "FGPT"
    4       1      version 1
    5       1      kind: 0 seed, 1 vector
    6       8      bytes of the body, big-endian
    14      …      body: a sealed seed (1168 bytes) or a sealed vector (envelope.py)

Kind and length follow from the query, the site and the party: a part that says otherwise is refused.
The header and the share's context are the ``info`` under which the body is sealed.

Beside the three parts goes one stamp, which all three parties get:

    0       4      magic "FGBN"
    4       1      version 1
    5       3·32   digest of each part, in party order: SHA-256 of header, sealed secret and chunks' tags
    101     64     Ed25519 signature of the site's identity over the statement "bundle" of
                   [query digest, site, the three digests in hex]

A party checks its own part against its digest and the signature over all of it: neither a part nor a
whole bundle can come from anybody but the site, for any other query or attempt. What is hashed fixes all
else: the sealed secret the content key, which site and party alone know, and that key and the tags the
chunks. A chunk that is altered under its tag fails when it is opened, not before.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import struct
from collections.abc import Callable, Sequence

import numpy as np

from fedgenome.errors import WireError, require
from fedgenome.query import PARTIES, Query
from fedgenome.secure.envelope import (
    SMALL_BYTES,
    PartyKey,
    PublicKey,
    fixing,
    open_small,
    open_vector_into,
    seal_small,
    seal_vector,
    vector_bytes,
)
from fedgenome.secure.identity import SIGNATURE_BYTES, Identity, verify
from fedgenome.secure.ring import Words, as_words, dtype_of
from fedgenome.secure.sharing import Masked, add_mask, carrier, context, share

HEADER = struct.Struct(">4sBBQ")  # magic | version | kind | bytes of the body
MAGIC, VERSION = b"FGPT", 1
SEED, VECTOR = 0, 1
STAMP = struct.Struct(f">4sB{PARTIES * 32}s{SIGNATURE_BYTES}s")  # magic | version | digests | signature
STAMP_MAGIC, STAMP_VERSION = b"FGBN", 1


def seal(
    query: Query, site: str, site_index: int, words: Words, publics: Sequence[PublicKey]
) -> tuple[bytes, bytes, bytes]:
    """Share ``words`` and seal one part to each party.

    Args:
        query: What is being answered; width and length must be those of ``words``.
        site: The site's name.
        site_index: Its index in the roster; decides which party gets the vector.
        words: (n,) uint32 or uint64, the encoded sum; left as it is.
        publics: The parties' keys, in party order.

    Raises:
        SpecError: the words do not fit the query, or there are not three keys.
    """
    require(len(publics) == PARTIES, f"{PARTIES} party keys", keys=len(publics))
    _check_words(query, words)
    holder = carrier(site_index)
    contexts = [context(query, site, party) for party in range(PARTIES)]
    shares = share(words, contexts, holder)
    sealed = map(functools.partial(_seal_part, query), shares, publics, contexts)
    first, second, third = sealed
    return first, second, third


def upload_bytes(query: Query) -> int:
    """Return what a site sends for one answer: three parts and the stamp."""
    vector = vector_bytes(query.question.length * query.width // 8)
    return PARTIES * HEADER.size + vector + (PARTIES - 1) * SMALL_BYTES + STAMP.size


def sign(query: Query, site: str, parts: Sequence[bytes], identity: Identity) -> bytes:
    """Return the stamp (165 bytes) by which the site vouches for the three ``parts`` of its answer."""
    require(len(parts) == PARTIES, f"{PARTIES} parts", parts=len(parts))
    digests = [digest_of(part) for part in parts]
    signature = identity.sign("bundle", _vouched(query, site, digests))
    return STAMP.pack(STAMP_MAGIC, STAMP_VERSION, b"".join(digests), signature)


def digest_of(part: bytes | memoryview) -> bytes:
    """Return the 32 bytes that stand for ``part`` in a stamp."""
    view = memoryview(part)
    sha256 = hashlib.sha256(view[: HEADER.size])
    for piece in fixing(view[HEADER.size :]):
        sha256.update(piece)
    return sha256.digest()


def check_stamp(
    query: Query, site: str, public: str, party: int, part: bytes | memoryview, stamp: bytes | memoryview
) -> None:
    """Check that ``part`` belongs to the bundle that the site ``public`` made for this query.

    Raises:
        WireError: it does not: another query, site, party or bundle, or altered bytes. Of a vector's
            chunks only the tags are looked at: :func:`add_part` refuses chunks that do not fit them.
    """
    if len(stamp) != STAMP.size:
        raise WireError(f"stamp: expected {STAMP.size} bytes, got {len(stamp)}")
    magic, version, joined, signature = STAMP.unpack(stamp)
    if (magic, version) != (STAMP_MAGIC, STAMP_VERSION):
        raise WireError(f"stamp: expected magic/version {STAMP_MAGIC!r}/{STAMP_VERSION}, got {magic!r}/{version}")
    digests = [joined[32 * i : 32 * (i + 1)] for i in range(PARTIES)]
    verify(public, "bundle", _vouched(query, site, digests), signature)  # first: it is cheap, and stops strangers
    if digest_of(part) != digests[party]:
        raise WireError(f"stamp: it is not for this part of party {party}")


def _vouched(query: Query, site: str, digests: Sequence[bytes]) -> list[str]:
    return [query.digest, site, *(digest.hex() for digest in digests)]


def add_part(
    query: Query, site: str, site_index: int, party: int, key: PartyKey, part: bytes | memoryview, accumulator: Words
) -> None:
    """Open one part and add the share in it to ``accumulator`` (n,), in place.

    Over all parties the accumulators add up, mod 2^w, to exactly the sum of the sites' words.

    Raises:
        WireError: the part is not this site's for this party and query, or was altered; the
            accumulator is then as it was.
        SpecError: the accumulator does not fit the query.
    """
    _check_words(query, accumulator)
    kind = VECTOR if carrier(site_index) == party else SEED
    body = _body(query, part, kind)
    names = context(query, site, party)
    info = _header(query, kind) + names
    if kind == SEED:
        add_mask(accumulator, open_small(body, key, info), names)
        return
    try:
        open_vector_into(body, key, info, _adder(np.add, accumulator))
    except WireError:
        # Take off again the chunks that came before the bad one: the same bytes give the same chunks.
        with contextlib.suppress(WireError):
            open_vector_into(body, key, info, _adder(np.subtract, accumulator))
        raise


def _seal_part(query: Query, held: bytes | Masked, public: PublicKey, names: bytes) -> bytes:
    if isinstance(held, bytes):
        header = _header(query, SEED)
        return header + seal_small(held, public, header + names)
    header = _header(query, VECTOR)
    return seal_vector(held, public, header + names, prefix=header)


def _header(query: Query, kind: int) -> bytes:
    n_bytes = vector_bytes(query.question.length * query.width // 8) if kind == VECTOR else SMALL_BYTES
    return HEADER.pack(MAGIC, VERSION, kind, n_bytes)


def _body(query: Query, part: bytes | memoryview, kind: int) -> memoryview:
    if len(part) < HEADER.size:
        raise WireError(f"part: expected at least {HEADER.size} bytes, got {len(part)}")
    expected, found = HEADER.unpack(_header(query, kind)), HEADER.unpack_from(part)
    if found != expected:
        raise WireError(f"part: expected (magic, version, kind, length) {expected}, got {found}")
    if len(part) != HEADER.size + expected[3]:
        raise WireError(f"part: expected {HEADER.size + expected[3]} bytes, got {len(part)}")
    return memoryview(part)[HEADER.size :]


def _check_words(query: Query, words: Words) -> None:
    fits = words.dtype == dtype_of(query.width) and words.shape == (query.question.length,)
    if not fits:  # the text takes longer than the check, which every part passes twice
        expected = f"{query.question.length} words of {query.width} bits"
        require(fits, expected, dtype=str(words.dtype), shape=words.shape)


def _adder(operation: np.ufunc, accumulator: Words) -> Callable[[memoryview], None]:
    done = 0

    def sink(chunk: memoryview) -> None:
        nonlocal done
        words = as_words(chunk, accumulator.itemsize * 8)
        block = accumulator[done : done + words.size]
        operation(block, words, out=block)
        done += words.size

    return sink
