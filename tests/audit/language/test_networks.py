"""The audit's walks over the real architectures, whose states differ: cells, growing keys, rotating states."""

import numpy as np
import pytest

from fedgenome.audit.language import canaries, enumeration, extraction, perplexity, search
from fedgenome.audit.language.canaries import Ladder
from fedgenome.audit.language.run import Instruments, look
from fedgenome.audit.language.score import Looks, judge
from fedgenome.cohort.tokens import Tokens
from fedgenome.models.language.sizes import Options, build
from fedgenome.models.parameters import initialise

CAUSAL = ["lstm", "transformer", "state-space", "convolution"]
STRINGS = np.arange(4**4)[:, None] // 4 ** np.arange(3, -1, -1) % 4
NONE = np.empty(0, np.int64)


def model_of(architecture, length=4):
    made = build(Options(architecture=architecture, width=16, layers=2), 4, length)
    initialise(made, np.random.default_rng(1))
    return made


@pytest.mark.parametrize("architecture", CAUSAL)
def test_a_table_is_what_the_model_says_of_whole_strings(architecture):
    model = model_of(architecture)
    expected = perplexity.log_likelihood(model, STRINGS)
    assert enumeration.table(model, 4, nodes=20) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("architecture", CAUSAL)
def test_searches_agree_with_the_table(architecture):
    model = model_of(architecture)
    every = enumeration.table(model, 4)
    found = search.likeliest(model, NONE, 4, batch=5)
    assert found.proven and enumeration.codes(found.tokens[None], 4)[0] == every.argmax()
    assert extraction.beam(model, NONE, 4, 256)[1] == pytest.approx(np.sort(every)[::-1], abs=1e-5)


@pytest.mark.parametrize("architecture", [*CAUSAL, "masked"])
def test_first_weights_have_seen_no_canary(architecture):
    """At a level of .999: a false alarm once in 200 such tests."""
    drawn = canaries.drawn(canaries.uniform(4, 5), Ladder(rates=(1, 8), each=20, controls=40),
                           np.random.default_rng(2))  # fmt: skip
    seen = look(model_of(architecture, 8), drawn, Instruments(alphabet=Tokens(), given=3, window=8))
    found = judge(seen, drawn, Looks(at_bits=4.0), level=0.999)
    assert found.worst.low == 0 and found.worst.p_value > 1e-3
    assert (seen.extracted is None) == (architecture == "masked")


def test_strings_too_many_to_enumerate_have_no_exposure_vector(chain):
    drawn = canaries.drawn(canaries.uniform(4, 11), Ladder(rates=(1,), each=5, controls=5), np.random.default_rng(3))
    seen = look(chain(1), drawn, Instruments(alphabet=Tokens(), given=6))
    assert seen.exposure is None
    assert {each.vector for each in judge(seen, drawn, Looks()).worst.effects} == {"perplexity", "extraction"}


def test_a_reference_stands_where_chance_does_without_one(chain):
    drawn = canaries.drawn(canaries.uniform(4, 5), Ladder(rates=(1,), each=5, controls=5), np.random.default_rng(4))
    bare, beside = (look(chain(1), drawn, Instruments(alphabet=Tokens(), given=3, reference=reference))
                    for reference in (None, chain(1)))  # fmt: skip
    assert bare.score == pytest.approx(2 - bare.bits)
    assert beside.score == pytest.approx(np.zeros(10))
