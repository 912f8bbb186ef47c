"""Genotypes: people that are drawn keep frequencies and what neighbours share, as far as noise allows."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from fedgenome.cohort.shard import Shard
from fedgenome.methods import alleles, registry
from fedgenome.methods.base import Generator
from fedgenome.study import MethodSpec, Schema
from tests.conformance import cases

NAMES = tuple(f"{1 + at // 6}:{at}:A:C" for at in range(12))  # two contigs of six
SCHEMA = Schema(genes=NAMES, labels=("x", "y"), high=2.0, dosages=True)
P = np.random.default_rng(0).uniform(0.2, 0.6, (2, 12))
BEFORE = np.array([-1, 0, 1, 1, 3, 4, -1, 6, 7, 8, 9, 10])
TIES = np.where(BEFORE < 0, 0, 0.6)


def build(noise=None, schema=SCHEMA, **options):
    spec = MethodSpec(kind="genotypes", options=options)
    method = registry.build(spec, schema, 2000, noise is not None)
    return method if noise is None else method.at(noise)


def people(n, seed, ties=TIES):
    label = np.arange(n) % 2
    return alleles.draw(P, BEFORE, ties, label, np.random.default_rng(seed)), label


def released(method, x, label, seed=0):
    donor, rng = np.arange(len(x)), np.random.default_rng(seed)
    shard = Shard(x=x, label=label, donor=donor, donors=tuple(map(str, donor)), mask=donor >= 0)
    state = method.start(rng)
    while (question := method.ask(state)) is not None:
        noise = question.mechanism.level * np.sqrt(1.5) if question.mechanism else 0.0
        total = method.answer(question, shard, cases.draws(0)).value
        state = method.learn(state, question, total + rng.normal(0, noise, total.shape))
    return method.release(state)


def correlations(x, label):
    """Return correlations of dosages within labels, (variants, variants)."""
    return np.corrcoef(np.concatenate([x[label == k] - x[label == k].mean(0) for k in (0, 1)]).T)


def test_drawn_people_have_the_frequencies_the_proportions_and_the_ties_asked_for():
    x, label = people(20_000, seed=1)
    assert set(np.unique(x)) == {0, 1, 2}
    # Of 10,000 people a frequency has a standard error below .0036, a correlation below .0071: 5 of them.
    for k in (0, 1):
        assert np.abs(x[label == k].mean(0) / 2 - P[k]).max() < 0.018 < np.abs(P[0] - P[1]).max()
        assert np.abs((x[label == k] == 1).mean(0) - 2 * P[k] * (1 - P[k])).max() < 0.025
    found, tied = correlations(x, label), np.flatnonzero(BEFORE >= 0)
    # Frequencies that are far apart allow less than was asked for.
    assert np.median(found[tied, BEFORE[tied]]) == pytest.approx(0.6, abs=0.03)
    assert np.abs(found[:6, 6:]).max() < 0.036
    assert found[0, 2] == pytest.approx(found[0, 1] * found[1, 2], abs=0.04)


def test_a_release_without_noise_gives_people_like_those_it_learned_from():
    x, label = people(2000, seed=2)
    method = build(block=3, clip=4.0)
    arrays = released(method, x, label)
    made = method.sample(arrays, label, np.random.default_rng(3))
    assert np.abs(arrays["frequencies"] - [x[label == k].mean(0) / 2 for k in (0, 1)]).max() < 1e-6
    tied = np.flatnonzero(BEFORE >= 0)
    apart = correlations(made, label) - correlations(x, label)
    assert np.abs(apart[tied, BEFORE[tied]]).max() < 0.13  # 5 standard errors of a difference of two
    alone = build(block=0)
    other = alone.sample(released(alone, x, label), label, np.random.default_rng(3))
    assert np.median(np.abs(correlations(other, label) - correlations(x, label))[tied, BEFORE[tied]]) > 0.4


def test_noise_that_outweighs_labels_leaves_what_they_have_in_common():
    x, label = people(2000, seed=4)
    told = {noise: released(build(noise), x, label)["frequencies"] for noise in (0.01, 40.0)}
    between = {noise: np.abs(p[0] - p[1]).mean() for noise, p in told.items()}
    real = np.abs(x[label == 0].mean(0) - x[label == 1].mean(0)).mean() / 2
    assert between[0.01] == pytest.approx(real, rel=0.05) and between[40.0] < real / 2


def test_noise_in_a_frequency_is_what_the_budget_shares_pay_for():
    x, label = people(500, seed=5)
    method, truth = build(0.5, block=0), x.mean(0) / 2
    found = np.array([released(method, x, label, seed)["frequencies"].mean(0) for seed in range(60)]) - truth
    sums, counts = (method.bundles[0].deviation(name, 0.5) * np.sqrt(2) / 500 for name in ("dosages", "labels"))
    # 720 errors: their standard deviation has a relative standard error of .026 (.05 if they went together); two-sided.
    expected = np.sqrt(1.5 * (sums**2 + counts**2 * ((1 - 2 * truth) ** 2).mean())) / 2
    assert found.std() == pytest.approx(expected, rel=0.13)
    assert found.std() != pytest.approx(expected * np.sqrt(1.5), rel=0.13)


def test_blocks_share_a_variant_and_end_with_their_contig():
    assert build(block=2).blocks == ((0, 3), (2, 5), (4, 6), (6, 9), (8, 11), (10, 12))
    assert build(block=0).blocks == () and len(build(block=0).bundles) == 1
    bare = SCHEMA.model_copy(update={"genes": ("a", "b", "c")})
    assert build(block=9, schema=bare).blocks == ((0, 3),)


def by_hand(p, q, tie):
    """Return P(dosage, dosage) by going over all pairs of haplotypes."""
    joint = float(alleles.both(p, q, tie))
    one = {(1, 1): joint, (1, 0): p - joint, (0, 1): q - joint, (0, 0): 1 - p - q + joint}
    table = np.zeros((3, 3))
    for (a, b), (c, d) in itertools.product(one, one):
        table[a + c, b + d] += one[a, b] * one[c, d]
    return table


def test_a_rows_loss_is_that_of_its_variants_given_the_one_before():
    method = build()
    x, label = people(6, seed=6)
    arrays = {"frequencies": P, "before": BEFORE, "ties": TIES, "label_weights": np.full(2, 0.5)}
    right = np.zeros(6)
    for row, (g, k) in enumerate(zip(x.astype(int), label, strict=True)):
        for at, parent in enumerate(BEFORE):
            table = by_hand(P[k, max(parent, 0)], P[k, at], TIES[at])
            given = table[g[parent]] / table[g[parent]].sum() if parent >= 0 else table.sum(0)
            right[row] -= np.log(given[g[at]])
    np.testing.assert_allclose(method.losses(arrays, x, label), right, rtol=1e-6)


def test_ties_that_frequencies_do_not_allow_are_cut():
    assert alleles.both(np.array(0.1), np.array(0.5), np.array(1.0)) == pytest.approx(0.1)
    assert alleles.both(np.array(0.8), np.array(0.7), np.array(-1.0)) == pytest.approx(0.5)


def test_a_crafted_payload_is_refused_or_harmless():
    method, (x, label) = build(1.0), people(8, seed=7)
    shard = Shard(x=x, label=label, donor=np.arange(8), donors=tuple("abcdefgh"), mask=np.ones(8, bool))
    question = method.ask(method.start(np.random.default_rng(0)) | {"step": np.array(1)})
    for value in (np.nan, np.inf, 1e300):
        crafted = replace(question, payload={"frequencies": np.full((2, 12), value)})
        assert np.isfinite(method.answer(crafted, shard, cases.draws(0)).value).all()
    with pytest.raises(ValueError, match="frequencies of 2 labels and 12 variants"):
        method.answer(replace(question, payload={"frequencies": np.zeros((2, 3))}), shard, cases.draws(0))


OF_DOSAGES = ("marginals", "gaussian", "factors", "inverted", "tree", "cvae", "genotypes")


@pytest.mark.parametrize("kind", OF_DOSAGES)
def test_every_generator_draws_whole_dosages(kind):
    spec = MethodSpec(kind=kind, options=cases.OPTIONS.get(kind, {}))
    method = registry.build(spec, cases.DOSAGES, 20, False)
    assert isinstance(method, Generator)
    shard = cases.SHARDS["one row a donor"]
    shard = replace(shard, x=np.random.default_rng(8).integers(0, 3, shard.x.shape).astype(np.float32))
    *_, (_, state, _) = cases.walk(method, shard)
    rows = method.sample(method.release(state), np.zeros(300, np.int64), np.random.default_rng(9))
    assert rows.dtype == np.float32 and len(np.unique(rows)) > 1 and set(np.unique(rows)) <= {0, 1, 2}


def test_tables_of_dosages_are_counted_dosage_by_dosage():
    method = registry.build(MethodSpec(kind="marginals"), SCHEMA, 2000, False)
    x, label = people(2000, seed=10)
    arrays = released(method, x, label)
    counted = [[(x[label == k][:, at] == g).mean() for g in range(3)] for k in (0, 1) for at in range(12)]
    np.testing.assert_allclose(arrays["tables"].reshape(24, 3), counted, atol=1e-6)
