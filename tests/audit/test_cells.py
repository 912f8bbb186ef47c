"""The attack on donors of single cells: its parts against naive ones, power, level, and whom it never looks at."""

import numpy as np
import pytest
from scipy import stats

from fedgenome.audit import cells
from fedgenome.audit.targets import Records
from fedgenome.errors import SpecError

GENES = 40


def donors(n, rng, between=0.3, each=30):
    """Return n donors whose genes' log means are their own by ``between``; half of the genes are rare."""
    owner = np.repeat(np.arange(n), each)
    own = between * rng.standard_normal((n, GENES))
    mean = np.where(np.arange(GENES) < GENES // 2, 2.0, 0.1) * np.exp(own[owner])
    x = rng.poisson(mean * rng.gamma(4, 0.25, (len(owner), 1)))
    return Records(x=x, label=rng.integers(0, 2, len(owner)), donor=owner)


@pytest.fixture
def counts():
    return donors(20, np.random.default_rng(1)).x


def test_margins_have_the_sample_mean_and_variance(counts):
    law = cells.fit(counts)
    spread = law.mean + law.mean**2 / law.size
    wide = counts.var(0, ddof=1) > 1.01 * counts.mean(0)
    assert wide.sum() > GENES // 2
    assert np.allclose(law.mean, counts.mean(0)) and np.allclose(spread[wide], counts.var(0, ddof=1)[wide])


def test_genes_of_the_copula_are_those_seen_in_a_fifth_of_the_cells(counts):
    assert cells.fit(counts).tied.tolist() == np.flatnonzero((counts > 0).mean(0) >= 0.2).tolist()


def test_distance_and_likelihood_are_those_of_one_cell_at_a_time(counts):
    law, few = cells.fit(counts), counts[:5]
    loose = [gene for gene in range(GENES) if gene not in law.tied]

    def of(gene):
        return stats.nbinom(law.size[gene], law.size[gene] / (law.size[gene] + law.mean[gene]))

    for cell, distance, likely in zip(few, law.distance(few), law.log_likelihood(few), strict=True):
        z = np.array([stats.norm.ppf(of(g).cdf(cell[g]) - of(g).pmf(cell[g]) / 2) for g in law.tied])
        assert distance**2 == pytest.approx(z @ np.linalg.inv(law.correlation) @ z)
        assert likely == pytest.approx(sum(of(g).logpmf(cell[g]) for g in loose))


def test_a_cells_score_depends_on_no_other_cell_under_attack():
    rng = np.random.default_rng(2)
    people, table, base = (donors(n, rng) for n in (6, 8, 8))
    some = people.rows(np.arange(40, 90))
    for name, whole in cells.scores(people, table, base).items():
        assert np.allclose(cells.scores(some, table, base)[name], whole[40:90])


def p_values(leaks, seed):
    """Return the p of each attack on a table of the members' own cells, or of other donors'."""
    rng = np.random.default_rng(seed)
    members, controls, base, others = (donors(12, rng) for _ in range(4))
    table = members if leaks else others
    return {each.name: each.p_value for each in cells.audit(members, controls, table, base)}


def test_both_attacks_find_donors_whose_cells_made_the_table():
    found = p_values(True, 3)
    assert found[cells.WITH] < 1e-3 and found[cells.ALONE] < 1e-2


def test_p_is_small_no_oftener_than_it_says():
    """40 tables of other donors, nominal 10 %: at most 10 % + 3 standard errors."""
    found = [p_values(False, seed) for seed in range(40)]
    for name in (cells.WITH, cells.ALONE):
        assert np.mean([each[name] <= 0.1 for each in found]) <= 0.1 + 3 * (0.1 * 0.9 / 40) ** 0.5


@pytest.mark.parametrize("wrong", [0.5, -1.0])
def test_what_is_no_count_is_refused(wrong):
    rng = np.random.default_rng(4)
    people, table = donors(3, rng), donors(3, rng)
    bad = Records(x=people.x + wrong, label=people.label, donor=people.owner)
    with pytest.raises(SpecError, match="counts in people: whole numbers, at least 0"):
        cells.alone(bad, table)
