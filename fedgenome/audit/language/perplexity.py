"""Bits a base: how surprised a model is by sequences, alone and beside a reference that never saw them.

Two bits a base is chance for four letters, a perplexity of 4 = 2². A perplexity is 2^bits.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from fedgenome.audit.bounds import ranking
from fedgenome.audit.language.steps import as_tensor
from fedgenome.audit.results import LEVEL, Interval
from fedgenome.cohort.tokens import Tokens
from fedgenome.errors import require
from fedgenome.models.language.base import LanguageModel, log_probabilities
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How much less surprised a model is by what it was trained on than by what it was not.

    Attributes:
        bits: Mean bits a base of controls less that of members, with Welch's interval: above 0 where it leaks.
        auc: Area under the ROC curve of minus the bits.
        p_value: Of "members are no less surprising", one-sided Mann–Whitney, uncorrected.
    """

    bits: Interval
    auc: Interval
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def nats(model: LanguageModel, tokens: Array) -> Array:
    """Return −log p of each token, float64 (rows, length); 0 where it is unknown.

    A causal model's is given what stands before, a masked one's all others (a pseudo-likelihood).
    """
    return np.asarray(-log_probabilities(model, as_tensor(tokens)).numpy())


def log_likelihood(model: LanguageModel, tokens: Array) -> Array:
    """Return the log-probability of rows, nats, float64 (rows,); a masked model's pseudo-log-likelihood."""
    return np.asarray(-nats(model, tokens).sum(1))


def bits_per_base(
    model: LanguageModel,
    tokens: Array,
    alphabet: Tokens,
    donor: Array | None = None,
    *,
    both_strands: bool = False,
) -> Array:
    """Return the bits a base of each donor's rows, float64 (donors,), in the order of sorted donors.

    All bits of a donor over all of the donor's known bases, so that a row of few known ones weighs little. Per base,
    not per token: what k-mers of several k say can be compared.

    Args:
        model: The model.
        tokens: int (rows, length).
        alphabet: What tokens are.
        donor: Whose row it is, int (rows,); default: each row is its own.
        both_strands: Whether the other strand is read too: the same molecule, and half of the bits are its.

    Raises:
        SpecError: a donor without a known token.
    """
    strands = [tokens, alphabet.reverse_complement(tokens)] if both_strands else [tokens]
    known = sum((each < alphabet.size).sum(1) for each in strands)
    total = sum(nats(model, each).sum(1) for each in strands)
    whose = np.arange(len(tokens)) if donor is None else np.unique(donor, return_inverse=True)[1]
    bases = np.bincount(whose, weights=known) * alphabet.k
    require(bool((bases > 0).all()), "a known token for every donor")
    return np.asarray(np.bincount(whose, weights=total) / bases / math.log(2))


def calibrated(bits: Array, reference: Array) -> Array:
    """Return how many bits a base less the model needs than a reference model: larger for members.

    A sequence that is easy for every model is then no member for that.

    Source: Carlini et al. 2021 (arXiv 2012.07805), Section 5.2; Watson et al. 2022, difficulty calibration.

    Args:
        bits: Under the model, (donors,).
        reference: Under one that saw none of them: trained without, or a chain or copying model of public people.
    """
    require(bits.shape == reference.shape, "the same donors under both models", shape=bits.shape)
    return reference - bits


def gap(members: Array, controls: Array, level: float = LEVEL) -> Gap:
    """Return the gap of bits a base between members (or planted canaries) and controls that are matched to them."""
    return Gap(
        bits=_welch(controls, members, level),
        auc=ranking.auc_interval(-members, -controls, level),
        p_value=ranking.chance_p_value(-members, -controls),
    )


def _welch(high: Array, low: Array, level: float) -> Interval:
    """Return mean ``high`` − mean ``low`` with Welch's interval; of constants it is a point."""
    require(min(len(high), len(low)) >= 2, "at least 2 members and 2 controls")
    apart, parts = float(high.mean() - low.mean()), [each.var(ddof=1) / len(each) for each in (high, low)]
    squares = sum(part**2 / (len(each) - 1) for part, each in zip(parts, (high, low), strict=True))
    freedom = sum(parts) ** 2 / squares if squares > 0 else math.inf
    half = float(stats.t.isf((1 - level) / 2, freedom)) * math.sqrt(sum(parts))
    return Interval(estimate=apart, low=apart - half, high=apart + half, level=level, method="Welch")
