import numpy as np
import pytest
from scipy import stats

from fedgenome.audit import densities
from fedgenome.audit.densities import density_ratio, monte_carlo
from fedgenome.audit.targets import Records, Target


@pytest.fixture
def scene(draw):
    rng = np.random.default_rng(3)
    people, base, table = draw(40, rng), draw(15, rng), draw(60, rng)
    return people, Target(table=table, samples=table), base


def _distances(rows, others):
    return np.linalg.norm(rows.x[:, None].astype(float) - others.x, axis=2)


def test_monte_carlo_is_the_share_of_samples_within_the_bases_median_distance(scene, monkeypatch):
    people, target, base = scene
    radius = np.median(_distances(base, target.samples).min(1))
    expected = (_distances(people, target.samples) <= radius).mean(1)
    assert 0 < expected.mean() < 1
    assert monte_carlo(people, target, base) == pytest.approx(expected)
    monkeypatch.setattr(densities, "_CELLS", 180)  # three rows at a time
    assert monte_carlo(people, target, base) == pytest.approx(expected)


def test_a_base_that_is_in_the_samples_leaves_a_ball_for_verbatim_copies(scene):
    people, _, base = scene
    assert monte_carlo(base, Target(table=base, samples=base), base) == pytest.approx(1 / len(base))
    assert not monte_carlo(people, Target(table=base, samples=base), base).any()


def test_density_ratio_of_one_gene_is_that_of_two_kernel_estimates():
    rng = np.random.default_rng(0)
    rows, base, table = (Records(x=rng.random((n, 1)), label=np.zeros(n, int)) for n in (9, 20, 50))
    both = np.concatenate([base.x, table.x])
    unit = [(each.x[:, 0] - both.mean()) / both.std(ddof=1) for each in (rows, base, table)]

    def log_density(points):
        kernels = stats.norm.pdf(unit[0][:, None], points, len(points) ** -0.2)
        return np.log(kernels.mean(1))

    seen = density_ratio(rows, Target(table=table, samples=table), base)
    assert seen == pytest.approx(log_density(unit[2]) - log_density(unit[1]))


def test_a_score_depends_on_nobody_else_in_question(scene):
    people, target, base = scene
    for score in (monte_carlo, density_ratio):
        alone = np.concatenate([score(people.rows(np.array([i])), target, base) for i in range(len(people))])
        assert alone == pytest.approx(score(people, target, base))


def test_genes_that_never_vary_add_nothing_and_alone_say_nothing(scene):
    people, target, base = scene

    def widened(rows):
        return Records(x=np.concatenate([rows.x, np.ones((len(rows), 30))], axis=1), label=rows.label)

    wide = Target(table=widened(target.table), samples=target.samples)
    seen = density_ratio(widened(people), wide, widened(base))
    assert seen == pytest.approx(density_ratio(people, target, base), abs=1e-4)
    flat = Records(x=np.ones((5, 3)), label=np.zeros(5, int))
    assert not density_ratio(flat, Target(table=flat, samples=flat), flat).any()
