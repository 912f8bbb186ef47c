"""The study of DeepType's attacks: intervals over five targets of the same people, and what is found is there."""

import numpy as np
import pytest
from scipy import stats

from experiments.deeptype import attacked, pooled, worlds
from experiments.deeptype.people import GROUP, People
from fedgenome.audit.bounds import ranking
from fedgenome.errors import SpecError

PERSONS, DRAWS = 300, 300
LEAST, MOST = stats.binom.ppf([5e-4, 1 - 5e-4], DRAWS, 0.95)  # of 95 % intervals that cover: missed once in a thousand


def people(persons=PERSONS, rows=1):
    owner = np.repeat(np.arange(persons), rows)
    label = np.arange(persons)[owner] % 3
    return People(
        name="made", x=np.zeros((len(owner), 4), np.float32), label=label, owner=owner, schema=worlds.schema(4)
    )


def drawn(rng, common=0.0, leak=0.0):
    """Scores of five targets: of what is a person's own a share is the same in all; some people leak, most do not."""
    inside = rng.permutation(PERSONS) % GROUP != np.arange(GROUP)[:, None]
    own = np.sqrt(common) * rng.standard_normal(PERSONS) + np.sqrt(1 - common) * rng.standard_normal(inside.shape)
    return own + leak * inside * rng.exponential(1, PERSONS) ** 2, inside


def unclustered(scores, inside):
    """The twin: five times as many people, each with one score."""
    return ranking.auc_interval(scores[inside], scores[~inside])


def covered(interval, truth, **made):
    rng = np.random.default_rng(3)
    seen = [interval(*drawn(rng, **made)) for _ in range(DRAWS)]
    return sum(each.low <= truth <= each.high for each in seen)


def truth(by, **made):
    rng = np.random.default_rng(4)
    return float(np.mean([by(*drawn(rng, **made)).estimate for _ in range(500)]))


@pytest.mark.parametrize("made", [{}, {"common": 0.9}, {"leak": 1.0}], ids=str)
def test_intervals_of_the_auc_cover_as_often_as_they_say(made):
    middle = truth(pooled.ranked, **made) if made.get("leak") else 0.5
    assert LEAST <= covered(pooled.ranked, middle, **made) <= MOST


def test_intervals_that_know_no_persons_cover_always_where_scores_are_much_alike():
    assert covered(unclustered, 0.5, common=0.9) > MOST


def test_the_pooled_auc_is_the_mean_of_the_targets():
    scores, inside = drawn(np.random.default_rng(1), leak=1.0)
    each = [ranking.auc(own[member], own[~member]) for own, member in zip(scores, inside, strict=True)]
    assert pooled.ranked(scores, inside).estimate == pytest.approx(np.mean(each))


@pytest.mark.parametrize(("common", "leak"), [(0.0, 0.0), (0.9, 0.0), (0.0, 1.0)])
def test_intervals_of_the_advantage_cover_as_often_as_they_say(common, leak):
    def interval(scores, inside):
        return pooled.advantage(scores, inside, 0.5)

    made = {"common": common, "leak": leak}
    assert LEAST <= covered(interval, truth(interval, **made) if leak else 0.0, **made) <= MOST


def test_the_advantage_is_hits_less_false_alarms():
    scores, inside = drawn(np.random.default_rng(2), leak=1.0)
    rates = [(scores[which] >= 0.5).mean() for which in (inside, ~inside)]
    assert pooled.advantage(scores, inside, 0.5).estimate == pytest.approx(rates[0] - rates[1])


@pytest.mark.parametrize("common", [0.0, 0.9])
def test_hits_at_one_in_a_hundred_are_bounded_where_nothing_leaks_also_of_scores_of_two_values(common):
    assert covered(pooled.hits, pooled.RATE, common=common) >= LEAST
    two = covered(lambda scores, inside: pooled.hits(scores > 0, inside), pooled.RATE, common=common)
    assert two >= LEAST
    scores, inside = drawn(np.random.default_rng(5))
    assert pooled.hits(scores > 0, inside).high < 0.1  # taken with their ties all of them would be above it


def said(who, leak, seed=0, groups=5):
    """Logits of models that tell classes, and are surer of those who trained them."""
    rng, inside = np.random.default_rng(seed), who.inside(groups, seed)
    logits = rng.standard_normal((*inside.shape, 3))
    logits[..., np.arange(len(who.label)), who.label] += 1 + leak * inside
    return logits.astype(np.float32), inside


def test_what_models_know_by_heart_is_found_and_withheld_and_of_others_nothing_is():
    who = people()
    logits, inside = said(who, leak=3.0)
    found = attacked.judged(logits, who, inside)
    for what in ("Song-Mittal AUC", "any AUC", "LiRA AUC", "RMIA AUC"):
        assert found[f"{what} low"] > 0.8
    assert found["advantage low"] > 0.5 and found["TPR at 1 %"] > 0.1 and found["verdict"] == "withheld"


def test_of_people_who_are_said_to_be_members_anew_nothing_is_found():
    """Eighteen intervals of 95 %: five or more miss once in five hundred times, were they independent."""
    who = people()
    logits, _ = said(who, leak=3.0, groups=2)
    chance, missed = {"Song-Mittal AUC": 0.5, "any AUC": 0.5, "advantage": 0.0}, 0
    for seed in range(6):
        nobody = attacked.judged(logits, who, who.inside(2, 100 + seed))
        missed += sum(not nobody[f"{n} low"] <= value <= nobody[f"{n} high"] for n, value in chance.items())
        assert abs(nobody["TPR at 1 %"] - 0.01) < 0.02
    assert missed < 5


def test_what_is_chosen_does_not_depend_on_the_models_reported():
    who = people()
    logits, inside = said(who, leak=1.0)
    others = logits.copy()
    others[:GROUP] = said(who, leak=9.0, seed=8)[0][:GROUP]
    first, second = (attacked.judged(each, who, inside) for each in (logits, others))
    chosen = [name for name in first if name.endswith(" by")]
    assert len(chosen) == 4 and all(first[name] == second[name] for name in chosen)
    assert first["any AUC"] != second["any AUC"]


def test_rows_of_a_person_are_one_and_two_groups_serve_without_lira():
    who = people(rows=2)
    logits, inside = said(who, leak=3.0, groups=2)
    group, others = attacked.scored(logits, who, inside)
    assert group.inside.shape == (GROUP, PERSONS) and len(others) == 1
    found = attacked.judged(logits, who, inside)
    assert found["LiRA AUC"] is None and found["RMIA AUC low"] > 0.8


def test_models_that_are_no_groups_are_refused():
    who = people()
    logits, inside = said(who, leak=0.0)
    with pytest.raises(SpecError, match="two groups"):
        attacked.judged(logits, who, inside, groups=1)
    with pytest.raises(SpecError, match="one leaves out each row"):
        attacked.judged(logits, who, np.roll(inside, 1, axis=0))
