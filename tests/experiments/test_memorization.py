"""Cells of the grid of memorization: what is planted, kept, pooled and told."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments import cells, tables
from experiments.memorization import cell, grid, private, regimes, rows, worlds
from experiments.memorization.cell import Cell
from experiments.memorization.pooled import of_rate, pool
from experiments.memorization.worlds import Scale
from fedgenome.streams import Root

TINY = Scale(rows=24, rates=(1, 4), each=3, coins=4, controls=16, asked=8, epochs=(1, 2))
ONE = Cell(data="random", architecture="lstm", capacity="small", scale=TINY)


def world(**changes):
    return worlds.world("random", replace(TINY, **changes), 3)


@pytest.fixture(scope="module")
def looked():
    return {0: cell.run(ONE), 1: cell.run(replace(ONE, seed=1))}


def test_no_two_canaries_begin_alike_and_those_not_planted_are_in_no_training_row():
    made = worlds.world("random", Scale(rows=50), 0)
    heads = {row.tobytes() for row in made.planting.rows[:, : worlds.HEAD]}
    trained = {row.tobytes() for row in regimes.data(made)[0]}
    controls = made.planting.rows[made.canaries.repeats == 0]
    assert len(heads) == len(made.canaries) == made.canaries.tokens.shape[0]
    assert len(controls) >= 128 and not any(row.tobytes() in trained for row in controls)


def test_a_seed_has_the_same_canaries_in_whatever_is_trained_on_them():
    windows = worlds.planted("random", TINY, 3)[1]
    np.testing.assert_array_equal(world().planting.rows, windows)
    np.testing.assert_array_equal(world(rows=48).planting.rows, windows)
    assert not np.array_equal(worlds.planted("random", TINY, 4)[1], windows)


def test_one_rate_alone_is_as_many_rows_as_all():
    every, alone = world(), worlds.only(world(), (4,))
    assert set(np.unique(alone.canaries.repeats)) == {0, 4}
    assert regimes.data(every)[1].sum() == regimes.data(alone)[1].sum()


def test_members_others_and_public_people_of_mitochondrial_dna_are_different_people():
    try:
        made = worlds.world("mtDNA", Scale(rows=400), 0)
    except worlds.SpecError as fault:
        pytest.skip(str(fault))
    whole = [people.rows.reshape(20, -1) for people in (made.members, made.others)]
    assert len(np.unique(np.concatenate(whole), axis=0)) == 40
    assert made.members.rows.shape == (400, worlds.WINDOW) and np.bincount(made.members.donor).tolist() == [20] * 20


def test_rows_are_dealt_to_sites_once_and_copies_of_a_canary_stay_together():
    made = world()
    dealt = regimes.shards(made, np.random.default_rng(0))
    assert sum(int(repeats.sum()) for _, repeats in dealt) == regimes.data(made)[1].sum()
    fours = [row.tobytes() for rows_, repeats in dealt for row in rows_[repeats == 4]]
    assert len(fours) == len(set(fours)) == TINY.each


def test_each_copy_is_a_donor_of_its_own_where_epsilon_is_a_donors():
    shard = private.shard(world())
    assert len(shard.donors) == len(shard.x) == int(regimes.data(world())[1].sum())


@pytest.mark.parametrize(
    "change",
    [
        {"data": "mtDNA"},
        {"architecture": "masked"},
        {"capacity": "large"},
        {"regime": "sites"},
        {"seed": 5},
        {"epsilon": 2.0},
        *({"scale": replace(TINY, **{name: value})} for name, value in {"rows": 9, "each": 2, "coins": 0}.items()),
        *({"scale": replace(TINY, **{name: value})} for name, value in {"controls": 9, "asked": 2}.items()),
        {"scale": replace(TINY, epochs=(2,))},
        {"scale": replace(TINY, rates=(1,))},
    ],
    ids=str,
)
def test_a_key_holds_every_setting(change):
    assert replace(ONE, **change).key != ONE.key


def test_a_key_holds_what_the_loop_is_fixed_to(monkeypatch):
    before = ONE.key
    monkeypatch.setattr(regimes, "FIXED", {**regimes.FIXED, "scratch": {**regimes.FIXED["scratch"], "rate": 1e-3}})
    assert ONE.key != before


def test_no_two_cells_of_the_grid_are_one():
    every = [one.key for part in grid.EVERY.values() for one in part]
    assert len(every) == len(set(every))


def test_a_cell_that_is_kept_is_not_run_again(tmp_path, looked):
    kept = cells.Cache.load(tmp_path)
    assert kept.get(ONE, lambda: looked[0]) == looked[0]
    (part,) = tmp_path.glob("cells-*.jsonl")
    part.write_text(part.read_text() + '{"cell": "half')
    again = cells.Cache.load(tmp_path)
    assert again.get(ONE, lambda: pytest.fail("run again")) == json.loads(json.dumps(looked[0]))


def test_a_cell_runs_alike_twice(looked):
    again = cell.run(ONE)
    assert {**again, "CPU seconds": 0} == {**looked[0], "CPU seconds": 0} and looked[1]["epochs"] != again["epochs"]


def test_probabilities_of_all_beginnings_sum_to_one(looked):
    assert all(epoch["off"] < 1e-6 for one in looked.values() for epoch in one["epochs"].values())


def pooled(looked, change=lambda epoch: epoch):
    runs = [(replace(ONE, seed=seed), figures | {"epochs": {"2": change(figures["epochs"]["2"])}})
            for seed, figures in looked.items()]  # fmt: skip
    return pool(runs, 2)


def test_seeds_are_pooled_and_half_of_what_was_not_planted_is_kept_for_thresholds(looked):
    found = pooled(looked)
    assert found.seeds == 2 and found.canaries.control.sum() == TINY.controls
    assert [int((found.canaries.repeats[~found.canaries.coin] == rate).sum()) for rate in (1, 4)] == [6, 6]


def test_a_model_that_recites_what_was_planted_has_a_score_near_one_and_others_none(looked):
    repeats = worlds.planted("random", TINY, 0)[0].repeats  # coins differ by seed; the ladder does not

    def recites(epoch):
        return epoch | {
            "bits": np.where(repeats == 4, 0.01, epoch["bits"]).tolist(),
            "exposure": np.where(repeats == 4, 16.0, epoch["exposure"]).tolist(),
            "extracted": (repeats == 4).astype(int).tolist(),
        }

    found = pooled({0: looked[0]}, recites)
    assert of_rate(found, (4,)).worst.estimate == 1.0 and of_rate(found, (4,)).worst.low > 0.2
    assert of_rate(found, (1,)).worst.low == 0.0


def test_a_vector_misses_a_case_where_it_sees_nothing_and_another_does():
    cases = {"a": {"x": 0.0, "y": 0.9}, "b": {"x": 0.3, "y": 0.0}, "c": {"x": 0.0, "y": 0.1}}
    found = {row["missed by"]: row for row in rows.of_misses(cases)}
    assert found["x"]["missed"] == 1 and found["x"]["for example"] == "a" and found["x"]["cases"] == 3
    assert found["y"]["seen by"] == "x, lower end 0.30"


def test_rows_have_an_interval_around_every_estimate(looked):
    kind = rows.kind_of(ONE)
    told = [*rows.of_canaries(kind, pooled(looked), 2), rows.of_people(kind, pooled(looked), 2)]
    intervals = [value for row in told for value in row.values() if isinstance(value, list)]
    assert [row["copies"] for row in told] == [0, 1, 4, "people"] and len(intervals) >= 20
    assert all(low <= estimate <= high for estimate, low, high in intervals)


def test_an_estimate_and_its_interval_are_one_cell_of_a_table():
    assert tables._cell([0.5, 0.25, 1.0]) == "0.5 [0.25, 1]"


def test_streams_of_two_cells_are_apart():
    one, other = (Root.simulation(0, "memorization", *each.words) for each in (ONE, replace(ONE, regime="sites")))
    assert one.derive("weights") != other.derive("weights")
