"""A Gaussian for each label: genes on their own, or with the directions that a noisy covariance shows.

Three questions. ``diagonal`` asks for label means and variances of standardised genes; ``lowrank`` for their
whole covariance too, of which only what stands out of the noise's spectral edge is kept: genes²/2 numbers, where
``factors`` asks for some 20 a gene. For counts, ``zeros`` adds each gene's share of zeros. With ``margins =
"histograms"`` it is a copula: genes share what the covariance shows, and each has the shape of its own histogram.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import linalg
from scipy.special import ndtr, ndtri

from fedgenome.errors import require
from fedgenome.methods import margins, moments
from fedgenome.methods.base import drawn_rows
from fedgenome.methods.bundle import Bundle, Floats, Rows, clip, matrix
from fedgenome.methods.bundled import shares_of
from fedgenome.methods.staged import Staged, StagedOptions, towards_mean
from fedgenome.query import Array, State

MOST_GENES = 2000  # of whose covariance is asked: two million numbers
_MOST = 64  # directions that are kept, at most
_RARE = 1e-4  # share of zeros, or of others, at least, where a row's probability is told


class Options(StagedOptions):
    """Options of ``gaussian``. Shares are relative; what is not asked for has none."""

    covariance: Literal["diagonal", "lowrank"] = Field(default="lowrank", description="what genes share")
    zeros: bool = Field(default=False, description="ask for each gene's share of values at schema.low, for counts")
    means: float = Field(default=0.35, gt=0, description="budget share of label means")
    variances: float = Field(default=0.08, gt=0, description="budget share of variances of standardised genes")
    energy: float = Field(default=0.01, gt=0, description="budget share of two sums that undo the clip")
    second: float = Field(default=0.42, gt=0, description="budget share of the covariance")
    margins: Literal["normal", "histograms"] = Field(default="normal", description="shape of a gene within a label")
    shapes: float = Field(default=0.06, gt=0, description="budget share of genes' histograms")
    absent: float = Field(default=0.05, gt=0, description="budget share of zeros")


@dataclass(frozen=True, kw_only=True)
class Gaussian(Staged[Options]):
    """Rows of a label are Gaussian about its mean, with one covariance for all labels.

    State, beside :class:`~fedgenome.methods.staged.Staged`'s: ``means`` (labels, genes), ``loadings`` (genes, at
    most 64 + labels), ``own`` (genes,), and if asked for, ``zeros`` (genes,), the share of them, and ``histograms``
    (genes, :data:`~fedgenome.methods.margins.BINS`), shares of bins.
    """

    @property
    def shares(self) -> Mapping[str, float]:
        """Relative budget shares of what is asked."""
        names = ["labels", "centre", "spreads", "means", "variances", "energy"]
        names += ["second"] * self._lowrank + ["absent"] * self.options.zeros + ["shapes"] * self._shaped
        return {name: getattr(self.options, name) for name in names}

    @property
    def _lowrank(self) -> bool:
        return self.options.covariance == "lowrank"

    @property
    def _shaped(self) -> bool:
        return self.options.margins == "histograms"

    @property
    def _directions(self) -> int:
        return min(_MOST, len(self.schema.genes)) if self._lowrank else 0

    @property
    def norm(self) -> float:
        """L2 bound of a standardised row, √genes."""
        return math.sqrt(len(self.schema.genes))

    @property
    def later(self) -> tuple[Bundle, ...]:
        """Means and variances, the covariance's upper triangle, zeros: one question."""
        labels, genes = len(self.schema.labels), len(self.schema.genes)
        too_many = self._lowrank and genes > MOST_GENES
        rule = f"methods.{self.name}.options.covariance: diagonal beyond {MOST_GENES} genes, or the kind factors"
        require(not too_many, rule, genes=genes)
        both = self.options.zeros and self._shaped
        require(not both, f"methods.{self.name}.options: zeros or margins = 'histograms', not both")
        parts = [
            self.part("means", labels * genes, self.norm),
            self.part("variances", genes, 1.45 * self.norm),
            self.part("energy", 2, math.sqrt(2)),
        ]
        if self._lowrank:
            parts.append(self.part("second", genes * (genes + 1) // 2, self.norm**2))
        if self.options.zeros:
            parts.append(self.part("absent", genes, self.norm))
        if self._shaped:
            parts.append(self.part("shapes", genes * margins.BINS, self.norm))
        return (Bundle(statistics=tuple(parts)),)

    def payload(self, state: State, step: int) -> dict[str, Array]:
        """Return nothing: centre and scale are all that a site needs."""
        return {}

    def step_of(self, payload: Mapping[str, Array]) -> int:
        """Return 2: there is one question of standardised genes."""
        require(set(payload) == {"centre", "scale"}, "a payload of centre and scale", names=sorted(payload))
        return 2

    def statistics(self, payload: Mapping[str, Array], z: Floats, label: Array) -> dict[str, Rows]:
        """Return the parts of the third question."""
        short = clip(z, self.norm)
        made: dict[str, Rows] = {
            "means": (np.eye(len(self.schema.labels))[label], short),
            "variances": short**2,
            "energy": moments.energies(z, self.norm),
        }
        if self._lowrank:
            made["second"] = short, None
        if self._shaped:
            made["shapes"] = margins.indicators(z)
        return made

    def raw_statistics(self, x: Array) -> dict[str, Rows]:
        """Return the parts that are read off values as they are: which are at ``schema.low``."""
        return {"absent": (x <= self.schema.low).astype(np.float64)} if self.options.zeros else {}

    def untaught(self, rng: np.random.Generator) -> State:
        """Return genes that do not vary with the label."""
        labels, genes = len(self.schema.labels), len(self.schema.genes)
        columns = labels + self._directions
        more = {"zeros": np.zeros(genes)} if self.options.zeros else {}
        if self._shaped:
            more["histograms"] = np.full((genes, margins.BINS), 1 / margins.BINS)
        return {
            "means": np.zeros((labels, genes)),
            "loadings": np.zeros((genes, columns)),
            "own": np.ones(genes),
        } | more

    def taught(self, state: State, bundle: Bundle, parts: Mapping[str, Floats]) -> State:
        """Return the model."""
        labels, genes = len(self.schema.labels), len(self.schema.genes)
        donors, counts = self.donors(state), np.maximum(state["counts"], 1.0)
        energy, longer = moments.energy_of(parts["energy"] / donors)
        blur = bundle.deviation("variances", self.level) / donors
        variances = towards_mean(parts["variances"] / donors, blur)
        variances = moments.profile(variances, energy)
        loadings = math.sqrt(longer) * self._shared(bundle, parts, donors) if self._lowrank else np.zeros((genes, 0))
        own = np.maximum(variances - (loadings**2).sum(1), 0.05 * variances)
        raw = parts["means"].reshape(labels, genes) / counts[:, None] * math.sqrt(longer)
        blur = bundle.deviation("means", self.level) * math.sqrt(longer)
        centre, raw = self.recentred(state, raw, blur / donors)
        means = moments.shrunk_means(raw, blur / counts, *np.linalg.eigh(loadings @ loadings.T + np.diag(own)))
        model = moments.within(loadings, variances, means, shares_of(state["counts"]))
        taught = {
            "centre": centre,
            "means": model.means,
            "loadings": moments.padded(model.loadings, state["loadings"].shape[1]),
            "own": model.own,
        }
        if self.options.zeros:
            blur = bundle.deviation("absent", self.level) / donors
            taught["zeros"] = np.clip(towards_mean(parts["absent"] / donors, blur), 0, 1)
        if self._shaped:
            taught |= self._histograms(state, taught, parts["shapes"], bundle.deviation("shapes", self.level))
        return taught

    def _histograms(self, state: State, taught: State, counted: Floats, deviation: float) -> State:
        """Return shares of bins, and label means about the centre that the bins are about."""
        means = taught["means"] + (taught["centre"] - state["centre"]) / state["scale"]
        own = margins.expected(means, _deviations(taught), shares_of(state["counts"]))
        donors = self.donors(state)
        told = margins.learned(counted.reshape(own.shape) / donors, own, deviation / donors)
        return {"centre": state["centre"], "means": means, "histograms": told}

    def _shared(self, bundle: Bundle, parts: Mapping[str, Floats], donors: float) -> Floats:
        """Return L (genes, at most 64) from the noisy covariance: zeros but for what lies beyond the noise's edge.

        An eigenvalue y beyond the edge of noise with deviation s is put to λ with y = λ + genes·s²/λ.
        """
        genes = len(self.schema.genes)
        deviation = bundle.deviation("second", self.level) / donors / math.sqrt(2)  # off the diagonal
        kept = genes - self._directions, genes - 1
        values, vectors = linalg.eigh(matrix(parts["second"], genes) / donors, subset_by_index=kept)
        least = max(2 * math.sqrt(genes) * deviation, 1.0)  # below 1 a direction is no more than one gene's own
        right = (values + np.sqrt(np.maximum(values**2 - 4 * genes * deviation**2, 0))) / 2
        return np.asarray(vectors * np.sqrt(np.where(values > least, np.maximum(right - 1, 0), 0)))

    def release(self, state: State) -> dict[str, Array]:
        """Return ``label_weights``, ``centre``, ``scale``, ``means``, ``loadings``, ``own``; what else was asked."""
        self.require_finished(state)
        names = ["centre", "scale", "means", "loadings", "own"]
        names += ["zeros"] * self.options.zeros + ["histograms"] * self._shaped
        return {"label_weights": shares_of(state["counts"])} | {n: state[n].astype(np.float32) for n in names}

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Draw one row for each label code, float32 (n, genes), within the public range."""
        z = moments.drawn(arrays, labels, rng, mirrored=self.options.mirrored)
        told = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
        if self._shaped:
            z = margins.shaped(z, told["histograms"], told["means"], _deviations(told), told["label_weights"])
        x = told["centre"] + told["scale"] * z
        if self.options.zeros:
            between = told["label_weights"] @ told["means"] ** 2
            spread = np.sqrt(_deviations(told) ** 2 + between)
            x = self._with_zeros(z / spread, told["zeros"], told["centre"], told["scale"] * spread)
        return drawn_rows(self.schema, x)

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's −log density, up to a constant, float64 (rows,).

        Asked for zeros, that of values as Gaussian, and −log probability of which are at ``schema.low``.
        """
        told = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
        z, slopes = self._normal(told, x)
        common = moments.surprise(moments.released(told), z, label) - slopes
        if not self.options.zeros:
            return common
        share = np.clip(told["zeros"], _RARE, 1 - _RARE)
        return np.asarray(common - np.log(np.where(x <= self.schema.low, share, 1 - share)).sum(1))

    def normal(self, told: Mapping[str, Floats], x: Array, label: Array) -> Floats:
        """Return released genes of rows (n, genes) as deviations from their label's mean that are about normal."""
        return (self._normal(told, x)[0] - told["means"][label]) / _deviations(told)

    def _normal(self, told: Mapping[str, Floats], x: Array) -> tuple[Floats, Array]:
        """Return rows standardised, their shapes undone, and the log of how much that stretches each (n,)."""
        z = (x - told["centre"]) / told["scale"]
        if not self._shaped:
            return z, np.zeros(len(z))
        return margins.unshaped(z, told["histograms"], told["means"], _deviations(told), told["label_weights"])

    def _with_zeros(self, z: Floats, zeros: Floats, centre: Floats, deviation: Floats) -> Floats:
        """Return values of which each gene's share ``zeros`` is low: the lowest z (n, genes), which are about normal.

        Means and standard deviations of all values stay ``centre`` and ``deviation``.

        With share p of zeros, a gene of mean m and variance v has mean m/(1 − p) and variance
        v/(1 − p) − p·m²/(1 − p)² where it is not zero; m is above schema.low here.
        """
        seen = np.maximum(1 - zeros, 1e-3)
        mean = np.maximum(centre - self.schema.low, 0) / seen
        variance = np.maximum(deviation**2 / seen - zeros * mean**2, (0.1 * deviation) ** 2)
        rank = np.clip((ndtr(z) - zeros) / seen, 1e-6, 1 - 1e-6)
        return np.where(ndtr(z) < zeros, self.schema.low, self.schema.low + mean + np.sqrt(variance) * ndtri(rank))


def _deviations(told: Mapping[str, Array]) -> Floats:
    """Return each gene's standard deviation within a label (genes,)."""
    model = moments.released(told)
    return np.asarray(np.sqrt(model.own + (model.loadings**2).sum(1)))
