"""Each attack is its published formula, written here once more for one record at a time."""

import numpy as np
import pytest
from scipy import stats

from fedgenome.audit.membership import lira, references, rmia, thresholds
from fedgenome.audit.membership.evidence import Evidence
from fedgenome.audit.signals import of_logits
from fedgenome.errors import SpecError


def columns(evidence: Evidence):
    """Yield (record, shadows that hold it, shadows that do not)."""
    for i in range(len(evidence.label)):
        held = evidence.inside[:, i]
        yield i, np.flatnonzero(held), np.flatnonzero(~held)


def test_attack_r_and_calibration_are_those_of_a_loop(made):
    evidence, _ = made(1, gift=1.0)
    rank, gap = references.reference(evidence), references.calibrated(evidence)
    for i, _, out in columns(evidence):
        losses = evidence.shadows.loss[out, i]
        assert rank[i] == pytest.approx(np.mean(losses > evidence.target.loss[i]))
        assert gap[i] == pytest.approx(losses.mean() - evidence.target.loss[i])


def test_attack_p_is_the_share_of_the_population_with_a_larger_loss(made):
    evidence, _ = made(2)
    others = evidence.population.target.loss
    assert references.population(evidence) == pytest.approx([np.mean(others > x) for x in evidence.target.loss])


def test_lira_with_enough_shadows_has_a_deviation_a_record(made):
    evidence, _ = made(3, gift=1.0, models=64, records=20)
    online, offline, phi = lira.online(evidence), lira.offline(evidence), evidence.shadows.margin
    for i, held, out in columns(evidence):
        fits = [(phi[of, i].mean(), phi[of, i].std(ddof=1)) for of in (held, out)]
        with_it, without = (stats.norm.logpdf(evidence.target.margin[i], *fit) for fit in fits)
        assert online[i] == pytest.approx(with_it - without)
        assert stats.norm.cdf(offline[i]) == pytest.approx(stats.norm.cdf(evidence.target.margin[i], *fits[1]))


def test_lira_with_few_shadows_has_one_deviation_about_each_records_mean(made):
    evidence, _ = made(4, gift=1.0)
    phi, residuals = evidence.shadows.margin, []
    for i, _, out in columns(evidence):
        residuals += list(phi[out, i] - phi[out, i].mean())
    deviation = (np.square(residuals).sum() / (120 * (8 - 1))) ** 0.5
    gaps = [evidence.target.margin[i] - phi[out, i].mean() for i, _, out in columns(evidence)]
    assert lira.offline(evidence) == pytest.approx(np.array(gaps) / deviation)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_rmia_counts_the_population_it_beats_pair_by_pair(made, mode):
    evidence, _ = made(5, gift=1.0)
    z, p = evidence.population, evidence.shadows.confidence
    ratio_z = z.target.confidence / ((1.3 * z.shadows.confidence.mean(0) + 0.7) / 2)
    found = getattr(rmia, mode)(evidence, gamma=1.5)
    for i, held, out in columns(evidence):
        both = (p[held, i].mean() + p[out, i].mean()) / 2
        prior = both if mode == "online" else (1.3 * p[out, i].mean() + 0.7) / 2
        assert found[i] == pytest.approx(np.mean(evidence.target.confidence[i] / prior / ratio_z >= 1.5))


def test_best_threshold_is_that_of_trying_all():
    rng = np.random.default_rng(6)
    members, others = rng.normal(1, 1, 30).round(1), rng.normal(0, 1, 50).round(1)
    values = np.unique([*members, *others])
    right = [np.mean(members >= t) + np.mean(others < t) for t in values]
    assert thresholds.best_threshold(members, others) == values[np.argmax(right)]


def test_metric_attacks_take_off_their_classs_threshold_on_shadows(made):
    evidence, _ = made(7, gift=2.0)
    found = thresholds.confidence(evidence)
    for each in range(3):
        here, shadows = evidence.label == each, evidence.shadows.confidence
        held = evidence.inside[:, here]
        t = thresholds.best_threshold(shadows[:, here][held], shadows[:, here][~held])
        assert found[here] == pytest.approx(evidence.target.confidence[here] - t)


def test_privacy_risk_is_the_share_of_members_in_the_records_bin():
    """Logarithms from −5 to 0 in five bins; nobody is in the third, which the nearest lower one serves."""
    members = np.array([-4.9, -4.8, -3.5, -0.5, 0.0])
    others = np.array([-5.0, -3.6, -1.5, -1.2, -0.2])
    found = thresholds._risk(np.array([-9.0, -4.5, -3.5, -2.5, -1.5, -0.5, 3.0]), members, others)
    assert found == pytest.approx([2 / 3, 2 / 3, 1 / 2, 1 / 2, 0, 2 / 3, 2 / 3])


def test_a_class_that_no_shadow_saw_members_of_is_scored_all_the_same(made):
    evidence, _ = made(8)
    evidence.inside[:, evidence.label == 0] = False
    for attack in (thresholds.confidence, thresholds.privacy_risk):
        assert np.isfinite(attack(evidence)).all()


@pytest.mark.parametrize("attack", [lira.online, rmia.online])
def test_online_attacks_ask_for_shadows_with_and_without(made, attack):
    evidence, _ = made(9)
    evidence.inside[:, 5] = True
    with pytest.raises(SpecError, match="each record in and out of"):
        attack(evidence)


def test_attacks_on_a_population_ask_for_one(made):
    evidence, _ = made(9, people=0)
    with pytest.raises(SpecError, match="a population of one record or more"):
        references.population(evidence)


def test_evidence_of_other_records_is_refused(made):
    evidence, _ = made(9)
    with pytest.raises(SpecError, match="signals of the same records and models"):
        Evidence(
            label=evidence.label,
            target=of_logits(np.zeros((2, 3)), np.zeros(2, int)),
            shadows=evidence.shadows,
            inside=evidence.inside,
            group=evidence.group,
        )
