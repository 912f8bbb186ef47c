"""What a classifier says about a record, as numbers that attacks compare; from logits, in float64.

Everything is computed from differences of logits, so that a model as sure as a million to one, or as 1e300 to one,
still tells its records apart: probabilities rounded to 1 would tie them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import special

from fedgenome.errors import require
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signals:
    """Signals of records under one model, (rows,) each, or under several, (models, rows); float64.

    p is the softmax of a record's logits and y its label.

    Attributes:
        loss: −log p_y, at least 0.
        margin: φ = log p_y − log Σ_{i≠y} p_i, any size (Carlini et al. 2022, equation 3).
        confidence: p_y.
        entropy: −Σ p_i log p_i.
        modified_entropy: −(1 − p_y) log p_y − Σ_{i≠y} p_i log(1 − p_i); unlike the entropy it is large where
            the model is sure and wrong (Song & Mittal 2021, equation 7).
        correct: 1 where y has the largest logit, alone or with others, else 0.
    """

    loss: Array
    margin: Array
    confidence: Array
    entropy: Array
    modified_entropy: Array
    correct: Array

    def __getitem__(self, chosen: Any) -> Signals:
        """Return the signals that an index, a slice or a mask picks, of each array alike."""
        return Signals(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def of_logits(logits: Array, label: Array) -> Signals:
    """Return the signals of every record.

    Args:
        logits: (rows, classes) or (models, rows, classes), finite, any float dtype.
        label: Class of each record, int (rows,).

    Raises:
        SpecError: Fewer than two classes, a label that is none of them, or a logit that is not finite.
    """
    z = np.asarray(logits, np.float64)
    require(z.ndim in (2, 3) and z.shape[-1] >= 2, "logits of (…, rows, two classes or more)", shape=z.shape)
    require(label.shape == z.shape[-2:-1], "a label a row", rows=z.shape[-2], labels=label.shape)
    require(bool(np.isfinite(z).all()), "finite logits")
    require(bool(((label >= 0) & (label < z.shape[-1])).all()), f"labels in 0 … {z.shape[-1] - 1}")
    margins = _margins(z)
    mine = np.arange(z.shape[-1]) == label[:, None]
    margin = (margins * mine).sum(-1)
    log_p, log_rest = -np.logaddexp(0, -margins), -np.logaddexp(0, margins)  # log p_i, log(1 − p_i)
    p = np.exp(log_p)
    loss = np.logaddexp(0, -margin)
    return Signals(
        loss=loss,
        margin=margin,
        confidence=np.exp(-loss),
        entropy=-(p * log_p).sum(-1),
        modified_entropy=special.expit(-margin) * loss - np.where(mine, 0, p * log_rest).sum(-1),
        correct=((z * mine).sum(-1) == z.max(-1)).astype(np.float64),
    )


def _margins(z: Array) -> Array:
    """Return log p_i − log Σ_{j≠i} p_j of every class i, of the shape of ``z``."""
    out = np.empty_like(z)
    for i in range(z.shape[-1]):
        out[..., i] = z[..., i] - special.logsumexp(np.delete(z, i, axis=-1), axis=-1)
    return out
