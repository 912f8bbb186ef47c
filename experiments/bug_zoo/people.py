"""Made-up people for the zoo, one row each."""

from __future__ import annotations

import numpy as np

from fedgenome.cohort.shard import Shard
from fedgenome.query import Array


def shard(x: Array, label: Array, high: float) -> Shard:
    """Return rows x (people, genes), clipped to [0, ``high``], each its own donor's."""
    n = len(x)
    return Shard(
        x=np.clip(x, 0, high),
        label=label,
        donor=np.arange(n),
        donors=tuple(f"d{i}" for i in range(n)),
        mask=np.ones(n, np.bool_),
    )
