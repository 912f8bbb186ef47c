"""The score's ends: 0 for a model that saw nothing, near 1 for one that recites, and level by simulation."""

import json
from functools import partial

import numpy as np
import pytest

from fedgenome.audit.bounds import effects
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.language import canaries, enumeration
from fedgenome.audit.language.canaries import Ladder
from fedgenome.audit.language.run import Instruments, look
from fedgenome.audit.language.score import Looks, Seen, judge
from fedgenome.cohort.tokens import Tokens
from fedgenome.errors import SpecError

LADDER = Ladder(rates=(1, 8), each=30, controls=60, coins=60)
BY = Instruments(alphabet=Tokens(), given=5)
LOOKS = Looks(at_bits=5.0)
LEVEL, DRAWS = 0.8, 150
ALLOWED = 0.2 + 3 * (0.2 * 0.8 / DRAWS) ** 0.5  # a sound bound exceeds it once in 700 such tests


@pytest.fixture
def planted():
    return canaries.drawn(canaries.uniform(4, 7), LADDER, np.random.default_rng(1))


def test_a_model_that_never_saw_them_scores_0_at_its_lower_end(planted, chain):
    found = judge(look(chain(2), planted, BY), planted, LOOKS)
    assert found.worst.low == 0 and not found.void
    assert {each.vector for each in found.worst.effects} == {"perplexity", "exposure", "extraction", "coins"}
    assert found.worst.p_value > 0.01


def test_a_model_that_recites_them_scores_nearly_1(planted, reciting):
    found = judge(look(reciting(planted.tokens[planted.repeats > 0]), planted, BY), planted, LOOKS)
    ends = {each.vector: each.low for each in found.worst.effects}
    assert found.worst.low > 0.9 and not found.void
    assert min(ends.values()) > 0.6  # each of four ways by itself finds it
    assert [rung.auc for rung in found.rungs] == [0.5, 1.0, 1.0]


def test_only_rungs_that_are_looked_at_count(planted, reciting):
    model = reciting(planted.tokens[planted.repeats >= 8])
    all_rungs, high = (judge(look(model, planted, BY), planted, Looks(at_bits=5.0, least=n)) for n in (1, 8))
    assert high.worst.low > 0.8 > all_rungs.worst.low


def test_the_negative_control_fires_where_controls_are_no_like_draws(planted):
    """The broken twin: half of what should be controls was planted after all."""
    control = np.flatnonzero(planted.control)
    bits = np.full(len(planted), 2.0)
    bits[control[:30]] = 0.1
    seen = Seen(bits=bits, reference=np.full(len(planted), 2.0), exposure=None, extracted=None)
    assert judge(seen, planted, LOOKS).void


def test_further_vectors_are_paid_for(planted, chain):
    counts = Counts(hits=50, members=50, false_alarms=0, controls=50)
    people = partial(effects.advantage, "people", counts)
    seen = look(chain(2), planted, BY)
    found = judge(seen, planted, LOOKS, [people])
    assert found.worst.vector == "people" and len(found.worst.effects) == 5
    assert found.worst.low > 0.7


def test_a_score_is_plain_json(planted, chain):
    found = judge(look(chain(2), planted, BY), planted, LOOKS)
    kept = json.loads(json.dumps(found.to_json()))
    assert kept["void"] is False and kept["worst"]["low"] == 0 and kept["rungs"][0]["repeats"] == 0


def test_a_ladder_of_controls_alone_is_refused(chain):
    nothing = canaries.drawn(canaries.uniform(4, 7), Ladder(rates=(), controls=20), np.random.default_rng(3))
    with pytest.raises(SpecError, match="2 planted canaries and 4 controls"):
        judge(look(chain(1), nothing, BY), nothing, LOOKS)


def _audits(chain, ranked_alike, draws=DRAWS):
    """Audits of one model that saw nothing; what is planted, and the coins, are drawn anew each time."""
    rng, law = np.random.default_rng(4), chain(5, rows=20)
    every, log_law = (enumeration.table(model, 7) for model in (chain(6), law))
    ladder = Ladder(rates=(1,), each=25, controls=30, coins=20)
    for _ in range(draws):
        drawn = canaries.drawn(canaries.matched(law, 7), ladder, rng)
        bits = -every[enumeration.codes(drawn.tokens, 4)] / 7 / np.log(2)
        shown = enumeration.exposures(every, drawn.tokens, 4, None if ranked_alike else log_law)
        said = rng.random(len(drawn)) < 0.3
        yield judge(Seen(bits=bits, reference=np.full(len(bits), 2.0), exposure=shown, extracted=said),
                    drawn, Looks(at_bits=3.0), level=LEVEL).worst  # fmt: skip


def test_without_a_leak_lower_ends_are_above_0_as_seldom_as_they_say(chain):
    seen = list(_audits(chain, ranked_alike=False))
    assert np.mean([each.low > 0 for each in seen]) <= ALLOWED
    assert np.mean([each.p_value < 0.2 for each in seen]) <= ALLOWED
    assert np.mean([each.estimate > 0 for each in seen]) > 0.8  # a maximum: no evidence


def test_canaries_like_the_data_ranked_among_all_strings_raise_false_alarms(chain):
    """The broken twin: exposure as if they were drawn uniformly."""
    assert np.mean([each.low > 0 for each in _audits(chain, ranked_alike=True, draws=40)]) > 0.8
