"""A generator of few questions, each a bundle of clipped statistics; the first two standardise the genes.

Stage 1 asks for label counts and a centre, about a public guess; stage 2 for deviations from that centre, which
give each gene's scale. What is asked after that, a subclass says, of standardised genes. Everything learned is
an array of fixed shape in the state, and travels in later payloads.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from pydantic import Field

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.bundle import Bundle, Floats, Part, Rows
from fedgenome.methods.bundled import Bundled, shares_of
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.query import Array, Question, State
from fedgenome.strict import Strict

_SPREAD = 1 / 16  # of the public range: what a gene's standard deviation is taken for before it is known
_NORMAL = math.sqrt(math.pi / 2)  # a normal value's standard deviation over its mean deviation
_LEAST = 1 / 5  # of that: no gene is taken to vary less, as its noise would be blown up


class StagedOptions(Strict):
    """Public guesses that clip norms rest on, in the data's units, and relative budget shares of what all ask."""

    middle: float | None = Field(default=None, description="public guess at a gene's mean; default: mid-range")
    radius: float | None = Field(
        default=None, gt=0, description="L2 bound of a row about it; default: range / 4 · √genes"
    )
    spread: float | None = Field(
        default=None, gt=0, description="public guess at a gene's standard deviation; default: range / 16"
    )
    labels: float = Field(default=0.01, gt=0, description="budget share of label counts")
    centre: float = Field(default=0.10, gt=0, description="budget share of the centre")
    spreads: float = Field(default=0.03, gt=0, description="budget share of the genes' mean deviations")
    mirrored: bool = Field(default=True, description="draw rows in mirrored pairs about their label's mean")


Options = TypeVar("Options", bound=StagedOptions)


