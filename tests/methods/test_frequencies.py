"""Allele frequencies by label: counted, tested as geneticists test them, with noise where it belongs in every error."""

import numpy as np
import pytest
from scipy import stats

from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import frequencies, registry
from fedgenome.study import MethodSpec, Schema
from tests.conformance import cases

PARTIES = 1.5**0.5  # what three of them add over the noise that is charged, at t = 1


def build(variants, noise=None, labels=("case", "control")):
    schema = Schema(genes=tuple(f"1:{at}:A:C" for at in range(variants)), labels=labels, high=2.0, dosages=True)
    method = registry.build(MethodSpec(kind="frequencies"), schema, 2000, noise is not None)
    return method if noise is None else method.at(noise)


def released(method, x, label, seed=0, factor=PARTIES):
    donor = np.arange(len(x))
    shard = Shard(x=x.astype(np.float32), label=label, donor=donor, donors=tuple(map(str, donor)), mask=donor >= 0)
    question = method.ask(state := method.start(np.random.default_rng(0)))
    sigma = question.mechanism.level * factor if question.mechanism else 0.0
    total = method.answer(question, shard, cases.draws(0)).value
    noise = np.random.default_rng(seed).normal(0, sigma, total.shape)
    return method.release(method.learn(state, question, total + noise))


def people(n, variants, seed, apart=0.0):
    rng = np.random.default_rng(seed)
    label, p = np.arange(n) % 2, rng.uniform(0.2, 0.5, variants)
    return rng.binomial(2, p + apart * (1 - label[:, None])), label


def test_without_noise_tests_are_those_of_the_table_of_alleles():
    x, label = people(300, 6, seed=1, apart=0.1)
    arrays = released(build(6), x, label)
    found = frequencies.associations(arrays, 0)
    for at in range(6):
        alt = np.array([x[label == k, at].sum() for k in (0, 1)])
        table = np.stack([alt, 300 - alt])
        right = stats.chi2_contingency(table, correction=False)
        assert found.chi2[at] == pytest.approx(right.statistic) and found.p_values[at] == pytest.approx(right.pvalue)
        assert found.log_odds[at] == pytest.approx(np.log(alt[0] * table[1, 1] / (alt[1] * table[1, 0])))
        assert found.errors[at] == pytest.approx(np.sqrt((1 / table).sum()))  # Woolf's
    assert not arrays["noise"].any()


def test_a_label_of_several_is_tested_against_all_others_together():
    x, label = people(300, 6, seed=2)
    label = np.arange(300) % 3
    told = frequencies.associations(released(build(6, labels=("a", "b", "c")), x, label), 1)
    pooled = frequencies.associations(released(build(6), x, np.where(label == 1, 0, 1)), 0)
    np.testing.assert_allclose(told.chi2, pooled.chi2, atol=1e-12)


def test_under_the_null_p_values_are_right_with_noise_in_their_errors_and_far_too_small_without():
    x, label = people(1000, 2000, seed=3)
    arrays = released(build(2000, 1.0), x, label)
    wrong = {
        name: (frequencies.associations(told, 0).p_values < 0.05).mean()
        for name, told in {
            "ours": arrays,
            "twin": {**arrays, "noise": np.zeros(2)},
        }.items()
    }
    # 2,000 tests: standard error .005; the deviation of noise is known to 4 %, which moves .05 by .004. Two-sided.
    assert 0.025 < wrong["ours"] < 0.075 and wrong["twin"] > 0.3


@pytest.mark.parametrize("factor", [1.0, np.sqrt(1.5), np.sqrt(5)])
def test_blanks_tell_the_deviation_of_whatever_noise_was_added(factor):
    method = build(40, 2.0)
    x, label = people(50, 40, seed=4)
    seen = [released(method, x, label, seed, factor)["noise"] for seed in range(8)]
    labels, dosages = method.bundles[0].statistics[:2]
    right = [2.0 * factor * part.bound / np.sqrt(part.share) for part in (labels, dosages)]
    # Of 8 × 256 numbers a deviation has a relative standard error of .016: 5 of them.
    np.testing.assert_allclose(np.mean(seen, axis=0), right, rtol=0.08)


def test_the_deviation_of_a_frequency_is_what_repeated_noise_gives():
    x, label = people(600, 30, seed=5)
    method, p = build(30, 1.0), np.array([x[np.arange(600) % 2 == k].mean(0) for k in (0, 1)]) / 2
    told = [released(method, x, label, seed) for seed in range(100)]
    apart = np.array([frequencies.frequencies(arrays) for arrays in told]) - p
    stated = np.mean([frequencies.deviations(arrays) for arrays in told], axis=0)
    # 100 × 60 errors, of which those of one label's count go together: relative standard error below .02.
    assert np.sqrt((apart**2).mean()) == pytest.approx(np.sqrt((stated**2).mean()), rel=0.1)
    assert np.sqrt((apart**2).mean()) != pytest.approx(np.sqrt((stated**2).mean() / 1.5), rel=0.1)


def test_a_rows_loss_is_that_of_its_labels_frequencies():
    x, label = people(40, 5, seed=6)
    method = build(5)
    arrays = released(method, x, label)
    p = frequencies.frequencies(arrays)
    right = [
        -sum(stats.binom.logpmf(g, 2, p[k, at]) for at, g in enumerate(row)) for row, k in zip(x, label, strict=True)
    ]
    np.testing.assert_allclose(method.losses(arrays, x, label), right)


def test_a_label_without_another_is_refused():
    x, label = people(10, 3, seed=7)
    with pytest.raises(SpecError, match="a label of two or more, got label=0, labels=1"):
        frequencies.associations(released(build(3, labels=("all",)), x, 0 * label), 0)
