"""Allele frequencies of each label, as a study of association reports them: one charged question, and what follows.

A person adds one to a label's count and its dosages, less one each, to that label's sums: a vector of norm √(variants)
at most, whatever the label. Some numbers more are left at 0 by everybody: what is opened there is noise alone, so that
standard errors hold under every trust model, however many parties or sites added noise. Frequencies, odds ratios and
tests are post-processing.

Source of the tests: the allelic test of Sasieni 1997, "From genotypes to genes: doubling the sample size", with noise's
variance beside that of sampling.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy import stats

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.bundle import Bundle, Floats, Part, Rows
from fedgenome.methods.bundled import Bundled
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.query import Array, Question, State
from fedgenome.strict import Strict
from fedgenome.study import Schema

BLANKS = 256  # numbers that everybody leaves at 0: noise's deviation is known to 4 %
_BLANK = 1e-6  # budget share of them, as every part has one
_LEAST = 1e-4  # frequency that an allele is taken to have, at least, where it is divided by


class Options(Strict):
    """Options of ``frequencies``. Shares are relative."""

    labels: float = Field(default=0.05, gt=0, description="budget share of label counts")
    dosages: float = Field(default=0.95, gt=0, description="budget share of labels' sums of dosages")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Associations:
    """How one label's frequencies differ from those of all others.

    Attributes:
        frequencies: Of the label, then of the others, within 0 and 1, (2, variants).
        log_odds: Of an allele of the label against one of the others, (variants,).
        errors: Their standard errors, of sampling and of noise.
        chi2: Of one degree of freedom, of "both are equally frequent".
        p_values: Of so much or more by chance.
    """

    frequencies: Floats
    log_odds: Floats
    errors: Floats
    chi2: Floats
    p_values: Floats


@dataclass(frozen=True, kw_only=True)
class Frequencies(Bundled[Options]):
    """Noisy sums of dosages by label.

    State: ``step``; ``counts`` (labels,); ``sums`` (labels, variants), of dosages less one; ``noise`` (2,), its
    standard deviation in either.
    """

    @functools.cached_property
    def bundles(self) -> tuple[Bundle, ...]:
        """The one question's statistics."""
        blanks = Part(name="blanks", length=BLANKS, bound=1.0, share=_BLANK)
        shares = self.options.labels, self.options.dosages
        left = (1 - _BLANK) / math.fsum(shares)
        return (Bundle(statistics=(*parts_of(self.schema, shares[0] * left, shares[1] * left), blanks)),)

    def untold(self, rng: np.random.Generator) -> State:
        """Return zeros."""
        labels, variants = len(self.schema.labels), len(self.schema.genes)
        return {"counts": np.zeros(labels), "sums": np.zeros((labels, variants)), "noise": np.zeros(2)}

    def shown(self, state: State, step: int) -> dict[str, Array]:
        """Return nothing: one question asks for everything."""
        return {}

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the sums over donors of the mean of their rows' statistics.

        A row with NaN, or of a label that the schema does not have, is no row.
        """
        require(not question.payload, "a question without a payload", names=sorted(question.payload))
        live = live_rows(self.schema, sample)

        def make(at: Array) -> Mapping[str, Rows]:
            told = rows_of(self.schema, sample.x[live[at]], sample.label[live[at]])
            return {**told, "blanks": np.zeros((len(at), BLANKS))}

        return self.bundles[0].answer(make, sample.donor[live])

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the noisy counts and sums, and the deviation of their noise as the blanks show it."""
        (bundle,) = self.bundles
        parts = bundle.parts(total)
        weights = {part.name: bundle.weight(part) for part in bundle.statistics}
        blank = float(np.sqrt((parts["blanks"] ** 2).mean())) * weights["blanks"]
        return {
            "step": np.array(1, np.int64),
            "counts": parts["labels"],
            "sums": parts["dosages"].reshape(len(self.schema.labels), -1),
            "noise": np.array([blank / weights["labels"], blank / weights["dosages"]]),
        }

    def release(self, state: State) -> dict[str, Array]:
        """Return ``counts``, ``sums`` and ``noise`` as they are: unbiased."""
        self.require_finished(state)
        return {name: state[name] for name in ("counts", "sums", "noise")}

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's −log probability under its label's frequencies, variants taken as independent, (rows,)."""
        p = np.clip(frequencies(arrays), _LEAST, 1 - _LEAST)[label]
        told: Floats = np.asarray(stats.binom.logpmf(np.clip(np.rint(x), 0, 2), 2, p), np.float64)
        return -np.asarray(told.sum(1))


def parts_of(schema: Schema, labels: float, dosages: float) -> tuple[Part, Part]:
    """Return label counts and labels' sums of dosages as parts with these shares of the budget."""
    variants = len(schema.genes)
    length = len(schema.labels) * variants
    return (
        Part(name="labels", length=len(schema.labels), bound=1.0, share=labels),
        Part(name="dosages", length=length, bound=math.sqrt(variants), share=dosages),
    )


