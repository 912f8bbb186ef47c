"""Histograms give genes their shapes, and noise in them gives nothing."""

import numpy as np
import pytest
from scipy import stats

from experiments import central
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import margins, registry
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema

MEANS, DEVIATIONS, WEIGHTS = np.array([[-0.6, 0.0], [0.9, 0.2]]), np.array([0.7, 1.0]), np.array([0.6, 0.4])
MIXTURE = MEANS, DEVIATIONS, WEIGHTS


def mixture(n, seed=0):
    """Draw rows of the mixture, whose labels are not looked at."""
    rng = np.random.default_rng(seed)
    return MEANS[rng.choice(2, n, p=WEIGHTS)] + rng.standard_normal((n, 2)) * DEVIATIONS


def test_rows_under_the_mixture_s_own_shares_stay_where_they_are():
    z = np.vstack([mixture(500), [[-9.0, 9.0]]])
    np.testing.assert_allclose(margins.shaped(z, margins.expected(*MIXTURE), *MIXTURE), z, atol=1e-6)


def test_expected_shares_are_those_of_many_rows():
    counted = margins.indicators(mixture(200_000)).mean(0).reshape(2, -1)
    np.testing.assert_allclose(margins.expected(*MIXTURE), counted, atol=0.005)


def test_shaped_rows_have_the_shares_asked_for_in_the_order_they_had():
    wanted = np.tile(np.linspace(1, 4, margins.BINS), (2, 1)) / np.linspace(1, 4, margins.BINS).sum()
    z = mixture(100_000)
    moved = margins.shaped(z, wanted, *MIXTURE)
    np.testing.assert_allclose(margins.indicators(moved).mean(0).reshape(2, -1), wanted, atol=0.01)
    assert all((np.diff(moved[np.argsort(z[:, gene]), gene]) >= 0).all() for gene in range(2))


@pytest.mark.parametrize(("skewed", "moves"), [(0.0, False), (0.05, True)])
def test_histograms_of_nothing_but_noise_teach_nothing_and_a_common_shape_is_learned(skewed, moves):
    # A largest eigenvalue beyond the edge by chance is small: the seed's draw would have to be a one-in-hundreds one.
    rng, genes = np.random.default_rng(3), 200
    own = np.tile(margins.expected(*MIXTURE)[0], (genes, 1))
    shape = skewed * np.where(np.arange(margins.BINS) < margins.BINS // 2, 1, -1) * np.sign(rng.normal(size=(genes, 1)))
    learned = margins.learned(own + shape + rng.normal(0, 0.02, own.shape), own, 0.02)
    off = np.abs(learned - own).mean()
    assert (off > 0.03) if moves else (off < 0.004)
    assert np.allclose(learned.sum(1), 1) and (learned > 0).all()


def run_of(margin, x):
    """Return a table of a Gaussian without noise that learned the rows x (n, 8) of one label."""
    schema = Schema(genes=tuple("ABCDEFGH"), labels=("x",), low=-8.0, high=8.0)
    spec = MethodSpec(kind="gaussian", options={"margins": margin, "middle": 0.0, "spread": 1.0})
    method = registry.build(spec, schema, len(x), private=False)
    n, rng = len(x), np.random.default_rng(1)
    names, ones = tuple(map(str, range(n))), np.ones(n, bool)
    rows = Shard(x=x, label=np.zeros(n, np.int64), donor=np.arange(n), donors=names, mask=ones)
    arrays = central.trained(method, rows, Root.simulation(0, "margins"), rng, rng)
    return method.sample(arrays, np.zeros(4000, np.int64), rng)


def test_copula_has_a_skewed_gene_s_shape_and_keeps_what_genes_share():
    rng = np.random.default_rng(2)
    common = rng.standard_normal((3000, 1))
    x = np.log1p(np.exp(1.5 * common + 0.5 * rng.standard_normal((3000, 8)))).astype(np.float32)
    normal, copula = (run_of(margin, x) for margin in ("normal", "histograms"))
    assert copula.shape == (4000, 8)
    far, near = (stats.wasserstein_distance(rows[:, 0], x[:, 0]) for rows in (normal, copula))
    assert near < 0.5 * far
    shared, as_shared = (np.corrcoef(rows.T)[0, 1] for rows in (normal, copula))
    assert shared > 0.5 and abs(shared - as_shared) < 0.06


def test_zeros_and_histograms_together_are_refused():
    options = {"margins": "histograms", "zeros": True}
    schema = Schema(genes=("A", "B"), labels=("x",), high=8.0)
    method = registry.build(MethodSpec(kind="gaussian", options=options), schema, 10, private=True)
    with pytest.raises(SpecError, match="not both"):
        method.plan(1.0)
