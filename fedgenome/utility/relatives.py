"""Does a table of genotypes hold the people it was trained on, or their relatives? Beside people it never saw.

Like :mod:`fedgenome.utility.closeness` it is a warning light, not an audit.
"""

from __future__ import annotations

import numpy as np

from fedgenome.audit.linkage.kinship import SECOND, kinship
from fedgenome.audit.near_copies import near_copies
from fedgenome.audit.targets import Records, Target
from fedgenome.query import Array
from fedgenome.utility.genotypes import adversarial
from fedgenome.utility.metrics import FULL, Metric, Settings, Value, unsaid

METRICS = (
    Metric(
        name="privacy_loss",
        title="privacy loss",
        words="adversarial accuracy against unseen people less that against training people: 0 if nothing was copied",
        better="as real",
    ),
    Metric(
        name="tail_share",
        title="training people in the tail",
        words="share of them among the people nearest to the table's closest rows: .5 if nothing was copied",
        better="as real",
    ),
    Metric(
        name="kin_trained",
        title="rows with a training relative",
        words="share of table rows of second degree or closer (KING-robust) to somebody it was trained on",
        better="as real",
    ),
    Metric(
        name="kin_unseen",
        title="rows with an unseen relative",
        words="the same of as many people that it never saw",
        better="as real",
    ),
)


def measure(
    table: Records, train: Records, holdout: Records, rng: np.random.Generator, settings: Settings = FULL
) -> dict[str, Value]:
    """Return every figure of ``METRICS``, as many rows of every side.

    Args:
        table: Rows of dosages.
        train: Those that its generator was trained on.
        holdout: Those that it never saw.
        rng: Chooses the rows, at most ``settings.rows``.
        settings: How thoroughly.
    """
    n = min(len(table), len(train), len(holdout), settings.rows)
    if n < 2:
        return {metric.name: unsaid("fewer than two rows on a side") for metric in METRICS}
    made, seen, unseen = (side.rows(rng.choice(len(side), n, replace=False)) for side in (table, train, holdout))
    loss = [
        float(np.mean(adversarial(side.x.astype(np.float64), made.x.astype(np.float64)))) for side in (unseen, seen)
    ]
    return {
        "privacy_loss": Value(value=loss[0] - loss[1]),
        "tail_share": Value(value=near_copies(seen, unseen, Target(table=made, samples=made)).share.estimate),
        "kin_trained": Value(value=related(made.x, seen.x)),
        "kin_unseen": Value(value=related(made.x, unseen.x)),
    }


def related(table: Array, people: Array) -> float:
    """Return the share of table rows with a kinship of second degree or closer to any of ``people``."""
    dosages = (np.rint(side).astype(np.int8) for side in (table, people))
    return float((kinship(*dosages).max(1) >= SECOND).mean())
