import numpy as np
import pytest

from fedgenome.audit.targets import Records
from fedgenome.utility.classify import evaluate, measure
from fedgenome.utility.metrics import CLASSIFIERS, QUICK, Settings

SMALL = Settings(classifiers=QUICK.classifiers, trees=10)


def _by_name(members, controls, synthetic, seed=0):
    seen = evaluate(members, controls, synthetic, np.random.default_rng(seed), SMALL)
    return {(one.trained_on, one.classifier): one for one in seen}


def test_good_table_teaches_what_real_rows_teach_and_noise_teaches_nothing(draw):
    rng = np.random.default_rng(0)
    members, controls, good = draw(300, rng), draw(150, rng), draw(300, rng)
    noise = Records(x=good.x, label=rng.permutation(good.label))
    for name in ("logistic regression", "random forest"):
        kind = ("synthetic", name)
        taught, untaught = _by_name(members, controls, good)[kind], _by_name(members, controls, noise)[kind]
        assert taught.accuracy.estimate > 0.9 > 0.6 > untaught.accuracy.estimate
        assert taught.macro_f1.estimate > 0.9


def test_majority_line_is_the_share_of_the_members_commonest_class(draw):
    rng = np.random.default_rng(1)
    members, controls = draw(60, rng), draw(50, rng)
    commonest = np.bincount(members.label).argmax()
    line = evaluate(members, controls, draw(30, rng), rng, SMALL)[-1]
    assert line.trained_on == "majority"
    assert line.accuracy.estimate == pytest.approx((controls.label == commonest).mean())
    assert line.macro_f1.estimate < 0.3


def test_real_baseline_is_perfect_where_classes_are_far_apart(draw):
    rng = np.random.default_rng(2)
    seen = _by_name(draw(200, rng, apart=20), draw(80, rng, apart=20), draw(50, rng))
    assert seen["real", "logistic regression"].accuracy.estimate == 1
    assert seen["real", "random forest"].macro_f1.low == 1


def test_class_that_the_table_lacks_is_named_and_costs_its_share(draw):
    rng = np.random.default_rng(3)
    members, controls = draw(200, rng, apart=20), draw(100, rng, apart=20)
    table = members.rows(members.label != 2)
    one = _by_name(members, controls, table)["synthetic", "logistic regression"]
    assert one.missing == (2,)
    assert one.accuracy.estimate == pytest.approx((controls.label != 2).mean())
    assert one.macro_f1.estimate < 2 / 3


def test_table_of_a_single_class_predicts_that_class(draw):
    rng = np.random.default_rng(4)
    members, controls = draw(60, rng), draw(50, rng)
    seen = _by_name(members, controls, members.rows(members.label == 1))
    for name in ("logistic regression", "random forest"):
        assert seen["synthetic", name].accuracy.estimate == pytest.approx((controls.label == 1).mean())


def test_class_that_only_the_table_has_is_harmless(draw):
    rng = np.random.default_rng(5)
    members, controls = draw(60, rng, apart=20), draw(50, rng, apart=20)
    seen = _by_name(members, controls, draw(90, rng, apart=20, classes=5))
    assert seen["synthetic", "logistic regression"].missing == ()
    assert seen["synthetic", "logistic regression"].accuracy.estimate == 1


def test_same_generator_state_gives_the_same_scores(draw):
    rng = np.random.default_rng(6)
    given = draw(60, rng), draw(50, rng), draw(70, rng)
    assert _by_name(*given, seed=1) == _by_name(*given, seed=1)


def test_gene_that_never_varies_and_wild_scales_raise_no_warning(draw):
    rng = np.random.default_rng(7)
    tables = [draw(n, rng) for n in (80, 50, 90)]
    for table in tables:
        table.x[:, 0] = 5.0
        table.x[:, 1] *= 1e6
    assert _by_name(*tables)["synthetic", "logistic regression"].accuracy.estimate > 0.8


def test_every_classifier_learns_easy_classes_and_none_is_certain_of_what_noise_says(draw):
    rng = np.random.default_rng(8)
    truth, table = draw(90, rng, apart=20), draw(90, rng, apart=20)
    taught = measure(table, truth, rng, Settings(trees=10))
    shuffled = Records(x=table.x, label=rng.permutation(table.label))
    untaught = measure(shuffled, truth, rng, Settings(trees=10))
    assert {f"auprc: {name}" for name in CLASSIFIERS} < set(taught)
    assert min(value.value for value in taught.values()) > 0.95
    assert max(value.value for value in untaught.values()) < 0.75


def test_without_members_the_majority_is_that_of_the_test_rows(draw):
    rng = np.random.default_rng(9)
    controls = draw(50, rng)
    scores = evaluate(None, controls, draw(30, rng), rng, SMALL)
    assert {score.trained_on for score in scores} == {"synthetic", "majority"}
    assert scores[-1].accuracy.estimate == np.bincount(controls.label).max() / 50
    assert scores[-1].classifier.endswith("test rows")
