"""Label means from the weights of a private linear classifier: rows that teach what it learned, where data are few.

Label counts and a centre, the genes' mean deviations, then some gradient sums of a softmax regression on rows of
norm 1. A gradient of bounded norm costs less noise than a sum of whole rows, so that at small ε weights are known
when means are not. Weights of labels that share a covariance S and have means μ are S⁻¹μ up to a factor; S is taken
for diagonal. What genes share is lost, and differences of labels are as large as the option ``between`` says, not as
they were: such rows are for training classifiers, not for reading expression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy.special import log_softmax, softmax

from fedgenome.errors import require
from fedgenome.methods import moments
from fedgenome.methods.base import drawn_rows
from fedgenome.methods.bundle import Bundle, Floats, Part, Rows
from fedgenome.methods.bundled import shares_of
from fedgenome.methods.staged import Staged, StagedOptions
from fedgenome.query import Array, State

_RATE, _MOST = 0.48, 20.0  # of the learning rate


class Options(StagedOptions):
    """Options of ``inverted``. Shares are relative."""

    rounds: int = Field(default=30, ge=1, le=10_000, description="gradient queries")
    clip: float = Field(default=0.3, gt=0, le=math.sqrt(2), description="L2 bound of a row's gradient")
    rate: float | None = Field(
        default=None, gt=0, description="learning rate; default: .48·√(donors_bound / noise multiplier), at most 20"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the last step that is repeated")
    between: float = Field(default=0.03, gt=0, le=100, description="variance between labels, about, over the rest")
    labels: float = Field(default=0.02, gt=0, description="budget share of label counts")
    gradients: float = Field(default=0.85, gt=0, description="budget share of all gradient queries")


@dataclass(frozen=True, kw_only=True)
class Inverted(Staged[Options]):
    """Rows of a label are Gaussian about a mean read off a classifier, genes on their own.

    State, beside :class:`~fedgenome.methods.staged.Staged`'s: ``weights`` and ``velocity`` (labels, genes).
    """

    @property
    def shares(self) -> Mapping[str, float]:
        """Relative budget shares."""
        return {name: getattr(self.options, name) for name in ("labels", "centre", "spreads", "gradients")}

    @property
    def rate(self) -> float:
        """Learning rate: what noise allows. Of 4, 8 and 20 the best had about this at ε = .25, 1, 3 and 10."""
        allowed = _MOST if self.level == 0 else min(_MOST, _RATE * math.sqrt(self.donors_bound / self.level))
        return self.options.rate or allowed

    @property
    def later(self) -> tuple[Bundle, ...]:
        """One gradient sum a round."""
        rounds, length = self.options.rounds, len(self.schema.labels) * len(self.schema.genes)
        share = self.share("gradients") / rounds
        return (
            Bundle(statistics=(Part(name="gradient", length=length, bound=self.options.clip, share=share),)),
        ) * rounds

    def payload(self, state: State, step: int) -> dict[str, Array]:
        """Return the weights."""
        return {"weights": state["weights"]}

    def step_of(self, payload: Mapping[str, Array]) -> int:
        """Return 2: all rounds are alike."""
        shapes = {name: array.shape for name, array in payload.items() if name not in ("centre", "scale")}
        expected = {"weights": (len(self.schema.labels), len(self.schema.genes))}
        require(shapes == expected, f"a payload of shapes {expected}", shapes=shapes)
        return 2

    def statistics(self, payload: Mapping[str, Array], z: Floats, label: Array) -> dict[str, Rows]:
        """Return the gradient of each row's cross-entropy: (probabilities − its label) ⊗ the row at norm 1."""
        rows = _unit(z)
        told = softmax(rows @ payload["weights"].T, axis=1)
        return {"gradient": (told - np.eye(len(self.schema.labels))[label], rows)}

    def untaught(self, rng: np.random.Generator) -> State:
        """Return zero weights, at rest."""
        zeros = np.zeros((len(self.schema.labels), len(self.schema.genes)))
        return {"weights": zeros, "velocity": zeros.copy()}

    def taught(self, state: State, bundle: Bundle, parts: Mapping[str, Floats]) -> State:
        """Take one step of gradient descent with momentum."""
        gradient = parts["gradient"].reshape(state["weights"].shape) / self.donors_bound
        velocity = self.options.momentum * state["velocity"] + gradient
        return {"velocity": velocity, "weights": state["weights"] - self.rate * velocity}

    def release(self, state: State) -> dict[str, Array]:
        """Return ``label_weights``, ``centre``, ``scale``, ``weights``, ``means`` and ``own``."""
        self.require_finished(state)
        shares = shares_of(state["counts"])
        means, own = inverted(state["weights"], shares, self.options.between)
        told = {"centre": state["centre"], "scale": state["scale"], "weights": state["weights"]}
        told |= {"means": means, "own": own}
        return {"label_weights": shares} | {name: array.astype(np.float32) for name, array in told.items()}

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Draw one row for each label code, float32 (n, genes), within the public range."""
        x = arrays["centre"] + arrays["scale"] * moments.drawn(arrays, labels, rng, mirrored=self.options.mirrored)
        return drawn_rows(self.schema, x)

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's cross-entropy under the classifier, which is what was trained, float64 (rows,)."""
        z = (x - arrays["centre"].astype(np.float64)) / arrays["scale"]
        told = log_softmax(_unit(z) @ arrays["weights"].T, axis=1)
        return np.asarray(-told[np.arange(len(x)), label])


def _unit(z: Floats) -> Floats:
    """Return each row scaled to norm 1; zeros stay zeros."""
    return np.asarray(z / np.maximum(np.sqrt(np.einsum("ij,ij->i", z, z)), 1e-9)[:, None])


def inverted(weights: Floats, shares: Floats, between: float) -> tuple[Floats, Floats]:
    """Return label means (labels, genes) and own variances (genes,) whose log odds have the directions of ``weights``.

    With means c·own·w_k, w_k the weights about their mean by ``shares``, log odds of labels are c·w_k·z and a constant.
    A gene's variance is 1, labels' included: own + c²·own²·Σ_k share_k·w_k² = 1. The constants are not the
    classifier's, which has none: a shift of the middle could make them so, and was far worse to train on.

    Args:
        weights: (labels, genes) of a classifier without constants.
        shares: (labels,) of rows, summing to 1.
        between: c² times the genes' mean of Σ_k share_k·w_k².
    """
    about = weights - shares @ weights
    spread = shares @ about**2
    scaled = about * math.sqrt(between / max(float(spread.mean()), 1e-30))
    own = 2 / (1 + np.sqrt(1 + 4 * (shares @ scaled**2)))  # the root of that equation, for any spread
    return scaled * own, own
