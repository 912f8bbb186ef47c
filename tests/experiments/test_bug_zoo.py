"""Each detector of the zoo fires on its bug and not on the correct twin, and on nothing that is said to be missed.

Seeds are fixed; a correct twin would set off a statistical check in one of a million seeds.
"""

import math
from dataclasses import replace

import numpy as np
import pytest

from experiments.bug_zoo import answers, canaries, misses, noise, run, sampling, tables, unpaid
from experiments.bug_zoo.verdicts import Detector, Verdict, as_a

ABOVE = Detector(name="x", statistic="above 1", fires=lambda value: value > 1)
SEED = 77  # not among the experiment's


@pytest.mark.parametrize("family", [noise, sampling, unpaid, answers, tables], ids=lambda family: family.__name__)
def test_every_bug_sets_its_detector_off_and_its_twin_does_not(family):
    seen = [(verdict.bug, verdict.fired, verdict.false) for verdict in family.verdicts()]
    assert len(seen) >= 3 and seen == [(bug, 1, 0) for bug, _, _ in seen]


def test_what_is_called_missed_is_missed():
    seen = {verdict.bug: (verdict.fired, verdict.kind) for verdict in misses.verdicts()}
    assert len(seen) >= 2 and set(seen.values()) == {(0, "missed")}


def test_canaries_refute_a_classifier_without_noise_and_not_the_library_s():
    correct = canaries.classifier(canaries.CLAIMED)
    assert canaries.refuted(correct.at(canaries.SILENT), SEED) > 2
    assert canaries.refuted(correct, SEED) <= canaries.CLAIMED


@pytest.mark.parametrize("made", [canaries.ClipsTheBatch, canaries.ClipsTooFar])
def test_canaries_refute_a_clip_that_binds_no_donor(made):
    broken = as_a(made, canaries.classifier(canaries.CLAIMED))
    assert canaries.refuted(broken, SEED) > canaries.CLAIMED


def test_a_canary_that_is_out_is_masked_and_a_fair_coin_says_which():
    shard, coins = canaries._cohort(np.random.default_rng(SEED))
    np.testing.assert_array_equal(shard.mask[canaries.PEOPLE :], coins)
    assert shard.mask[: canaries.PEOPLE].all() and abs(coins.mean() - 0.5) < 4 * 0.5 / math.sqrt(len(coins))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_auc_that_an_epsilon_allows_is_that_of_a_coin_told_by_randomised_response(epsilon):
    # One of two records is in; whose it is, is told with chance e^ε/(1 + e^ε): ε-DP by replacement, and no more.
    told = math.exp(epsilon) / (1 + math.exp(epsilon))
    assert tables.most_auc(epsilon, records=1) == pytest.approx(told)
    assert tables.most_auc(epsilon / 2) == pytest.approx(told)
    assert tables.most_auc(epsilon, 1e-3) > tables.most_auc(epsilon)


def test_traced_shard_notes_reads_outside_of_paid_answers_alone():
    assert unpaid.reads(unpaid.honest, 1.0) == 0
    assert unpaid.reads(lambda desk: (unpaid.honest(desk), desk.shard.x, desk.shard.label.sum()), 1.0) == 2


def verdict(broken, correct, kind="caught", detector=canaries.DETECTOR):
    return Verdict(bug=f"{kind} {broken}", detector=detector, broken=broken, correct=correct, kind=kind)


def ok(seen):
    return {target.name: target.ok for target in run.targets(seen)}


def test_targets_ask_for_nine_runs_of_ten_and_at_most_one_of_twenty():
    right = verdict((2.0,) * 9 + (0.5,), (2.0,) + (0.5,) * 19)
    name = f"{right.bug}: share of runs that refute ε = 1"
    assert ok([right])[name] and ok([right])["detectors set off by their bug"]
    assert ok([right])["correct classifier: share of runs that refute ε = 1"]
    assert not ok([replace(right, broken=(2.0,) * 8 + (0.5,) * 2)])[name]
    wrong = ok([replace(right, correct=(2.0,) * 2 + (0.5,) * 18)])
    assert not wrong["detectors set off by the correct twin"]


def test_a_bug_that_is_seen_after_all_may_not_be_called_missed():
    seen = [verdict((2.0,), (0.0,)), verdict((2.0,), (0.0,), "missed", ABOVE)]
    assert not ok(seen)["of these, those that it sees"]
    assert ok([seen[0], replace(seen[1], broken=(0.0,))])["of these, those that it sees"]
