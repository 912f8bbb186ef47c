"""Figures of genotypes: more people of one law do well, and what is broken in a table shows in its own figure."""

import numpy as np
import pytest

from fedgenome.audit.targets import Records
from fedgenome.errors import SpecError
from fedgenome.methods import alleles
from fedgenome.utility import genotypes, relatives
from fedgenome.utility.run import Real, metrics, utility

VARIANTS = 200
P = np.random.default_rng(0).beta(2, 2, (3, VARIANTS)) * 0.6 + 0.2
BEFORE = np.arange(VARIANTS) - 1


def people(n, seed, tie=0.8):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    ties = np.where(BEFORE < 0, 0, tie)
    return Records(x=alleles.draw(P, BEFORE, ties, label, rng).astype(np.float64), label=label)


def figures(table, truth, quick):
    return {
        name: value.value for name, value in genotypes.measure(table, truth, np.random.default_rng(1), quick).items()
    }


def test_people_of_the_same_law_are_as_good_as_they_can_be(quick):
    found = figures(people(400, 1), people(400, 2), quick)
    assert found["frequency_r"] > 0.9 and found["frequency_rmse"] < 0.03 and found["pca_overlap"] > 0.25
    assert abs(found["ld_1"]) < 0.03 and abs(found["ld_4"]) < 0.03 and abs(found["ld_16"]) < 0.03
    # 100 rows a side: standard error .05, and neighbours are shared; 4 of them.
    assert abs(found["aats_real"] - 0.5) < 0.2 > abs(found["aats_table"] - 0.5)


def test_each_fault_shows_in_its_own_figure(quick):
    truth = people(400, 2)
    fine = figures(people(400, 1), truth, quick)
    unlinked = figures(people(400, 1, tie=0.0), truth, quick)
    assert unlinked["ld_1"] < -0.2 and abs(unlinked["frequency_r"] - fine["frequency_r"]) < 0.01
    flipped = people(400, 1)
    flipped.x[:, :40] = 2 - flipped.x[:, :40]
    assert figures(flipped, truth, quick)["frequency_rmse"] > 2 * fine["frequency_rmse"]
    mixed = people(400, 1)
    mixed.x[:] = np.random.default_rng(3).permuted(mixed.x, axis=0)  # no axis is left but chance
    assert figures(mixed, truth, quick)["pca_overlap"] < 0.2


def test_the_parts_of_adversarial_accuracy_tell_what_their_mean_hides():
    truth = people(150, 4).x
    alone = np.random.default_rng(5).permuted(people(150, 6).x, axis=0)  # variants drawn independently
    real, made = genotypes.adversarial(truth, alone)
    assert real > 0.9 and made < 0.35 and 0.4 < (real + made) / 2 < 0.7
    copies = genotypes.adversarial(truth, truth.copy())
    assert copies == (0.0, 0.0)


def naive_linkage(x, step):
    return [np.corrcoef(x[:, at], x[:, at + step])[0, 1] ** 2 for at in range(x.shape[1] - step)]


@pytest.mark.parametrize("step", [1, 7])
def test_linkage_is_the_squared_correlation_of_dosages(step):
    x = people(60, 7).x
    np.testing.assert_allclose(genotypes.linkage(x, step), naive_linkage(x, step), atol=1e-12)
    with pytest.raises(SpecError, match="1 <= step < variants"):
        genotypes.linkage(x[:, :step], step)


def naive_part(side, other):
    total = 0.0
    for at, row in enumerate(side):
        within = min(((row - one) ** 2).sum() for k, one in enumerate(side) if k != at)
        across = min(((row - one) ** 2).sum() for one in other)
        total += 1.0 if across > within else 0.5 if across == within else 0.0
    return total / len(side)


def test_adversarial_accuracy_is_that_of_going_over_all_pairs():
    real, made = people(20, 8).x[:, :6], people(20, 9).x[:, :6]  # six variants: ties are many
    assert genotypes.adversarial(real, made) == (naive_part(real, made), naive_part(made, real))


def unrelated(n, rng):
    return rng.binomial(2, 0.4, (n, 1500)).astype(float)


def gamete(x, rng):
    return x // 2 + (rng.random(x.shape) < (x == 1) / 2)


def test_copies_and_children_of_training_people_show_and_strangers_do_not(quick):
    rng = np.random.default_rng(10)
    train, unseen, fresh, others = (unrelated(60, rng) for _ in range(4))
    children = gamete(train, rng) + gamete(others, rng)
    told = {}
    for name, x in (("fresh", fresh), ("copies", train), ("children", children)):
        sides = [Records(x=one, label=np.zeros(60, int)) for one in (x, train, unseen)]
        told[name] = {key: one.value for key, one in relatives.measure(*sides, rng, quick).items()}
    assert abs(told["fresh"]["privacy_loss"]) < 0.25 and told["fresh"]["kin_trained"] == 0
    assert told["copies"]["privacy_loss"] > 0.4 and told["children"]["privacy_loss"] > 0.4
    for name in ("copies", "children"):
        assert (told[name]["tail_share"], told[name]["kin_trained"], told[name]["kin_unseen"]) == (1, 1, 0)


def test_a_table_of_dosages_is_judged_by_figures_of_genotypes_alone(quick):
    truth, train, table = people(60, 14), people(60, 15), people(60, 16)
    found = utility(table, Real(truth=truth, train=train), seed=1, settings=quick, dosages=True)
    names = [metric.name for metric in metrics(quick, dosages=True)]
    assert [result.metric.name for result in found.results] == names and "de_tpr" not in names
    assert found["kin_trained"].real.repeats == 2 and found["ld_1"].synthetic.repeats == 2
    alone = utility(table, Real(truth=truth), seed=1, settings=quick, dosages=True)
    assert "trained on" in alone["privacy_loss"].whole.note


def test_what_cannot_be_said_is_not_a_number_with_a_reason(quick):
    flat = Records(x=np.ones((8, 3)), label=np.zeros(8, int))
    found = genotypes.measure(flat, flat, np.random.default_rng(0), quick)
    for name in ("frequency_r", "pca_overlap", "ld_1", "ld_4"):
        assert np.isnan(found[name].value) and found[name].note