@dataclass(frozen=True, kw_only=True)
class Staged(Bundled[Options]):
    """What such methods share.

    State: ``step`` (queries answered), ``counts`` (labels,) noisy, ``centre`` and ``scale`` (genes,) in the data's
    units, and a subclass' own.
    """

    # ---- What a subclass says

    @property
    @abstractmethod
    def shares(self) -> Mapping[str, float]:
        """Relative budget shares: ``labels``, ``centre``, ``spreads``, and its own parts'."""

    @property
    @abstractmethod
    def later(self) -> tuple[Bundle, ...]:
        """What is asked of standardised genes."""

    @abstractmethod
    def payload(self, state: State, step: int) -> dict[str, Array]:
        """Return what a site needs for question ``step`` beside centre and scale."""

    @abstractmethod
    def statistics(self, payload: Mapping[str, Array], z: Floats, label: Array) -> dict[str, Rows]:
        """Return parts of standardised rows z (n, genes) with labels (n,)."""

    def raw_statistics(self, x: Array) -> dict[str, Rows]:
        """Return parts that are read off values as they are, x (n, genes); none by default."""
        return {}

    @abstractmethod
    def untaught(self, rng: np.random.Generator) -> State:
        """Return the subclass' arrays before the first question."""

    @abstractmethod
    def taught(self, state: State, bundle: Bundle, parts: Mapping[str, Floats]) -> State:
        """Return the subclass' arrays after ``bundle`` gave ``parts``."""

    # ---- Public numbers

    @property
    def _range(self) -> float:
        return self.schema.high - self.schema.low

    @property
    def middle(self) -> float:
        """What is taken off before a row is clipped for the centre."""
        given = self.options.middle
        return (self.schema.low + self.schema.high) / 2 if given is None else given

    @property
    def spread(self) -> float:
        """Public guess at a gene's standard deviation."""
        return self.options.spread or self._range * _SPREAD

    def share(self, name: str) -> float:
        """Return the part of the budget that ``name`` has."""
        return self.shares[name] / math.fsum(self.shares.values())

    def part(self, name: str, length: int, bound: float) -> Part:
        """Return the part ``name`` with its share."""
        return Part(name=name, length=length, bound=bound, share=self.share(name))

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """Every question's statistics."""
        genes = len(self.schema.genes)
        radius = self.options.radius or self._range / 4 * math.sqrt(genes)
        first = self.part("labels", len(self.schema.labels), 1.0), self.part("centre", genes, radius)
        second = self.part("spreads", genes, 1.1 * math.sqrt(genes) * self.spread)
        return Bundle(statistics=first), Bundle(statistics=(second,)), *self.later

    # ---- The method

    def untold(self, rng: np.random.Generator) -> State:
        """Return public guesses."""
        labels, genes = len(self.schema.labels), len(self.schema.genes)
        return {
            "counts": np.zeros(labels),
            "centre": np.full(genes, float(self.middle)),
            "scale": np.full(genes, float(self.spread)),
        } | self.untaught(rng)

    def shown(self, state: State, step: int) -> dict[str, Array]:
        """Return centre and scale, as far as they are known, and what the subclass shows from the third question on."""
        known = {name: state[name] for name in ("centre", "scale")[:step]}
        return known | (self.payload(state, step) if step > 1 else {})

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the sums over donors of the mean of their rows' statistics.

        A row with NaN, or of a label that the schema does not have, is no row.
        """
        genes, labels = len(self.schema.genes), len(self.schema.labels)
        require(sample.x.shape[1] == genes, f"a shard of the schema's {genes} genes", genes=sample.x.shape[1])
        payload = dict(question.payload)
        centre, scale = payload.pop("centre", None), payload.pop("scale", None)
        told = {name: np.shape(v) for name, v in (("centre", centre), ("scale", scale)) if v is not None}
        known = all(shape == (genes,) for shape in told.values()) and (centre is not None or not question.payload)
        require(known, f"a payload with centre and scale of {genes} genes", **told)
        live = np.flatnonzero(sample.mask & np.isfinite(sample.x).all(1) & (sample.label < labels))

        def make(at: Array) -> Mapping[str, Rows]:
            x, label = sample.x[live[at]].astype(np.float64), sample.label[live[at]]
            if centre is None:
                return {"labels": np.eye(labels)[label], "centre": x - self.middle}
            with np.errstate(all="ignore"):  # a crafted payload gives NaN: no row
                if scale is None:
                    return {"spreads": np.abs(x - centre)}
                return self.statistics(payload, (x - centre) / scale, label) | self.raw_statistics(x)

        return self._bundle_of(question).answer(make, sample.donor[live])

    def _bundle_of(self, question: Question) -> Bundle:
        names = set(question.payload)
        step = 0 if not names else 1 if names == {"centre"} else self.step_of(question.payload)
        bundle = self.bundles[step]
        require(question.length == bundle.length, f"a question of {bundle.length} numbers", length=question.length)
        return bundle

    @abstractmethod
    def step_of(self, payload: Mapping[str, Array]) -> int:
        """Return which question, from the third on, has this payload.

        Raises:
            SpecError: none has.
        """

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after one more bundle."""
        step = int(state["step"])
        bundle = self.bundles[step]
        parts, after = bundle.parts(total), {**state, "step": np.array(step + 1, np.int64)}
        if step == 0:
            counts = np.maximum(parts["labels"], 0.0)
            centre = self.middle + towards_mean(parts["centre"] / max(1.0, counts.sum()), self.centre_blur(counts))
            return after | {"counts": counts, "centre": np.clip(centre, self.schema.low, self.schema.high)}
        if step == 1:
            return after | {"scale": self._scale(parts["spreads"] / self.donors(state), bundle)}
        return after | self.taught(after, bundle, parts)

    def centre_blur(self, counts: Array) -> float:
        """Return the standard deviation of the noise in a gene's centre, in the data's units."""
        return self.bundles[0].deviation("centre", self.level) / max(1.0, float(counts.sum()))

    def recentred(self, state: State, raw: Floats, blur: float) -> tuple[Floats, Floats]:
        """Return the centre and label means about it, once means about the old one show how far it is off.

        Donors' mean, over all labels, is that error and noise: it is believed as far as the first centre's noise
        outweighs its own (Wiener).

        Args:
            raw: (labels, genes) noisy means of standardised genes.
            blur: Standard deviation of the noise in a label's sum, divided by all donors.
        """
        scale, counts = state["scale"], state["counts"]
        error = shares_of(counts) @ raw
        doubt = (self.centre_blur(counts) / scale) ** 2
        error *= doubt / np.maximum(doubt + len(raw) * blur**2, 1e-12)
        return np.clip(state["centre"] + scale * error, self.schema.low, self.schema.high), raw - error

    def donors(self, state: State) -> float:
        """Return the noisy number of donors, at least 1."""
        return max(1.0, float(state["counts"].sum()))

    def _scale(self, deviations: Floats, bundle: Bundle) -> Floats:
        """Return each gene's scale, from noisy mean deviations shrunk towards their mean as far as noise blurs them."""
        blur = bundle.deviation("spreads", self.level) / self.donors_bound
        return np.maximum(_NORMAL * towards_mean(deviations, blur), _LEAST * self.spread)

    def label_weights(self, arrays: Mapping[str, Array]) -> Array:
        """Return the share of each label, float64 (labels,)."""
        return np.asarray(arrays["label_weights"], np.float64)


def towards_mean(values: Floats, deviation: float) -> Floats:
    """Return noisy ``values`` (n,) moved towards their mean by what their own spread owes to noise (Wiener)."""
    mean = values.mean()
    variance = max(float(values.var()), 1e-12)
    return np.asarray(mean + max(0.0, 1 - deviation**2 / variance) * (values - mean))
