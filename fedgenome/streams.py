"""Keyed random streams: AES-256-CTR, from the operating system or, in a simulation, from a seed.

Every secret draw of fedgenome (noise, sampling coins, shares) is read from a :class:`Stream`. A
:class:`Root` is one role's source: from the operating system for real runs, from a seed for
simulations, which claim no ε (DESIGN §7.4). Streams are named by labels, so that two engines that
visit sites in another order read the same numbers.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BLOCK = bytes(1 << 19)  # zeros to encrypt; half a megabyte stays in cache
_ZEROS = memoryview(_BLOCK)
_ZERO_IV = bytes(16)  # a key is used for one stream only, so the counter may start at 0


class Stream:
    """The AES-256-CTR keystream of one 32-byte key.

    >>> Stream(bytes(32)).read(4).hex()
    'dc95c078'
    """

    __slots__ = ("_encryptor",)

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(algorithms.AES256(key), modes.CTR(_ZERO_IV)).encryptor()

    def read(self, n_bytes: int) -> bytes:
        """Return the next ``n_bytes`` of the stream."""
        return self._encryptor.update(bytes(n_bytes))

    def fill(self, buffer: npt.NDArray[np.unsignedinteger[Any]]) -> None:
        """Overwrite a contiguous array with the next bytes of the stream, in cache-sized blocks."""
        view = buffer.data.cast("B")
        for start in range(0, len(view), len(_BLOCK)):
            block = view[start : start + len(_BLOCK)]
            self._encryptor.update_into(_ZEROS[: len(block)], block)

    def words(self, n: int) -> npt.NDArray[np.uint64]:
        """Return ``n`` uniform 64-bit words."""
        out = np.empty(n, np.uint64)
        self.fill(out)
        return out

    def generator(self) -> np.random.Generator:
        """Return a NumPy generator keyed by the next 16 bytes: for draws that hide nobody."""
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self.read(16), "big")))


@dataclass(frozen=True, slots=True)
class Root:
    """One role's source of randomness.

    Attributes:
        key: 32 secret bytes.
        seeded: True in a simulation: the streams can be recomputed, so no ε may be claimed.
    """

    key: bytes = field(repr=False)
    seeded: bool

    @classmethod
    def secret(cls) -> Root:
        """Return a root drawn from the operating system."""
        return cls(secrets.token_bytes(32), seeded=False)

    @classmethod
    def simulation(cls, seed: int, *role: str | int) -> Root:
        """Return the root of ``role`` in the simulation ``seed``."""
        return cls(hashlib.sha256(b"fedgenome simulation" + _labels((seed, *role))).digest(), seeded=True)

    @classmethod
    def of(cls, seed: int | None, *role: str | int) -> Root:
        """Return :meth:`secret` without a seed, else :meth:`simulation`."""
        return cls.secret() if seed is None else cls.simulation(seed, *role)

    def derive(self, *labels: str | int) -> bytes:
        """Return 32 bytes that only this root and these labels give (HMAC-SHA-256)."""
        return hmac.digest(self.key, _labels(labels), "sha256")

    def stream(self, *labels: str | int) -> Stream:
        """Return the stream named by ``labels``."""
        return Stream(self.derive(*labels))


def _labels(labels: tuple[str | int, ...]) -> bytes:
    """Encode labels so that no two different tuples give the same bytes."""
    parts = [(b"i" if isinstance(x, int) else b"s") + str(x).encode() for x in labels]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)
