"""A shard with its rows perturbed, once and for all, before anybody asks anything of it.

What is drawn for a row follows from a secret of the site, the sanitizer, the row's donor and the row itself (HMAC).
Whoever sanitizes the same row again gets the same row, so that it is paid for once; a row that changed, or another
sanitizer, gets draws of its own. Removing a donor leaves all others as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fedgenome.cohort.shard import Array, Shard
from fedgenome.sanitize.bases import BASES
from fedgenome.sanitize.guarantee import Guarantee, coefficients
from fedgenome.sanitize.responses import respond
from fedgenome.streams import Root, Stream
from fedgenome.study import Sanitize, Schema

_AT_ONCE = 1 << 22  # numbers of rows that are in float64 at a time


def sanitize(shard: Shard, spec: Sanitize, schema: Schema, root: Root) -> Shard:
    """Return ``shard`` with every unmasked row perturbed as ``spec`` says, within the public range again.

    Empty slots become ``schema.low``. Clipping to the range reads the perturbed row alone.

    Args:
        shard: Rows of the schema's genes; NaN counts as mid-range.
        spec: The sanitizer.
        schema: Public facts.
        root: The site's secret; a seeded one makes a simulation, which promises nothing.

    Raises:
        SpecError: the rows are not the schema's.
    """
    guarantee, named = Guarantee.of(spec, schema), naming(spec, schema)
    x = np.full(shard.x.shape, schema.low, np.float32)
    live = np.flatnonzero(shard.mask)
    some = max(1, _AT_ONCE // max(1, guarantee.genes))
    for slots in (live[i : i + some] for i in range(0, len(live), some)):
        donors = [shard.donors[i] for i in shard.donor[slots]]
        moved = perturbed(shard.x[slots], donors, guarantee, root, named)
        x[slots] = schema.low + (schema.high - schema.low) * np.clip(moved, 0, 1)
    return replace(shard, x=x, label=_labels(shard, guarantee, root, named))


def naming(spec: Sanitize, schema: Schema) -> str:
    """Return a name of the sanitizer and of what it reads, which keys its draws."""
    return hashlib.sha256(f"{spec.model_dump_json()}\n{schema.model_dump_json()}".encode()).hexdigest()


def perturbed(x: Array, donors: Sequence[str], guarantee: Guarantee, root: Root, named: str) -> npt.NDArray[np.float64]:
    """Return rows in units of the range, (rows, genes), not clipped: noise and truncation can be told apart.

    Args:
        x: (rows, genes) in the schema's units.
        donors: Whose row each is.
        guarantee: The sanitizer's numbers.
        root: The site's secret.
        named: :func:`naming`.
    """
    kept, noise = coefficients(x, guarantee), guarantee.noise
    if noise is not None and len(kept):
        grid = np.rint(kept * guarantee.scale).astype(np.int64)
        streams = [_stream(root, named, donor, row) for donor, row in zip(donors, grid, strict=True)]
        kept = (grid + noise.draw(streams)) / guarantee.scale
    return BASES[guarantee.spec.basis].inverse(kept, guarantee.genes)


def _stream(root: Root, named: str, donor: str, row: npt.NDArray[np.int64]) -> Stream:
    return root.stream("sanitize", named, donor, hashlib.sha256(row.astype("<i8").tobytes()).hexdigest())


def _labels(shard: Shard, guarantee: Guarantee, root: Root, named: str) -> npt.NDArray[np.int64]:
    """Return labels by randomised response; rows of one donor with one label get one answer."""
    epsilon = guarantee.spec.labels_epsilon
    if epsilon is None:
        return shard.label
    told: dict[tuple[int, int], int] = {}
    out = np.zeros_like(shard.label)
    for slot in np.flatnonzero(shard.mask):
        own = int(shard.donor[slot]), int(shard.label[slot])
        if own not in told:
            stream = root.stream("sanitize", named, shard.donors[own[0]], "label", own[1])
            told[own] = respond(own[1], guarantee.labels, epsilon, stream)
        out[slot] = told[own]
    return out
