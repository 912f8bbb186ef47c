"""Distance to the closest record: are the table's rows nearer to those it was trained on than to unseen ones?

It is a warning light, not an audit: a table can pass it and still give members away (:mod:`fedgenome.audit`).
"""

from __future__ import annotations

import numpy as np

from fedgenome.audit.distance import nearest
from fedgenome.audit.targets import Records
from fedgenome.errors import require
from fedgenome.query import Array
from fedgenome.utility.metrics import FULL, Metric, Settings, Value, share

QUANTILES = (0.05, 0.5)
_DRAWS = 10
METRICS = (
    Metric(
        name="dcr_share",
        title="closer to training rows",
        words="share of table rows nearer to a training row than to an unseen one: .5 if nothing was copied",
        better="as real",
    ),
    *(
        Metric(
            name=f"dcr_ratio_{q:g}",
            title=f"distance ratio, {q:.0%} quantile",
            words="distance to the training rows over that to as many unseen ones: below 1 is too near",
            better="as real",
        )
        for q in QUANTILES
    ),
)


def measure(
    table: Records, train: Records, holdout: Records, rng: np.random.Generator, _settings: Settings = FULL
) -> dict[str, Value]:
    """Return how much nearer ``table`` is to ``train`` than to ``holdout``, as many rows of either.

    Euclidean distances of each table row to its nearest row. Ties count half: a row held by both sides says nothing.

    Args:
        rng: Draws ten times from the longer of the two, as nearness grows with the number of rows; the mean
            of the draws is taken.

    Raises:
        SpecError: a side is empty.
    """
    sizes = {"table": len(table), "train": len(train), "holdout": len(holdout)}
    require(min(sizes.values()) > 0, "at least one row on every side", **sizes)
    n = min(len(train), len(holdout))
    near, far = (_distances(table, side, n, rng) for side in (train, holdout))
    closer = Value(value=float(np.mean(near < far) + np.mean(near == far) / 2))
    why = "the distance to unseen rows is 0 at this quantile"
    ratios = {}
    for q in QUANTILES:
        ours, theirs = (float(np.quantile(each, q, axis=1).mean()) for each in (near, far))
        ratios[f"dcr_ratio_{q:g}"] = share(ours, theirs, why)
    return {"dcr_share": closer, **ratios}


def _distances(table: Records, side: Records, n: int, rng: np.random.Generator) -> Array:
    """Return each table row's distance to its nearest of ``n`` rows, float64 (draws, rows)."""
    if n == len(side):
        return np.tile(nearest(table.x, side.x), (_DRAWS, 1))
    draws = (rng.choice(len(side), n, replace=False) for _ in range(_DRAWS))
    return np.stack([nearest(table.x, side.x[chosen]) for chosen in draws])
