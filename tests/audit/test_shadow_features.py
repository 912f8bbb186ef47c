import numpy as np
import pytest

from fedgenome.audit import shadow_features
from fedgenome.audit.bounds import clopper_pearson
from fedgenome.audit.shadow_features import correlations, farthest, guessed, histogram, naive
from fedgenome.audit.targets import Records, independent, scaled
from fedgenome.errors import SpecError

MAKERS = 10  # people who make a table


@pytest.fixture
def scene(draw):
    """One who lies far out, and 100 others."""
    rng = np.random.default_rng(1)
    others, one = (scaled(draw(n, rng), 0.0, 8.0) for n in (100, 1))
    return Records(x=np.ones_like(one.x), label=one.label), others, rng


def _copying(makers, rng):
    return makers.rows(rng.choice(len(makers), 60))


def _of_nobody(_makers, rng):
    return Records(x=rng.random((60, 6)), label=np.zeros(60, int))


def test_features_are_moments_histograms_and_pearsons_correlations_gene_by_gene():
    x = np.random.default_rng(0).random((30, 4))
    x[:2, 0] = 0, 1
    assert naive(x) == pytest.approx([f(gene) for f in (np.mean, np.median, np.var) for gene in x.T])
    shares = [np.histogram(gene, 10, (0, 1))[0] / 30 for gene in x.T]
    assert histogram(x) == pytest.approx(np.concatenate(shares))
    assert correlations(x) == pytest.approx([np.corrcoef(x.T)[i, j] for i in range(4) for j in range(i + 1, 4)])
    assert not correlations(np.ones((5, 3))).any()


def test_one_far_out_is_told_from_tables_of_copies_by_all_features(scene):
    found = guessed(*scene[:2], _copying, scene[2], people=MAKERS)
    assert list(found) == ["naive", "histogram", "correlations"]
    assert all((each.members, each.controls) == (30, 30) for each in found.values())
    assert all(clopper_pearson.epsilon(each, 0.05 / len(found)) > 0.5 for each in found.values())


def test_many_people_hide_one_among_them(scene):
    _, others, rng = scene
    record, rest = others.of(np.arange(1)), others.of(np.arange(1, 100))
    found = guessed(record, rest, lambda makers, own: independent(makers, 60, own), rng, people=90)
    assert all(clopper_pearson.epsilon(each, 0.05 / len(found)) == 0 for each in found.values())


def _refuted(scene, repetitions):
    """Share of attacks on a generator that sees nobody that refute some ε at 5 %."""
    record, others, rng = scene
    found = [guessed(record, others, _of_nobody, rng, people=5, shadows=8, trials=12) for _ in range(repetitions)]
    return np.mean([clopper_pearson.epsilon(each["histogram"], 0.05) > 0 for each in found])


def test_a_generator_that_sees_nobody_is_refuted_no_oftener_than_nominal(scene, monkeypatch):
    """At most 5 % + 2 standard errors of 60; a twin that is judged by the tables it learned from must be above."""
    monkeypatch.setattr(shadow_features, "FEATURES", {"histogram": histogram})
    most = 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5
    assert _refuted(scene, 60) <= most
    honest = shadow_features._counts
    monkeypatch.setattr(shadow_features, "_counts", lambda x, n: honest(np.concatenate([x[: 2 * n]] * 2), n))
    assert _refuted(scene, 5) > most


def test_makers_are_so_many_others_and_every_other_time_the_record_too(scene):
    _, others, rng = scene
    pool = Records(x=others.x, label=others.label, donor=np.arange(100) // 2)
    record, rest, seen = pool.of(np.array([7])), pool.of(np.delete(np.arange(50), 7)), []

    def noting(makers, own):
        seen.append((len(makers.units), len(makers), (makers.x[:, None] == record.x).all(2).any(1).sum()))
        return _of_nobody(makers, own)

    guessed(record, rest, noting, rng, people=MAKERS, shadows=2, trials=1)
    assert seen == [(11, 22, 2), (10, 20, 0)] * 3


def test_genes_in_which_the_record_lies_farthest_out_are_looked_at(monkeypatch):
    monkeypatch.setattr(shadow_features, "GENES", 2)
    others = Records(x=np.array([[0.1, 0.4, 0.5, 0.5], [0.3, 0.6, 0.5, 0.6]]), label=np.zeros(2, int))
    record = Records(x=np.array([[0.3, 0.9, 0.9, 0.65]]), label=np.zeros(1, int))
    assert farthest(record, others).tolist() == [1, 3]  # the third gene never varies


def test_same_generator_state_gives_the_same_counts_and_too_few_others_are_refused(scene):
    record, others, _ = scene
    small = {"people": 5, "shadows": 3, "trials": 3}
    first, again = (guessed(record, others, _copying, np.random.default_rng(4), **small) for _ in range(2))
    assert first == again
    with pytest.raises(SpecError, match=r"1 <= people <= donors among the others, got people=101, donors=100"):
        guessed(record, others, _copying, np.random.default_rng(4), people=101)
