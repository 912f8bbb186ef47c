"""Tables of genotypes beside real ones: allele frequencies, axes of variation, linkage, and who is nearest to whom."""

from __future__ import annotations

import numpy as np

from fedgenome.audit.targets import Records
from fedgenome.errors import require
from fedgenome.query import Array
from fedgenome.utility.kernel import some
from fedgenome.utility.metrics import FULL, Metric, Settings, Value, unsaid

AXES = 4  # principal components that are compared
STEPS = (1, 4, 16)  # along the list of variants, at which linkage is told
_NOTHING = 1e-9  # of the largest eigenvalue: an axis of rounding
METRICS = (
    Metric(
        name="frequency_r",
        title="allele frequencies, correlation",
        words="Pearson correlation of ALT frequencies over variants",
        better="higher",
    ),
    Metric(
        name="frequency_rmse",
        title="allele frequencies, error",
        words="root mean square difference of ALT frequencies",
        better="lower",
    ),
    Metric(
        name="pca_overlap",
        title=f"first {AXES} axes, overlap",
        words="shared part of the spaces of the first principal components: 1 if they are the same, near 0 by chance",
        better="higher",
    ),
    *(
        Metric(
            name=f"ld_{step}",
            title=f"linkage, {step} apart",
            words="mean r² of variants so far apart in the list, less the real one",
            better="as real",
        )
        for step in STEPS
    ),
    Metric(
        name="aats_real",
        title="adversarial accuracy, real rows",
        words="share of real rows nearer to another real row than to the table: 1 if it is far off, 0 if it copies",
        better="as real",
    ),
    Metric(
        name="aats_table",
        title="adversarial accuracy, table rows",
        words="share of table rows nearer to another of the table than to a real row; the mean of both can hide either",
        better="as real",
    ),
)


def measure(table: Records, truth: Records, rng: np.random.Generator, settings: Settings = FULL) -> dict[str, Value]:
    """Return every figure of ``METRICS``, of rows of dosages.

    Args:
        table: The synthetic table.
        truth: Real rows.
        rng: Chooses rows where two sides of one size are needed, at most ``settings.rows`` each.
        settings: How thoroughly.
    """
    made, real = (side.x.astype(np.float64) for side in (table, truth))
    p, q = made.mean(0) / 2, real.mean(0) / 2
    found = {"frequency_rmse": Value(value=float(np.sqrt(((p - q) ** 2).mean())))}
    alike = min(np.ptp(p), np.ptp(q)) > 0
    why = "all variants of a side are equally frequent"
    found["frequency_r"] = Value(value=float(np.corrcoef(p, q)[0, 1])) if alike else unsaid(why)
    for step in STEPS:
        found[f"ld_{step}"] = _linkage_apart(made, real, step)
    n = min(len(made), len(real), settings.rows)
    made, real = (some(side, n, rng) for side in (made, real))
    found["pca_overlap"] = _overlap(made, real)
    if n < 2:
        return found | {f"aats_{side}": unsaid("fewer than two rows") for side in ("real", "table")}
    found["aats_real"], found["aats_table"] = (Value(value=one) for one in adversarial(real, made))
    return found


def linkage(x: Array, step: int) -> Array:
    """Return r² of each variant and the one ``step`` further in the list, float64 (variants − step,).

    NaN where one of them does not vary. Of dosages without phase: Weir's composite measure, which is that of haplotypes
    where mating is at random.
    """
    require(1 <= step < x.shape[1], "1 <= step < variants", step=step, variants=x.shape[1])
    apart = x - x.mean(0)
    square = (apart**2).mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            (apart[:, step:] * apart[:, :-step]).mean(0) ** 2 / (square[step:] * square[:-step]), np.float64
        )


def adversarial(real: Array, made: Array) -> tuple[float, float]:
    """Return both parts of the nearest-neighbour adversarial accuracy, of as many rows of either side.

    The share of real rows whose nearest other real row is nearer than the table, and of table rows whose nearest other
    row of the table is nearer than a real one; ties are half. Their mean is the AATS: .5 for rows of one population,
    but also where one part is near 1 and the other near 0, as of genes drawn independently.

    Source: Yale et al. 2020, "Generation and evaluation of privacy preserving synthetic health data".

    Args:
        real: (n, variants), n ≥ 2.
        made: (n, variants).
    """
    require(len(real) == len(made) >= 2, "as many rows of either side, two at least", real=len(real), made=len(made))
    across = _squares(real, made)
    shares = []
    for side, other in ((real, across.min(1)), (made, across.min(0))):
        within = _squares(side, side)
        np.fill_diagonal(within, np.inf)
        nearest = within.min(1)
        shares.append(float((other > nearest).mean() + (other == nearest).mean() / 2))
    return shares[0], shares[1]


def _squares(a: Array, b: Array) -> Array:
    """Return squared distances, (a, b): exact, as dosages are whole numbers."""
    return np.asarray((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T)


def _linkage_apart(made: Array, real: Array, step: int) -> Value:
    if real.shape[1] <= step:
        return unsaid(f"no two variants {step} apart")
    both = np.stack([linkage(side, step) for side in (made, real)])
    told = np.isfinite(both[1])
    if not told.any():
        return unsaid("no two real variants vary")
    # A variant that does not vary in the table has no linkage there.
    kept, real_mean = np.nan_to_num(both[0][told]).mean(), both[1][told].mean()
    return Value(value=float(kept - real_mean), note=f"{real_mean:.3f} in the real rows")


def _overlap(made: Array, real: Array) -> Value:
    """Return ‖U Vᵀ‖²/k of both sides' first k axes (k, variants), of dosages scaled by the real frequencies.

    Source of the scale: Patterson, Price & Reich 2006, "Population structure and eigenanalysis", equation 3.
    """
    p = real.mean(0) / 2
    varies = (p > 0) & (p < 1)
    axes = [_axes((side - side.mean(0))[:, varies] / np.sqrt(2 * p * (1 - p))[varies]) for side in (made, real)]
    k = min(len(side) for side in axes)
    if k == 0:
        return unsaid("rows of a side do not vary")
    return Value(value=float(((axes[0][:k] @ axes[1][:k].T) ** 2).sum() / k))


def _axes(centred: Array) -> Array:
    """Return the first axes along which rows vary, at most ``AXES``, orthonormal, (k, variants)."""
    values, vectors = np.linalg.eigh(centred @ centred.T)
    top = np.flatnonzero(values > values.max(initial=0) * _NOTHING)[::-1][:AXES]
    return np.asarray(vectors[:, top].T @ centred / np.sqrt(values[top])[:, None])
