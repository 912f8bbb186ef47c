"""A site's own randomness, keyed by donor id, so that removing a donor leaves the others' alone (DESIGN §7.3)."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedgenome.errors import require
from fedgenome.streams import Root

Moment = tuple[str | int, ...]  # what names a query in the streams: run step, attempt, site


def chosen(root: Root, moment: Moment, donors: Sequence[str], q: float) -> npt.NDArray[np.bool_]:
    """Return which donors a query's Poisson sample holds, (donors,) bool.

    A donor's coin is the HMAC of the donor's id under a key that only ``root`` and ``moment`` give, read
    as a 64-bit integer; the donor is in if it is below ``q``·2^64, rounded down: never more often than q.

    Raises:
        SpecError: unless 0 < q <= 1.
    """
    require(0 < q <= 1, "0 < q <= 1", q=q)
    if q == 1:
        return np.ones(len(donors), np.bool_)
    key = root.derive(*moment, "coin")
    coins = b"".join([hmac.digest(key, donor.encode(), "sha256")[:8] for donor in donors])
    return np.frombuffer(coins, ">u8") < np.uint64(int(q * 2.0**64))


class DonorNormals:
    """Standard normals for one query, a stream per donor.

    They hide nobody (reparameterisation draws and the like): noise for privacy is drawn on integers.
    """

    def __init__(self, root: Root, moment: Moment) -> None:
        self._key = root.derive(*moment, "normal")

    def normal(self, donors: Sequence[str], size: int) -> npt.NDArray[np.float32]:
        """Return (len(donors), size) float32; row i depends on ``donors[i]`` and the query only.

        Asking twice gives the same numbers: a donor with several rows asks once for all of them.
        """
        out = np.empty((len(donors), size), np.float32)
        # One generator, moved from stream to stream: making one costs several times its draws.
        bits = np.random.Philox(key=0)
        state, generator = bits.state, np.random.Generator(bits)
        for row, donor in zip(out, donors, strict=True):
            digest = hmac.digest(self._key, donor.encode(), "sha256")
            state["state"]["key"][:] = np.frombuffer(digest, "<u8", 2)
            bits.state = state  # counter 0, empty buffer
            generator.standard_normal(dtype=np.float32, out=row)
        return out
