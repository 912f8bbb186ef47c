"""Rivals, the in-process loop and the cache of cells, on tiny data."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.synthesis import chosen, gan, judge, loop, rivals
from experiments.synthesis.cells import Cache, Cell
from fedgenome.audit.targets import Records
from fedgenome.cohort.shard import Shard
from fedgenome.methods import registry
from fedgenome.study import Schema

GENES = 5
FACTS = loop.Facts(
    schema=Schema(genes=tuple("ABCDE"), labels=("x", "y"), high=20.0), donors_bound=200, delta=1e-4, rows=300
)


def people(n=200, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    shared = rng.standard_normal((n, 1))
    x = 8 + 2 * label[:, None] + shared + 0.5 * rng.standard_normal((n, GENES))
    return Records(x=x.astype(np.float32), label=label)


def shard(rows):
    n = len(rows)
    donors = tuple(f"d{i}" for i in range(n))
    return Shard(x=rows.x, label=rows.label, donor=np.arange(n), donors=donors, mask=np.ones(n, bool))


@pytest.mark.parametrize("name", ["class MVN", "Gaussian copula", "CVAE"])
def test_a_rival_keeps_label_shares_means_and_what_genes_share(name):
    rows = people()
    made = rivals.RIVALS[name](rows, FACTS, np.random.default_rng(1))
    assert abs(made.label.mean() - 0.5) < 0.15 and made.x.shape == (300, GENES)
    for one in (0, 1):
        assert np.abs(made.x[made.label == one].mean(0) - rows.x[rows.label == one].mean(0)).max() < 0.5
    assert np.corrcoef(made.x[made.label == 0].T)[0, 1] > 0.25  # .8 in the rows; a CVAE keeps least


def test_a_copulas_values_stay_within_those_of_the_class():
    rows = people()
    made = rivals.copula(rows, FACTS, np.random.default_rng(1))
    assert made.x[made.label == 0].max() <= rows.x[rows.label == 0].max() + 1e-5


SMALL = replace(gan.PRIVATE, steps=2, critic=2, hidden=8, latent=3)


def test_a_critics_gradients_are_clipped_row_by_row_and_no_row_moves_another():
    rng = np.random.default_rng(3)
    critic = gan._net(GENES + 2, 8, 1, rng)
    weights = {name: p.detach() for name, p in critic.named_parameters()}
    shapes = ((6, GENES), (6, 2), (6, GENES), (6, 1))
    rows = tuple(torch.from_numpy(rng.standard_normal(shape).astype(np.float32)) for shape in shapes)
    settings = replace(SMALL, clip=0.3)
    whole = gan.clipped_sum(critic, weights, rows, settings)
    less = gan.clipped_sum(critic, weights, tuple(t[1:] for t in rows), settings)
    moved = torch.stack([(whole[name] - less[name]).norm() for name in whole]).norm()
    assert 0.299 < float(moved) <= 0.3001  # this row's gradient is longer than the bound


@pytest.mark.parametrize("epsilon", [None, 5.0])
def test_a_gan_draws_finite_rows_within_the_range_with_and_without_noise(epsilon):
    made = gan.wgan(people(), FACTS, epsilon, np.random.default_rng(2), SMALL)
    assert made.x.shape == (300, GENES) and np.isfinite(made.x).all()
    assert made.x.min() >= 0 and made.x.max() <= 20


def test_the_loops_noise_is_the_accountants_and_wider_with_colluders():
    kind = loop.Kind(kind="marginals")
    made = loop.method(kind, FACTS, 1.0)
    question = made.ask(made.start(np.random.default_rng(0)))
    exact = loop.trained(registry.build(kind.spec, FACTS.schema, 200, False), shard(people()), 0)
    one, two = (loop.trained(made, shard(people()), 0, t) for t in (0, 1))
    assert question.mechanism.level == pytest.approx(made.noise)
    off = [np.abs(run["label_weights"] - exact["label_weights"]).sum() for run in (one, two)]
    assert 0 < off[0] != off[1] > 0
    assert len(loop.table(made, one, 70, 0)) == 70


def test_cells_are_run_once_and_a_torn_line_is_run_again(tmp_path):
    cell, other = (Cell(cohort="c", arm=arm, made="1", epsilon=None, split="0") for arm in "ab")
    assert Cache.load(tmp_path).get(cell, lambda: {"accuracy": 0.5}) == {"accuracy": 0.5}
    (path,) = tmp_path.iterdir()
    torn = json.dumps({"cell": other.key, "figures": {"accuracy": 0.1}})[:-3]
    path.write_text(path.read_text() + torn)
    again = Cache.load(tmp_path)
    assert again.get(cell, dict) == {"accuracy": 0.5} and again.get(other, dict) == {}


def test_the_table_of_chosen_methods_names_methods_and_takes_the_nearest_price():
    assert chosen.at(10.0) == chosen.CHOSEN[10.0] and chosen.at(30.0) == chosen.CHOSEN[10.0]
    assert chosen.at(0.01) == chosen.CHOSEN[0.25]


def test_a_half_of_the_rows_is_judged_near_the_other_half():
    rows = people(400)
    found = judge.judged(rows.rows(np.arange(200)), rows.rows(np.arange(200, 400)), rows.rows(np.arange(200, 400)))
    assert found["accuracy"] > 0.75 and found["Wasserstein"] < 0.3 and found["co-expression recall"] == 1
