"""LOGAN: a discriminator that learned the table from other real people judges a record (threat: synthetic data only).

Source: Hayes et al. 2019, "LOGAN: Membership Inference Attacks Against Generative Models" (the black-box attack with
limited auxiliary knowledge: generated rows against people known to be no members).
"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

from fedgenome.audit.targets import Records, Target
from fedgenome.query import Array

TREES = 100


def discriminator(people: Records, target: Target, base: Records) -> Array:
    """Score rows by how surely a discriminator takes them for the table's and not the control base's, float64 (rows,).

    It is a forest of randomised trees, each grown until it tells every row of the two apart: it knows its rows by
    heart, and whatever lies beside them. The paper's networks do so after long training only.
    """
    x = np.concatenate([target.table.x, base.x])
    of_table = np.repeat([1, 0], [len(target.table), len(base)])
    forest = ExtraTreesClassifier(TREES, class_weight="balanced", random_state=0).fit(x, of_table)
    return np.asarray(forest.predict_proba(people.x)[:, 1])
