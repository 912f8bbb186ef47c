import json
from dataclasses import replace

import numpy as np
import pytest

from fedgenome.audit.targets import Records
from fedgenome.errors import SpecError
from fedgenome.utility.metrics import Settings, Summary, Value, unsaid
from fedgenome.utility.run import Real, finite, halves, metrics, utility


def _drawn(draw, seed, *sizes):
    rng = np.random.default_rng(seed)
    return [draw(n, rng) for n in sizes]


def test_json_holds_every_figure_beside_its_real_baseline(draw, quick):
    truth, train, table = _drawn(draw, 0, 60, 80, 90)
    seen = json.loads(
        json.dumps(utility(table, Real(truth=truth, train=train), seed=3, settings=quick).to_json(), allow_nan=False)
    )
    assert seen["rows"] == {"synthetic": 90, "truth": 60, "train": 80} and seen["seed"] == 3
    assert seen["statement"].startswith("internal: computed from real people")
    assert [score["trained_on"] for score in seen["scores"]] == ["synthetic"] * 2 + ["real"] * 2 + ["majority"]
    assert [one["name"] for one in seen["metrics"]] == [metric.name for metric in metrics(quick)]
    assert all(one["real"]["repeats"] == 2 for one in seen["metrics"] if one["name"].startswith(("acc", "dcr_share")))


def test_good_table_is_as_good_as_the_real_half_and_a_bad_one_is_not(draw, quick):
    truth, good = _drawn(draw, 1, 120, 120)
    bad = Records(x=np.random.default_rng(0).permuted(good.x, axis=0) + 3, label=good.label)
    fine, poor = (utility(table, Real(truth=truth), seed=0, settings=quick) for table in (good, bad))
    for name in ("accuracy: random forest", "de_tpr", "coexpression_recall_0.5", "cluster_labels"):
        assert fine[name].synthetic.estimate > fine[name].real.estimate - 0.2 > poor[name].synthetic.estimate
    for name in ("wasserstein", "mmd2", "correlation_error", "discriminator_forest"):
        assert fine[name].synthetic.estimate < fine[name].real.estimate + 0.1 < poor[name].synthetic.estimate
    assert fine["de_tpr"].real == poor["de_tpr"].real  # the baseline does not look at the table


def test_without_training_rows_closeness_says_what_it_needs_and_copies_are_seen_with_them(draw, quick):
    truth, train = _drawn(draw, 2, 60, 70)
    alone = utility(train, Real(truth=truth), seed=0, settings=quick)["dcr_share"]
    assert "trained on" in alone.whole.note and (alone.real.repeats, np.isnan(alone.real.estimate)) == (0, True)
    copied = utility(train, Real(truth=truth, train=train), seed=0, settings=quick)["dcr_share"]
    assert copied.whole.value > 0.9 and copied.synthetic.low > 0.7 > copied.real.high


def test_same_seed_gives_the_same_result_and_another_does_not(draw, quick):
    truth, table = _drawn(draw, 3, 30, 30)
    once = replace(quick, repeats=1, trees=2)
    first, again, other = (utility(table, Real(truth=truth), seed=seed, settings=once) for seed in (1, 1, 2))
    assert json.dumps(first.to_json()) == json.dumps(again.to_json())
    assert first["mmd2"].real != other["mmd2"].real


def test_halves_part_donors_and_balance_classes():
    donor = np.repeat(np.arange(20), 3)
    label = np.where(donor < 12, 0, 1)
    records = Records(x=np.arange(60.0)[:, None], label=label, donor=donor)
    one, two = halves(records, np.random.default_rng(0))
    assert not set(one.units) & set(two.units) and set(one.units) | set(two.units) == set(range(20))
    assert [sorted(np.unique(side.label[::3], return_counts=True)[1]) for side in (one, two)] == [[4, 6], [4, 6]]


def test_a_table_shorter_than_half_the_real_rows_and_without_a_class_is_judged_as_it_is(draw, quick):
    truth, table = _drawn(draw, 4, 80, 24)
    seen = utility(table.rows(table.label != 1), Real(truth=truth), seed=0, settings=quick)
    assert seen.scores[0].missing == (1,)
    assert (
        seen["accuracy: logistic regression"].synthetic.estimate < seen["accuracy: logistic regression"].real.estimate
    )
    assert "1 of 3 classes" in seen["de_tpr"].whole.note


def test_progress_is_told_every_step(draw, quick):
    truth, table = _drawn(draw, 5, 20, 20)
    told = []
    utility(table, Real(truth=truth), seed=0, settings=replace(quick, repeats=1), progress=told.append)
    assert told == ["classifiers", "whole table", "halves 1 of 1"]


def test_tables_of_other_genes_empty_tables_and_holes_are_refused(draw, quick):
    truth, table = _drawn(draw, 6, 20, 9)
    holes = replace(table, x=np.where(np.arange(4) == 2, np.nan, table.x))
    for bad, rule in (
        (Records(x=table.x[:, :3], label=table.label), r"same number of genes everywhere, got synthetic=3, truth=4"),
        (table.rows(np.zeros(9, bool)), "at least one row in synthetic"),
        (holes, "finite values in synthetic"),
    ):
        with pytest.raises(SpecError, match=rule):
            utility(bad, Real(truth=truth), seed=0, settings=quick)
    with pytest.raises(SpecError, match="at least two real donors"):
        utility(table, Real(truth=truth.rows(np.arange(1))), seed=0, settings=quick)
    assert finite(holes, 0.5).x[:, 2].tolist() == [0.5] * 9


def test_summary_by_hand_leaves_out_what_could_not_be_said():
    found = Summary.of([Value(value=1.0), unsaid("no gene"), Value(value=2.0)])
    assert (found.estimate, found.low, found.high, found.repeats, found.note) == (1.5, 1.0, 2.0, 2, "no gene")
    assert unsaid("x").to_json() == {"value": None, "note": "x"} and Summary.of([unsaid("x")]).to_json()["low"] is None


@pytest.mark.parametrize(
    ("bad", "rule"),
    [({"repeats": 0}, "repeats >= 1"), ({"classifiers": ("svm",)}, "classifiers among"), ({"level": 1.0}, "level < 1")],
)
def test_settings_and_values_say_their_rule(bad, rule):
    with pytest.raises(SpecError, match=rule):
        Settings(**bad)
    with pytest.raises(SpecError, match="a reason"):
        Value(value=float("nan"))


def test_one_unseen_donor_and_one_training_donor_are_judged_with_what_can_be_said(draw, quick):
    truth, table = _drawn(draw, 7, 12, 12)
    one = replace(truth, donor=np.zeros(12, int))
    seen = utility(table, Real(truth=one, train=one), seed=0, settings=replace(quick, repeats=1))
    assert seen["dcr_share"].real.note == "needs two unseen donors"
    assert seen["accuracy: random forest"].real.repeats == 1
