"""Additive shares: two seeds and one masked vector (DESIGN §5, *Sharing*).

A contribution v is split as v = mask(seed_a) + mask(seed_b) + vector in Z_2^w. A mask is the
AES-256-CTR stream of the key HMAC-SHA-256(seed, context): the context names version, run, query,
attempt, site and party, so a seed replayed elsewhere gives another mask. Masks are made and used
block by block; nothing here ever holds a second whole vector. Seeds come from the operating system in
simulations too: they cancel in the sum.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from fedgenome.errors import require
from fedgenome.query import PARTIES, Query
from fedgenome.secure.ring import Words
from fedgenome.streams import Stream

SEED_BYTES = 32
_DOMAIN = b"fedgenome share 1"
_BLOCK_BYTES = 1 << 17  # mask and accumulator blocks stay in cache together


def carrier(site_index: int) -> int:
    """Return the party that gets this site's vector: it rotates, so that parties' loads are even."""
    return site_index % PARTIES


def context(query: Query, site: str, party: int) -> bytes:
    """Return the bytes that tie a share to one (version, run, query, attempt, site, party)."""
    names = (query.run, query.digest, str(query.attempt), site, str(party))
    return _DOMAIN + b"".join(struct.pack(">I", len(name.encode())) + name.encode() for name in names)


class Mask:
    """A seed's mask as a stream of ring words; each call goes on where the last one ended."""

    __slots__ = ("_stream",)

    def __init__(self, seed: bytes, context: bytes) -> None:
        require(len(seed) == SEED_BYTES, f"a seed of {SEED_BYTES} bytes", length=len(seed))
        self._stream = Stream(hmac.digest(seed, context, "sha256"))

    def add_to(self, words: Words) -> None:
        """Add the mask's next words to ``words`` (n,), in place."""
        self._apply(np.add, words)

    def subtract_from(self, words: Words) -> None:
        """Subtract the mask's next words from ``words`` (n,), in place."""
        self._apply(np.subtract, words)

    def _apply(self, operation: np.ufunc, words: Words) -> None:
        size = _BLOCK_BYTES // words.itemsize
        scratch = np.empty(min(size, words.size), words.dtype)
        for start in range(0, words.size, size):
            block = words[start : start + size]
            mask = scratch[: block.size]
            self._stream.fill(mask)
            operation(block, mask, out=block)


class Masked:
    """A vector minus some masks, made block by block. It can be read once.

    Args:
        words: (n,) uint32 or uint64; read, never written.
        masks: What to take off; none for a plain vector.
    """

    __slots__ = ("_masks", "_words")

    def __init__(self, words: Words, masks: Sequence[Mask] = ()) -> None:
        self._words = words
        self._masks = masks

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole vector."""
        return int(self._words.nbytes)

    def blocks(self, n_bytes: int) -> Iterator[Words]:
        """Yield the masked vector in blocks of ``n_bytes``, at least one.

        The buffer of a block is used again for the next.
        """
        size = n_bytes // self._words.itemsize
        scratch = np.empty(min(size, self._words.size), self._words.dtype)
        for start in range(0, max(1, self._words.size), size):
            block = scratch[: min(size, self._words.size - start)]
            block[:] = self._words[start : start + size]
            for mask in self._masks:
                mask.subtract_from(block)
            yield block


def add_mask(accumulator: Words, seed: bytes, context: bytes) -> None:
    """Add the whole mask of ``seed`` to ``accumulator`` (n,), in place."""
    Mask(seed, context).add_to(accumulator)


def share(words: Words, contexts: Sequence[bytes], holder: int) -> tuple[bytes | Masked, ...]:
    """Split ``words`` into one share per party, in party order.

    Args:
        words: (n,) uint32 or uint64.
        contexts: Each party's :func:`context`.
        holder: The party that gets the vector (:func:`carrier`).

    Returns:
        A fresh 32-byte seed for each other party, and the masked vector for ``holder``. Any two of
        the three are independent of ``words``.
    """
    seeds = {party: secrets.token_bytes(SEED_BYTES) for party in range(len(contexts)) if party != holder}
    masks = [Mask(seed, contexts[party]) for party, seed in seeds.items()]
    return tuple(seeds[party] if party in seeds else Masked(words, masks) for party in range(len(contexts)))
