"""What a gene that a site lacks does to what is learned, and what a site's own mean would do to the guarantee."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgenome.cohort.shard import Shard
from fedgenome.cohort.values import scores
from fedgenome.methods import registry
from fedgenome.privacy.clipping import sum_rows
from fedgenome.privacy.coins import DonorNormals
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema

FILL = 3.0
SCHEMA = Schema(genes=("A", "B", "C"), labels=("x", "y"), high=6.0, unit="donor", fill=FILL)


def shard(n, seed=0, lacks=None):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 6, (n, 3)).astype(np.float32)
    if lacks is not None:
        x[:, lacks] = FILL
    donors = tuple(f"{seed}-{i}" for i in range(n))
    return Shard(x=x, label=rng.integers(0, 2, n), donor=np.arange(n), donors=donors, mask=np.ones(n, bool))


def centre_sum(s):
    """Return the sum that a site answers to the question for the centre: one number a gene, then a count."""
    spec = MethodSpec(kind="linear", options={"middle": FILL, "radius": 20.0})
    method = registry.build(spec, SCHEMA, 100, False)
    question = method.ask(method.start(np.random.default_rng(0)))
    return method.answer(question, s, DonorNormals(Root.simulation(0, "centre"), (0,))).value


def test_donors_of_a_site_that_lacks_a_gene_add_nothing_to_its_centre():
    told = centre_sum(shard(20, lacks=1))
    assert told[1] == 0 and np.abs(told[[0, 2]]).min() > 0


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(1, 30))
def test_a_filled_gene_pulls_the_mean_by_the_share_of_its_donors(have, lack):
    """Learned: fill + (1 − f)·(mean − fill), f the share of donors that were filled: the bias that the page states."""
    with_gene = shard(have, seed=1)
    total = centre_sum(with_gene) + centre_sum(shard(lack, seed=2, lacks=1))
    learned = FILL + total[1] / (have + lack)
    f = lack / (have + lack)
    assert learned == pytest.approx(FILL + (1 - f) * (with_gene.x[:, 1].mean() - FILL), abs=1e-4)


def _moves(s, bound, prepare):
    """Return how far removing a donor moves the clipped sum of what ``prepare`` makes of the rows, over the bound."""

    def answer(one):
        return sum_rows(prepare(one.x[one.mask]), one.donor[one.mask], np.ones(one.mask.sum(), bool), bound).value

    return max(np.linalg.norm(answer(s) - answer(s.without(d))) for d in range(s.n_donors)) / bound


def test_rows_less_their_sites_own_mean_break_the_bound_of_one_donor():
    """One donor far out shifts the mean, and with it everybody's row; public constants and a row's own ranks do not."""
    rng = np.random.default_rng(4)
    x = np.append(rng.normal(FILL, 0.01, (11, 3)), [[6.0, 6.0, 5.0]], axis=0).astype(np.float32)
    s = replace(shard(12), x=x)
    assert _moves(s, 0.5, lambda rows: rows - FILL) <= 1
    assert _moves(s, 0.5, lambda rows: scores(rows, -4.0, 4.0)) <= 1
    assert _moves(s, 0.5, lambda rows: rows - rows.mean(axis=0)) > 5