def live_rows(schema: Schema, sample: Shard) -> Array:
    """Return which rows are rows: unmasked, finite, of a label of the schema.

    Raises:
        SpecError: the shard has other variants.
    """
    variants = len(schema.genes)
    require(sample.x.shape[1] == variants, f"a shard of the schema's {variants} genes", genes=sample.x.shape[1])
    return np.flatnonzero(sample.mask & np.isfinite(sample.x).all(1) & (sample.label < len(schema.labels)))


def rows_of(schema: Schema, x: Array, label: Array) -> dict[str, Rows]:
    """Return the rows' statistics by part."""
    one_hot = np.eye(len(schema.labels))[label]
    return {"labels": one_hot, "dosages": (one_hot, np.clip(x.astype(np.float64), 0, 2) - 1)}


def frequencies(arrays: Mapping[str, Array]) -> Floats:
    """Return the frequency of ALT by label, (labels, variants), within 0 and 1; a half where a label has nobody."""
    people = np.maximum(np.asarray(arrays["counts"], np.float64), 1.0)[:, None]
    return np.clip((1 + arrays["sums"] / people) / 2, 0, 1)


def deviations(arrays: Mapping[str, Array]) -> Floats:
    """Return the standard deviation of noise in :func:`frequencies`, (labels, variants).

    Of the sum, and of the count that it is divided by: (σ_sum² + (2p − 1)²·σ_count²)/(2n)².
    """
    people = np.maximum(np.asarray(arrays["counts"], np.float64), 1.0)[:, None]
    of_count, of_sum = np.asarray(arrays["noise"], np.float64)
    return np.asarray(np.hypot(of_sum, (2 * frequencies(arrays) - 1) * of_count) / (2 * people))


def associations(arrays: Mapping[str, Array], label: int) -> Associations:
    """Return how the frequencies of ``label`` differ from those of all other labels together.

    Args:
        arrays: What was released.
        label: Its code: cases, of a study of cases and controls.

    Raises:
        SpecError: no such label, or no other.
    """
    labels = len(arrays["counts"])
    require(labels >= 2 and 0 <= label < labels, "a label of two or more", label=label, labels=labels)
    of = np.arange(labels) == label
    noise = arrays["noise"] * np.sqrt([[1], [labels - 1]])  # of sums over labels
    sides = [{"counts": arrays["counts"][at].sum()[None], "sums": arrays["sums"][at].sum(0)[None]} for at in (of, ~of)]
    told = [{**side, "noise": each} for side, each in zip(sides, noise, strict=True)]
    p, blur = (np.concatenate([each(side) for side in told]) for each in (frequencies, deviations))
    alleles = 2 * np.maximum([float(side["counts"][0]) for side in sides], 1.0)[:, None]
    within = np.clip(p, _LEAST, 1 - _LEAST)
    common = np.clip((alleles * p).sum(0) / alleles.sum(), _LEAST, 1 - _LEAST)
    chi2 = (p[0] - p[1]) ** 2 / (common * (1 - common) / alleles + blur**2).sum(0)
    spread = within * (1 - within) / alleles + blur**2
    log_odds = np.log(within / (1 - within))
    return Associations(
        frequencies=p,
        log_odds=log_odds[0] - log_odds[1],
        errors=np.sqrt((spread / (within * (1 - within)) ** 2).sum(0)),
        chi2=chi2,
        p_values=stats.chi2.sf(chi2, 1),
    )
