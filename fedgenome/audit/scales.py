"""What rows' numbers are, for whoever compares rows: values in a range, or codes of tokens. Nothing here is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fedgenome.audit.targets import Losses, Records, scaled
from fedgenome.methods import nearness
from fedgenome.query import Array

_HUGE = 1e30  # a loss
Told = Callable[[Array, Array], Array]  # a model's loss of rows (n, genes), as they are, of these labels (n,): (n,)


@dataclass(frozen=True, slots=True)
class Values:
    """Values in the public range [low, high], compared on [0, 1] (:func:`scaled`)."""

    low: float
    high: float

    def of(self, records: Records) -> Records:
        """Return records as they are compared."""
        return scaled(records, self.low, self.high)

    def losses(self, told: Told) -> Losses:
        """Return the losses of such records under a model that reads values as they are."""
        low, width = self.low, self.high - self.low
        return lambda rows: _finite(told((low + width * rows.x).astype(rows.x.dtype), rows.label))


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes of V tokens, compared token by token (:func:`nearness.one_hot`).

    All rows are of one class: what writes sequences knows of no labels, so that a copy may stand under another's.
    """

    vocabulary: int

    def of(self, records: Records) -> Records:
        """Return records as they are compared."""
        hot = nearness.one_hot(records.x, self.vocabulary)
        return replace(records, x=hot, label=np.zeros_like(records.label))

    def losses(self, told: Told) -> Losses:
        """Return the losses of such records under a model that reads codes."""

        def of_hot(rows: Records) -> Array:
            hot = rows.x.reshape(len(rows.x), -1, self.vocabulary)
            return _finite(told(np.where(hot.any(2), hot.argmax(2), self.vocabulary), rows.label))

        return of_hot


Scale = Values | Codes


def _finite(told: Array) -> Array:
    """Return losses where one that is no number, as noisy weights may give, is the largest: it knows nobody well."""
    return np.nan_to_num(np.asarray(told, np.float64), nan=_HUGE, posinf=_HUGE, neginf=-_HUGE)
