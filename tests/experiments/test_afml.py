"""The frontier of masked genotypes: who is on which side, lists, what seeds add up to, and how arms are compared."""

import numpy as np
import pytest

from experiments.afml import attacks, frontier, lists, utility, worlds
from experiments.afml.panels import FOLDS, panels, sides
from fedgenome.audit.linkage import kinship


@pytest.fixture(scope="module")
def made():
    return worlds.world("made", 0)


def test_over_all_seeds_everybody_is_judged_once_and_never_by_what_was_fitted_to_them():
    found = panels("made")
    every = [sides(found, seed) for seed in range(FOLDS)]
    assert sorted(np.concatenate([each.judged for each in every])) == list(range(len(found.array)))
    for each in every:
        people = [set(each.judged), set(each.fitted), set(each.chosen)]
        assert sum(map(len, people)) == len(set.union(*people))
        assert not set(each.base) & set(each.candidates) and set(found.whose[each.fitted]) <= set(each.base)


def test_an_owner_is_the_candidate_who_looks_like_the_probe(made):
    linked = made.sides.owner >= 0
    probes = made.panels.array[made.sides.judged[linked]]
    own = made.panels.sequence[made.sides.candidates[made.sides.owner[linked]]]
    assert (kinship.kinship(probes, own).diagonal() > kinship.SAME).all()


@pytest.mark.parametrize("name", lists.ORDERS)
def test_an_order_names_every_variant_once_and_sees_only_its_people(made, name):
    order = lists.ORDERS[name](made.people, np.random.default_rng(3))
    assert sorted(order) == list(range(made.panels.array.shape[1]))
    label = np.where(np.isin(np.arange(len(made.label)), made.sides.chosen), made.label, 1 - made.label)
    other = worlds.World(data="made", seed=0, panels=made.panels, sides=made.sides, label=label, causal=made.causal)
    np.testing.assert_array_equal(order, lists.ORDERS[name](other.people, np.random.default_rng(3)))


def test_lists_find_what_they_look_for(made):
    """Causal variants are associated; ancestry is told better by informative variants than by rare ones."""
    rng = np.random.default_rng(0)
    first = {name: order(made.people, rng)[:20] for name, order in lists.ORDERS.items()}
    hit = {name: len(set(first[name]) & set(made.causal)) for name in ("association", "random")}
    assert hit["association"] >= 3 > hit["random"]
    told = {name: worlds.useful(made, made.panels.array[:, first[name]]) for name in first}
    assert told["information on ancestry"]["ancestry"] > told["low MAF"]["ancestry"] + 0.2


def test_an_analyst_of_labels_by_chance_is_at_chance_and_of_the_cause_is_not():
    """Two-sided: AUC of 200 by chance is within .5 ± .12 but once in a thousand."""
    rng = np.random.default_rng(5)
    rows, chance = rng.standard_normal((400, 30)), rng.integers(0, 2, 400)
    caused = (rows[:, 0] > 0).astype(np.int64)
    auc = [utility.phenotype((rows[:200], label[:200]), (rows[200:], label[200:])) for label in (chance, caused)]
    assert abs(auc[0] - 0.5) < 0.12 and auc[1] > 0.95


def cell(hits, auc):
    points = {"5": {"hits": hits, "AUC": auc, "ancestry": 0.5, "bits": 1.0}}
    return {"linked": 40, "candidates": 100, "points": points}


def test_seeds_pool_trials_and_the_worst_attacker_is_over_them_all():
    """A network that looked at one seed of two counts by its own trials."""
    (point,) = frontier.pool("x", [cell({"matcher": 4, "LSTM": 8}, 0.7), cell({"matcher": 6}, 0.8)])
    assert point.found is not None and (point.found.vector, point.found.estimate) == ("LSTM", 0.2)
    assert {each.vector: each.estimate for each in point.found.effects}["matcher"] == 10 / 80
    assert point.found.high > 0.2 and point.judged == 80


def test_arms_are_compared_where_as_many_are_found_not_where_as_much_is_told():
    low, high = (frontier.pool("x", [cell({"m": hits}, auc)] * 5)[0] for hits, auc in ((1, 0.7), (30, 0.9)))
    assert frontier.best([low, high], 0.1) is low and frontier.best([low, high], 1.0) is high
    assert frontier.best([high], 0.1) is None and frontier.worth(low, high) == pytest.approx(0.5)


def test_with_nobody_found_of_361_at_most_eight_in_a_thousand_are():
    assert attacks.pooled({"matcher": (0, 361)}, 543).high == pytest.approx(0.0083, abs=1e-4)
