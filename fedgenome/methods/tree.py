"""A forest of genes: pairs chosen by secure selection, then how often each pair agrees, and rows drawn down the forest.

Labels, centre, scale, label means, variances and histograms are asked for as ``gaussian`` does without a covariance.
Two genes of a donor *agree* if both are above their label's mean or both below. Selections then ask for the pairs that
agree most often, or disagree; pairs of genes that are joined already score nothing, so that every round adds to the
forest what Kruskal's algorithm for a tree of greatest dependence (Chow and Liu 1968) would, a few pairs at a time.
A last sum tells how often the chosen pairs agree; of normal genes that is their correlation, whatever their scale.

It is for panels of up to some forty genes: too few for directions that stand out of noise, so that ``gaussian`` and
``factors`` find next to none of their related pairs. Of larger panels they find more, as a forest has fewer pairs than
genes and relates all others by paths alone; ``python -m experiments.synthesis.tuning --cohort metabric --genes 40``
shows it, and so do other sizes. Each winner costs ε, and each comparison time of the parties: hence the limits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from pydantic import Field

from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError, require
from fedgenome.methods import forest, gaussian
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.bundle import Bundle, Floats, Part
from fedgenome.methods.learner import Learner
from fedgenome.methods.staged import StagedOptions
from fedgenome.privacy.clipping import ClippedSum, sum_scores
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.study import TrustModel

MOST_GENES = 200  # of whose pairs the best are selected: 39,800 scores
_TIGHT = 0.99  # correlation that a pair is taken to have, at most, where a row's density is told
_MODEL = ("centre", "scale", "means")  # what tells a site who agrees


class Options(StagedOptions):
    """Options of ``tree``. Shares are relative to the budget of all sums."""

    pairs: int = Field(default=16, ge=1, description="pairs that are asked for; fewer genes have one less than genes")
    rounds: int = Field(default=4, ge=1, description="selections that ask for them, at most")
    choice: float = Field(default=1.0, gt=0, description="ε of all selections together at noise multiplier 1")
    agreement: float = Field(default=0.15, gt=0, lt=1, description="budget share of how often chosen pairs agree")
    margins: Literal["normal", "histograms"] = Field(default="histograms", description="shape of a gene within a label")


@dataclass(frozen=True, kw_only=True)
class Tree(Learner[Options]):
    """Rows of a label are Gaussian about its mean; of genes that the forest does not join, independent.

    State: that of ``gaussian``, whose three questions come first, and ``pairs`` (k, 2), genes i < j of
    the forest in the order in which they were chosen, then −1; ``ties`` (k,), their correlations.
    """

    def __post_init__(self) -> None:
        genes = len(self.schema.genes)
        require(2 <= genes <= MOST_GENES, f"methods.{self.name}: a panel of 2 to {MOST_GENES} genes", genes=genes)

    def under(self, trust: TrustModel, sites: int) -> Self:
        """Return this method: noise of selections is the parties'.

        Raises:
            SpecError: trust is ``local`` or ``site``.
        """
        if trust in ("local", "site"):
            rule = "expected trust 'distributed', or kind gaussian"
            raise SpecError(f"methods.{self.name}: trust {trust!r} has no form for selections; {rule}")
        return self

    @functools.cached_property
    def base(self) -> gaussian.Gaussian:
        """What is asked of genes on their own, with the rest of the budget."""
        told = {name: getattr(self.options, name) for name in (*StagedOptions.model_fields, "margins")}
        return gaussian.Gaussian(
            name=self.name,
            options=gaussian.Options(covariance="diagonal", **told),
            schema=self.schema,
            donors_bound=self.donors_bound,
            factor=self.factor / math.sqrt(1 - self.options.agreement),
            private=self.private,
            noise=self.noise,
        )

    @property
    def pairs(self) -> int:
        """Pairs that are asked for in all: no forest has more than one less than genes."""
        return min(self.options.pairs, len(self.schema.genes) - 1)

    @functools.cached_property
    def winners(self) -> tuple[int, ...]:
        """How many pairs each selection opens, as even as may be."""
        rounds = min(self.options.rounds, self.pairs)
        return tuple(self.pairs // rounds + (at < self.pairs % rounds) for at in range(rounds))

    @property
    def agreements(self) -> Bundle:
        """The last question's statistics."""
        share = self.options.agreement
        part = Part(name="agreement", length=self.pairs, bound=math.sqrt(self.pairs), share=share)
        return Bundle(statistics=(part,))

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the sums, which share one Gaussian's budget, and the selections; nothing under trust none."""
        if not self.private:
            return ()
        sizes = dict.fromkeys(self.winners)
        selections = (replace(self._selection(noise, n), count=self.winners.count(n)) for n in sizes)
        return (*self.base.plan(noise), *selections, self._sum(noise))

    def _selection(self, noise: float, winners: int) -> Mechanism:
        level = self.options.choice / self.pairs / (noise * self.factor)
        return Mechanism(kind="exponential", level=level, winners=winners, scope=self.name)

    def _sum(self, noise: float) -> Mechanism:
        level = noise * self.factor / math.sqrt(self.options.agreement)
        return Mechanism(kind="gaussian", level=level, scope=self.name)

    def start(self, rng: np.random.Generator) -> State:
        """Return ``gaussian``'s public guesses and a forest without pairs."""
        return self.base.start(rng) | {"pairs": np.full((self.pairs, 2), -1), "ties": np.zeros(self.pairs)}

    def _round(self, state: State) -> int:
        """Return which question comes, from the first after ``gaussian``'s on."""
        return int(state["step"]) - len(self.base.bundles)

    def ask(self, state: State) -> Question | None:
        """Ask what ``gaussian`` asks, for pairs in rounds, how often they agree; then None."""
        at = self._round(state)
        if at < 0:
            return self.base.ask(state)
        if at > len(self.winners):
            return None
        noise = self.noise if self.private else None
        payload = {name: state[name] for name in (*_MODEL, "pairs")}
        if at == len(self.winners):
            mechanism = self._sum(noise) if noise is not None else None
            return Question(payload=payload, length=self.pairs, reply_length=self.pairs, bound=1.0, mechanism=mechanism)
        return Question(
            payload=payload,
            length=2 * len(forest.upper(len(self.schema.genes))[0]),
            reply_length=self.winners[at],
            bound=1.0,
            mechanism=self._selection(noise, self.winners[at]) if noise is not None else None,
            reduce="select",
            monotone=True,
        )

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return sums over donors of ``gaussian``'s statistics, of scores of pairs (0 or 1), or of agreements (±1).

        Scores are of all pairs' agreeing, then of all pairs' disagreeing.
        """
        payload = question.payload
        if "pairs" not in payload:
            return self.base.answer(question, sample, rng)
        labels, genes = len(self.schema.labels), len(self.schema.genes)
        require(sample.x.shape[1] == genes, f"a shard of the schema's {genes} genes", genes=sample.x.shape[1])
        shapes = {name: np.shape(array) for name, array in payload.items()}
        expected = {"centre": (genes,), "scale": (genes,), "means": (labels, genes), "pairs": (self.pairs, 2)}
        pairs = np.asarray(payload["pairs"])
        known = shapes == expected and pairs.dtype == np.int64 and ((pairs >= -1) & (pairs < genes)).all()
        require(bool(known), f"a payload of a model of {genes} genes and of {self.pairs} pairs of them", **shapes)
        live = np.flatnonzero(sample.mask & np.isfinite(sample.x).all(1) & (sample.label < labels))
        with np.errstate(all="ignore"):  # a crafted payload gives infinities: nobody agrees, or all do
            z = (sample.x[live] - payload["centre"]) / payload["scale"]
            above = z > payload["means"][sample.label[live]]
        if question.reduce == "select":
            return self._scores(question, above, sample.donor[live], pairs)
        return self._agreed(above, sample.donor[live], pairs)

    def _scores(self, question: Question, above: Array, donor: Array, pairs: Array) -> ClippedSum:
        left, right = forest.upper(above.shape[1])
        component = forest.components(pairs, above.shape[1])
        apart = component[left] != component[right]
        same = above[:, left] == above[:, right]
        rows = np.concatenate([same & apart, ~same & apart], axis=1)
        mask = np.ones(len(rows), np.bool_)
        return sum_scores(rows.astype(np.int8), donor, mask, question.bound, monotone=question.monotone)

    def _agreed(self, above: Array, donor: Array, pairs: Array) -> ClippedSum:
        seen = pairs[:, 0] >= 0
        side = np.where(above, 1.0, -1.0)
        products = np.where(seen, side[:, pairs[:, 0]] * side[:, pairs[:, 1]], 0.0) * self._fewer(pairs)
        return self.agreements.answer(lambda at: {"agreement": products[at]}, donor)

    def _fewer(self, pairs: Array) -> float:
        """Return by how much each pair counts more because fewer were found than asked for."""
        return math.sqrt(self.pairs / max(1, int((pairs[:, 0] >= 0).sum())))

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after what ``gaussian`` learns, after pairs that close no circle, or after correlations."""
        at = self._round(state)
        if at < 0:
            return state | self.base.learn(state, question, total)
        after = state | {"step": np.array(int(state["step"]) + 1, np.int64)}
        if at < len(self.winners):
            return after | {"pairs": forest.joined(state["pairs"], total, len(self.schema.genes))}
        return after | {"ties": self._correlations(state, total)}

    def _correlations(self, state: State, total: Array) -> Floats:
        """Return sin(π/2 · m) of mean agreement m, what it is for two normal genes, shrunk as far as noise blurs it."""
        pairs, donors = state["pairs"], self.base.donors(state)
        each = donors * self._fewer(pairs)
        agreed = np.clip(self.agreements.parts(total)["agreement"] / each, -1, 1)
        level = self.noise * self.factor if self.private and self.noise is not None else 0.0
        blur = self.agreements.deviation("agreement", level) / each
        kept = np.maximum(1 - (blur / np.maximum(np.abs(agreed), 1e-12)) ** 2, 0)
        return np.where(pairs[:, 0] >= 0, np.sin(np.pi / 2 * agreed) * kept, 0.0)

    def release(self, state: State) -> dict[str, Array]:
        """Return what ``gaussian`` releases, less its loadings, and ``pairs`` and ``ties``."""
        require(self._round(state) > len(self.winners), f"methods.{self.name}: a finished run")
        told = self.base.release(state | {"step": np.array(len(self.base.bundles), np.int64)})
        del told["loadings"]
        return told | {"pairs": state["pairs"], "ties": state["ties"].astype(np.float32)}

    def label_weights(self, arrays: Mapping[str, Array]) -> Array:
        """Return the share of each label, float64 (labels,)."""
        return self.base.label_weights(arrays)

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Draw one row for each label code down the forest, float32 (n, genes), within the public range."""
        own = np.asarray(arrays["own"], np.float64)
        loadings = np.sqrt(own)[:, None] * forest.down(
            np.asarray(arrays["pairs"]), np.asarray(arrays["ties"]), len(own)
        )
        return self.base.sample({**arrays, "loadings": loadings, "own": np.zeros_like(own)}, labels, rng)

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's −log density, up to a constant, float64 (rows,): ``gaussian``'s, and what pairs share."""
        told = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
        z = self.base.normal(told, x, label)
        seen = arrays["pairs"][:, 0] >= 0
        pairs, ties = arrays["pairs"][seen], np.clip(told["ties"][seen], -_TIGHT, _TIGHT)
        left, right = z[:, pairs[:, 0]], z[:, pairs[:, 1]]
        shared = (ties**2 * (left**2 + right**2) - 2 * ties * left * right) / (1 - ties**2) / 2
        return np.asarray(self.base.losses(arrays, x, label) + shared.sum(1))
