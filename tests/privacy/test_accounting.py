"""What plans cost, against closed forms and Opacus' accountants; published figures are in test_golden.py."""

import math
import warnings
from dataclasses import replace

import pytest
from scipy import optimize, stats

from fedgenome.addition import BLOCK_TAIL
from fedgenome.errors import Refused, SpecError
from fedgenome.privacy import accounting
from fedgenome.privacy.ledger import Budget, Ledger
from fedgenome.query import MOST_ELEMENTS, Mechanism, Question
from fedgenome.study import Plan

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Opacus warns when imported
    from opacus.accountants import PRVAccountant, RDPAccountant


def gaussian(level, sampling=1.0, count=1, **fields):
    return Mechanism(kind="gaussian", level=level, sampling=sampling, count=count, **fields)


def plan(*mechanisms):
    return Plan(mechanisms=mechanisms)


SELECT = Mechanism(kind="exponential", level=0.3, count=2, sampling=0.5, scope="pick")


@pytest.mark.parametrize(
    ("level", "count", "sampling", "delta"), [(1.0, 100, 0.01, 1e-4), (2.0, 500, 0.01, 1e-6), (2.0, 500, 0.1, 1e-4)]
)
def test_epsilon_lies_below_rdp_and_beside_prv(level, count, sampling, delta):
    ours = accounting.epsilon(plan(gaussian(level, sampling, count)), delta)
    others = [RDPAccountant(), PRVAccountant()]
    for other in others:
        other.history = [(level, sampling, count)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus warns where its best order is at the end of its list
        rdp, prv = (other.get_epsilon(delta) for other in others)
    assert prv - 0.03 < ours <= prv  # PRV adds its error bound of 0.01
    assert ours < rdp


def exact_gaussian(level, delta):
    """ε of one Gaussian query in closed form (Balle & Wang 2018, Theorem 8)."""
    norm = stats.norm.cdf
    gap = lambda e: norm(0.5 / level - e * level) - math.exp(e) * norm(-0.5 / level - e * level) - delta  # noqa: E731
    return optimize.brentq(gap, 0, 300, xtol=1e-10)


@pytest.mark.parametrize(("level", "count"), [(0.5, 1), (1.0, 1), (4.0, 1), (8.0, 100), (20.0, 30)])
def test_epsilon_without_sampling_is_the_closed_form_rounded_up(level, count):
    exact = exact_gaussian(level / math.sqrt(count), 1e-5)
    assert exact - 1e-9 <= accounting.epsilon(plan(gaussian(level, 1.0, count)), 1e-5) <= exact + 2e-3


def test_empty_plan_costs_nothing():
    assert accounting.epsilon(plan(), 1e-5) == 0.0
    assert accounting.by_scope(plan(), 1e-5) == {}


def test_selections_add_their_whole_level():
    base = gaussian(2.0, 0.1, 50)
    assert accounting.epsilon(plan(SELECT), 1e-5) == pytest.approx(0.6)
    assert accounting.epsilon(plan(base, SELECT), 1e-5) == pytest.approx(accounting.epsilon(plan(base), 1e-5) + 0.6)


def test_epsilon_depends_on_the_multiset_alone():
    whole = accounting.epsilon(plan(gaussian(3.0), gaussian(2.0, 0.1, 50)), 1e-5)
    parts = plan(gaussian(2.0, 0.1, 20, scope="a"), gaussian(3.0, where="home"), gaussian(2.0, 0.1, 30))
    assert accounting.epsilon(parts, 1e-5) == whole


def test_methods_cost_less_together_than_added():
    both = plan(gaussian(2.0, 0.1, 50, scope="cvae"), gaussian(4.0, scope="tables"), SELECT)
    scopes = accounting.by_scope(both, 1e-5)
    assert list(scopes) == ["cvae", "tables", "pick"]
    assert max(scopes.values()) < accounting.epsilon(both, 1e-5) < sum(scopes.values())


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_outside_its_range_is_refused(delta):
    with pytest.raises(SpecError, match=r"expected 0 < delta < 1, got delta="):
        accounting.epsilon(plan(gaussian(1.0)), delta)


def test_hopeless_plan_gets_the_closed_bound_at_once():
    rho = 1000 / (2 * 0.01**2)
    bound = rho + 2 * math.sqrt(rho * math.log(1e5))
    assert accounting.epsilon(plan(gaussian(0.01, 0.5, 1000)), 1e-5) == pytest.approx(bound)


def test_calibration_finds_the_published_noise():
    level = accounting.calibrate(lambda noise: plan(gaussian(noise, 0.02, 1000)), 2.0, 1e-5)
    assert level == pytest.approx(1.485, rel=1.5e-3)


@pytest.mark.parametrize("target", [0.1, 1.0, 3.0, 30.0])
def test_calibrated_noise_meets_the_target_and_hardly_less_noise_does_not(target):
    def plan_at(noise):
        select = Mechanism(kind="exponential", level=0.01 / noise)
        return plan(gaussian(noise * 4), gaussian(noise, 0.1, 100), select)

    level = accounting.calibrate(plan_at, target, 1e-5)
    assert accounting.epsilon(plan_at(level), 1e-5) <= target < accounting.epsilon(plan_at(level / 1.0011), 1e-5)


@pytest.mark.parametrize(
    ("plan_at", "rule"),
    [
        (lambda noise: plan(), "a plan with a query in it, looked at levels from 1 to 2\\^-24"),
        (lambda noise: plan(SELECT), "an epsilon that some noise level meets, looked at levels from 1 to 2\\^24"),
    ],
)
def test_calibration_that_has_no_answer_says_why(plan_at, rule):
    with pytest.raises(SpecError, match=rule):
        accounting.calibrate(plan_at, 0.5, 1e-5)


def test_two_colluders_where_one_was_assumed_see_half_the_variance():
    base = plan(gaussian(2.0, 0.1, 50), gaussian(3.0, where="home"), SELECT)
    seen = accounting.colluded(base, 1, 2)
    assert [m.level for m in seen.mechanisms] == [pytest.approx(2.0 / math.sqrt(2)), 3.0, SELECT.level]
    least = accounting.epsilon(seen, 1e-5)
    assert accounting.epsilon(base, 1e-5) < least <= accounting.collusion(base, 1e-5, 1, 2) < 1.001 * least


def test_epsilon_of_two_colluders_pays_for_itself_in_delta():
    # At ε = 20.8 the sampler's errors, times e^ε, take a third of this δ; at the plan's own 13 next to nothing.
    base, delta = plan(gaussian(1.5, count=10)), 1e-8
    found = accounting.collusion(base, delta, 1, 2)
    left = delta - accounting.delta_slack(base, accounting.MOST_ELEMENTS, epsilon=found)
    assert 0.6 * delta < left < 0.7 * delta
    assert accounting.epsilon(accounting.colluded(base, 1, 2), left) <= found


def test_two_colluders_who_leave_nothing_of_delta_are_no_number():
    with pytest.raises(SpecError, match="leave half of delta"):
        accounting.collusion(plan(gaussian(0.5, count=10)), 1e-8, 1, 2)


def test_collusion_as_assumed_costs_the_plan_and_less_of_it_less():
    base = plan(gaussian(2.0, 0.1, 50))
    assert accounting.collusion(base, 1e-5, 1, 1) == pytest.approx(accounting.epsilon(base, 1e-5), rel=1e-4)
    assert accounting.collusion(base, 1e-5, 1, 0) < accounting.epsilon(base, 1e-5)
    assert accounting.collusion(base, 1e-5, 0, 2) > accounting.collusion(base, 1e-5, 1, 2)


@pytest.mark.parametrize(("assumed", "real"), [(1, 3), (3, 1), (-1, 0)])
def test_three_colluders_are_refused(assumed, real):
    with pytest.raises(SpecError, match=r"expected 0 <= colluders_\w+ < 3"):
        accounting.colluded(plan(gaussian(1.0)), assumed, real)


def test_delta_slack_pays_for_large_samples_and_the_sampler():
    asked = plan(gaussian(2.0, 0.1, 50), gaussian(3.0, count=2), SELECT)
    draws = (1 + math.e) * 1e-18 * 1000 * 2 * 52
    wraps = (1 + math.e) * math.exp(-46) * 2
    assert accounting.delta_slack(asked, 1000, epsilon=1.0, parties=2) == pytest.approx(50 * BLOCK_TAIL + draws + wraps)


def test_delta_slack_pays_for_each_winner_of_a_selection():
    one, three = (accounting.delta_slack(plan(replace(SELECT, winners=k)), 1000, epsilon=1.0) for k in (1, 3))
    assert one == pytest.approx((1 + math.e) * math.exp(-46) * 2, rel=1e-12)
    assert three == pytest.approx(3 * one, rel=1e-12)


def test_selection_costs_its_level_for_each_winner_and_its_ledger_allows_no_other_number(tmp_path):
    asked = replace(SELECT, winners=4)
    cost = accounting.epsilon(plan(asked), 1e-5)
    assert cost == pytest.approx(4 * 0.3 * 2) == 4 * accounting.epsilon(plan(SELECT), 1e-5)
    with Ledger(tmp_path / "ledger.jsonl", "account", Budget(epsilon=cost, delta=1e-5)) as ledger:
        ledger.reserve("run", "s", plan(asked), cost, 1e-5)
        with pytest.raises(Refused, match=r"^outside-plan"):
            ledger.charge("run", replace(asked, winners=5))
        for _ in range(asked.count):
            ledger.charge("run", asked)
        with pytest.raises(Refused, match=r"^outside-plan: the plan allows 2 queries of this form"):
            ledger.charge("run", asked)
        assert ledger.spent() == (cost, 1e-5)


def test_usable_delta_is_what_the_slack_leaves():
    asked = plan(gaussian(2.0, 0.1, 200), SELECT)
    slack = accounting.delta_slack(asked, MOST_ELEMENTS, epsilon=3.0)
    assert accounting.usable(asked, 3.0, 1e-5) == 1e-5 - slack < 1e-5


@pytest.mark.parametrize(("epsilon", "delta"), [(3.0, 3e-10), (60.0, 1e-5), (1e6, 1e-5)])
def test_delta_that_the_slack_eats_is_refused(epsilon, delta):
    with pytest.raises(SpecError, match="expected an epsilon and delta that leave half of delta for the noise"):
        accounting.usable(plan(gaussian(2.0, 0.1, 200)), epsilon, delta)


def test_noised_answer_is_no_longer_than_what_delta_pays_for():
    asked = {"payload": {}, "reply_length": 1, "bound": 1.0}
    assert Question(length=MOST_ELEMENTS, mechanism=gaussian(2.0), **asked).length == MOST_ELEMENTS
    with pytest.raises(SpecError, match="at most 25000000 numbers in a noised answer, as δ pays for"):
        Question(length=MOST_ELEMENTS + 1, mechanism=gaussian(2.0), **asked)
