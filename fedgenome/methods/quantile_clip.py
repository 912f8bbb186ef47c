"""A prelude: the clip norm as a quantile of the donors' own norms, from one charged histogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fedgenome.cohort.shard import Shard
from fedgenome.methods.base import DonorStreams, Method
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Mechanism, Question

_STEPS = range(-12, 13)  # clip norms looked at: the middle one times 2^(k/2)


@dataclass(frozen=True, kw_only=True)
class QuantileClip:
    """The clip norm of a method's float32 sums, as a quantile of the donors' own norms.

    One noisy histogram over public norms, one vote a donor: sensitivity 1. It is a query of its own in the
    plan, not hidden in the noise of the rounds. A donor's norm is that of the answer it alone would give.
    """

    middle: float
    quantile: float
    sampling: float
    name: str = "clip"

    @property
    def norms(self) -> npt.NDArray[np.float64]:
        """The public norms, rising; one of them is chosen."""
        return self.middle * 2.0 ** (np.array(_STEPS) / 2)

    def untaught(self) -> dict[str, Array]:
        """Return the middle of the public norms."""
        return {"norm": np.array(self.middle)}

    def due(self, question: Question) -> bool:
        """Ask before the first sum of gradients."""
        return question.precision != "float64"

    def question(self, before: Question, mechanism: Mechanism | None) -> Question:
        """Ask, at the payload of ``before``, how many donors have which norm."""
        n = len(self.norms)
        return Question(payload=before.payload, length=n, reply_length=n, bound=1.0, mechanism=mechanism)

    def answer(self, method: Method, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return one vote a donor, for the smallest norm that its contribution does not exceed."""
        everyone = np.arange(sample.n_donors)
        votes = np.zeros((sample.n_donors, len(self.norms)), np.float32)
        largest = replace(question, bound=2 * float(self.norms[-1]))
        for donor in everyone:
            alone = method.answer(largest, sample.take(everyone == donor), rng)
            norm = float(np.linalg.norm(alone.value))
            votes[donor, min(int(np.searchsorted(self.norms, norm)), len(self.norms) - 1)] = 1
        here = np.bincount(sample.donor[sample.mask], minlength=sample.n_donors) > 0
        return sum_rows(votes, everyone, here, question.bound)

    def learn(self, total: Array) -> dict[str, Array]:
        """Return the smallest public norm below which the noisy share of donors is at least the quantile.

        The middle one if there are no votes at all.
        """
        votes = np.maximum(total, 0)
        if not votes.any():
            return self.untaught()
        below = np.cumsum(votes) >= self.quantile * votes.sum()
        return {"norm": np.array(self.norms[int(np.argmax(below))])}

    def change(self, question: Question, learned: Mapping[str, Array]) -> Question:
        """Clip sums of gradients to the chosen norm."""
        return replace(question, bound=float(learned["norm"])) if self.due(question) else question

    def seen(self, x: Array, learned: Mapping[str, Array]) -> Array:
        """Return ``x``."""
        return x

    def shown(self, x: Array, learned: Mapping[str, Array]) -> Array:
        """Return ``x``."""
        return x
