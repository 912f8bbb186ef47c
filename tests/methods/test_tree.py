"""A forest holds the pairs that agree most, closes no circle, and rows drawn down it are related as its pairs are."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import central
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import forest, registry
from fedgenome.privacy.coins import DonorNormals
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema
from tests.conformance.cases import absent, farthest, query_of

ROOT = Root.simulation(0, "tree")
CHAIN = [[0, 1], [1, 2], [2, 3]]  # of which each gene follows the one before, with these correlations
TIES = (0.9, -0.8, 0.7)


def cohort(donors=4000):
    """Return donors of a chain of four genes and a fifth that is nobody's, one of two labels."""
    rng = np.random.default_rng(1)
    e = rng.standard_normal((donors, 5))
    for gene, tie in enumerate(TIES, start=1):
        e[:, gene] = tie * e[:, gene - 1] + np.sqrt(1 - tie**2) * e[:, gene]
    label, names = rng.integers(0, 2, donors), tuple(map(str, range(donors)))
    x = (4 + 0.8 * e + label[:, None]).clip(0, 9).astype(np.float32)
    return Shard(x=x, label=label, donor=np.arange(donors), donors=names, mask=np.ones(donors, bool))


def method(donors=4000, genes=5, noise=None, **options):
    schema = Schema(genes=tuple(map(str, range(genes))), labels=("x", "y"), high=9.0)
    made = registry.build(MethodSpec(kind="tree", options=options), schema, donors, private=noise is not None)
    return made if noise is None else made.at(noise)


@pytest.fixture(scope="module")
def learned():
    """A release without noise, and its method."""
    made = method(pairs=3, rounds=3, mirrored=False)
    rng = np.random.default_rng(0)
    return made, central.trained(made, cohort(), ROOT, rng, rng)


def test_without_noise_the_forest_is_the_chain_that_the_genes_were_drawn_down(learned):
    _, arrays = learned
    assert sorted(arrays["pairs"].tolist()) == CHAIN
    found = dict(zip(map(tuple, arrays["pairs"].tolist()), arrays["ties"], strict=True))
    # 4,000 donors: sd of a correlation .016 at most; a mean is not quite a median.
    np.testing.assert_allclose([found[tuple(pair)] for pair in CHAIN], TIES, atol=0.06)


def test_rows_are_related_along_the_chain_and_what_is_apart_is_not(learned):
    made, arrays = learned
    rows = made.sample(arrays, np.zeros(20_000, np.int64), np.random.default_rng(0))
    got = np.corrcoef(rows.T)
    np.testing.assert_allclose([got[0, 1], got[1, 2], got[2, 3], got[0, 3]], [*TIES, np.prod(TIES)], atol=0.08)
    assert np.abs(got[4, :4]).max() < 0.03  # 4 sd of 20,000 rows


def test_noise_finds_the_chain_too_and_costs_what_the_plan_says():
    made = method(noise=1.0, pairs=3, choice=6.0)
    rng = np.random.default_rng(0)
    arrays = central.trained(made, cohort(), ROOT, rng, rng)
    assert sorted(arrays["pairs"].tolist()) == CHAIN  # ε = 2 a pair moves counts of thousands by a few
    selections = [m for m in made.plan(1.0) if m.kind == "exponential"]
    assert sum(m.level * m.winners * m.count for m in selections) == pytest.approx(6.0)


def test_winners_that_close_a_circle_or_find_no_room_are_left_out():
    empty = np.full((3, 2), -1)
    at = {pair: index for index, pair in enumerate(zip(*np.triu_indices(5, 1), strict=True))}
    winners = np.array([at[0, 1], at[1, 2], at[0, 2] + len(at), at[3, 4], at[2, 3]])
    assert forest.joined(empty, winners, 5).tolist() == [[0, 1], [1, 2], [3, 4]]
    assert (empty == -1).all()


def test_forest_s_rows_have_variance_one_and_correlations_along_paths():
    made = forest.down(np.array([[1, 3], [0, 1], [-1, -1]]), np.array([0.5, -0.6, 0.0]), 4)
    expected = np.eye(4)
    expected[0, 1], expected[1, 3], expected[0, 3] = -0.6, 0.5, -0.3
    np.testing.assert_allclose(made @ made.T, expected + expected.T - np.eye(4), atol=1e-12)


def test_crafted_models_and_pairs_move_scores_and_sums_by_no_more_than_is_charged():
    made, shard = method(noise=2.0, pairs=3), cohort(12)
    state = made.start(np.random.default_rng(0)) | {"step": np.array(3)}
    for step in (3, 6):
        question = made.ask(state | {"step": np.array(step)})
        for crafted in (
            {"centre": np.full(5, np.nan)},
            {"scale": np.zeros(5)},
            {"pairs": np.array([[0, 0], [4, -1], [0, 1]])},
        ):
            asked = query_of(replace(question, payload={**question.payload, **crafted}), shard, step)
            assert farthest(made, asked, shard, absent) <= 1


@pytest.mark.parametrize("pairs", [np.full((2, 2), -1), np.full((3, 2), 5), np.full((3, 2), -1.0)])
def test_pairs_of_no_such_genes_are_refused(pairs):
    made, shard = method(noise=2.0, pairs=3), cohort(3)
    question = made.ask(made.start(np.random.default_rng(0)) | {"step": np.array(3)})
    asked = replace(question, payload={**question.payload, "pairs": pairs})
    with pytest.raises(SpecError, match="of 3 pairs"):
        made.answer(asked, shard, DonorNormals(ROOT, ("m", 3, 0)))


def test_panel_of_more_genes_than_are_compared_is_refused():
    with pytest.raises(SpecError, match="a panel of 2 to 200 genes, got genes=201"):
        method(genes=201)
