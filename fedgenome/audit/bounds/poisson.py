"""Whether batches are the Poisson samples that the accountant priced: a coin of its own for each donor and query.

A batch of a fixed size, one coin for all, or the same batch every round look alike to the training and cost more than
was charged. Sizes of Poisson samples vary as a binomial does, and two samples share a donor with chance q².
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from fedgenome.errors import require
from fedgenome.query import Array


def sizes_p_value(samples: Array, rate: float) -> float:
    """Return the p-value of "sizes of batches vary as Binomial(donors, rate)": neither too much nor too little.

    Args:
        samples: Who was in each query's batch, bool (queries, donors).
        rate: The chance of each, 0 < rate < 1.
    """
    _check(samples, rate, 1)
    queries, donors = samples.shape
    statistic = float(((samples.sum(1) - donors * rate) ** 2).sum() / (donors * rate * (1 - rate)))
    law = stats.chi2(queries)
    return min(1.0, float(2 * min(law.cdf(statistic), law.sf(statistic))))


def overlaps_p_value(samples: Array, rate: float) -> float:
    """Return the p-value of "neighbouring queries share a donor with chance rate²", two-sided, exact.

    Args:
        samples: Who was in each query's batch, bool (queries, donors); queries are paired, an odd last one left out.
        rate: The chance of each, 0 < rate < 1.
    """
    _check(samples, rate, 2)
    pairs = samples[: len(samples) // 2 * 2].reshape(-1, 2, samples.shape[1])
    common = pairs.all(axis=1)
    return float(stats.binomtest(int(common.sum()), common.size, rate**2).pvalue)


def _check(samples: Array, rate: float, fewest: int) -> None:
    good = samples.ndim == 2 and samples.dtype == np.bool_ and len(samples) >= fewest and samples.shape[1] >= 1
    require(good, f"samples of bool, {fewest} queries or more by donors", shape=samples.shape, dtype=samples.dtype)
    require(0 < rate < 1, "0 < rate < 1", rate=rate)
