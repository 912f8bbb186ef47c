"""Every method under every trust model: it runs as planned and protected as said, or is refused with a remedy."""

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from safetensors.numpy import load, save

from fedgenome import trust
from fedgenome.errors import SpecError
from fedgenome.federation.home import Steps
from fedgenome.methods import registry
from fedgenome.methods.base import Placed
from fedgenome.methods.fedavg import FedAvg
from fedgenome.query import Mechanism
from fedgenome.streams import Root
from fedgenome.study import MethodSpec
from tests.conformance.cases import (
    AT_HOME,
    BOUND,
    KINDS,
    NOISE,
    OPTIONS,
    SCHEMA,
    SHARDS,
    VARIANTS,
    absent,
    draws,
    masked,
    opened,
    query_of,
    schema_of,
)

SITES = 2
STEPS = 3
AVERAGED = [(kind, {**OPTIONS[kind], "local_steps": STEPS}) for kind in ("cvae", "fedsgd", "language", "masking")]
WHOLE = [(kind, OPTIONS[kind]) for kind in AT_HOME]
METHODS = [VARIANTS.get(kind, (kind, OPTIONS.get(kind, {}))) for kind in KINDS] + AVERAGED + WHOLE
MODELS = ("distributed", "local", "site", "none")
SHARD = SHARDS["several rows a donor"]


def build(kind, options, model):
    spec = MethodSpec(kind=kind, noise=1.5, options=options)
    method = registry.build(spec, schema_of(kind), BOUND, model != "none", trust=model, sites=SITES)
    return method if model == "none" else method.at(NOISE)


def supported(kind, options, model):
    try:
        return build(kind, options, model) is not None
    except SpecError:
        return False


CASES = [(kind, options, model) for kind, options in METHODS for model in MODELS if supported(kind, options, model)]
REFUSED = [
    (kind, options, model) for kind, options in METHODS for model in MODELS if not supported(kind, options, model)
]
MARKS = ("local_steps", "normalise")
NAMES = ["-".join([kind, *(mark for mark in MARKS if mark in options), model]) for kind, options, model in CASES]
every_case = pytest.mark.parametrize(("kind", "options", "model"), CASES, ids=NAMES)


def site(query, shard, made=Steps):
    """Return whom a method sees at a site, and its draws: as the agent hands them out."""
    if query.question.unit == "donor":
        return shard, draws(query.step)
    return shard, made(query, shard, Root.simulation(3, "conformance"), ("m", query.step, 0))


def walk(method, model, shard=SHARD):
    """Run ``method`` on a site's answers: yield (step, state, question, answer)."""
    state, step = method.start(np.random.default_rng(1)), 0
    while (asked := method.ask(state)) is not None:
        question = trust.asked(asked, model)
        answer = method.answer(question, *site(query_of(question, shard, step), shard))
        yield step, state, question, answer
        state, step = method.learn(state, question, opened(question, answer.value)), step + 1


@every_case
def test_every_question_is_protected_as_its_trust_model_says(kind, options, model):
    method = build(kind, options, model)
    questions = [question for _, _, question, _ in walk(method, model)]
    assert [trust.check(question, model) for question in questions] == [None] * len(questions) != []


@every_case
def test_a_run_asks_exactly_the_steps_that_its_plan_holds(kind, options, model):
    method, asked = build(kind, options, model), Counter()
    for _, _, question, _ in walk(method, model):
        if question.mechanism is not None:
            asked[question.mechanism.form] += question.mechanism.count
    planned = Counter()
    for placed in [trust.placed(m, model) for m in method.plan(NOISE)] if model != "none" else []:
        planned[placed.form] += placed.count
    assert asked == planned


@every_case
def test_answers_are_finite_and_within_bound_and_release_ends_the_run(kind, options, model):
    method = build(kind, options, model)
    for _, state, question, answer in walk(method, model):
        assert answer.bound == question.bound and answer.value.shape == (question.length,)
        assert np.isfinite(answer.value).all()
        if question.unit == "site":
            assert np.linalg.norm(answer.value) <= question.bound
        last = method.learn(state, question, opened(question, answer.value))
    assert all(np.isfinite(array).all() for array in method.release(last).values())


@every_case
def test_same_state_asks_the_same_question_also_after_a_checkpoint(kind, options, model):
    method = build(kind, options, model)
    for step, state, question, _ in walk(method, model):
        again = trust.asked(method.ask(load(save(state))), model)
        assert query_of(again, SHARD, step).digest == query_of(question, SHARD, step).digest


@pytest.mark.parametrize(("kind", "options", "model"), REFUSED)
def test_what_a_method_cannot_do_is_refused_with_a_remedy(kind, options, model):
    with pytest.raises(SpecError, match=rf"methods\.{kind}.*expected .*trust '(distributed|local)'|local_steps out"):
        build(kind, options, model)


def test_local_is_refused_to_selections_and_whole_sites_alone_and_distributed_to_steps_at_home():
    assert {(kind, str(options)) for kind, options, model in CASES if model == "local"} == {
        (kind, str(options)) for kind, options in METHODS if kind not in ("tree", *AT_HOME)
    }
    assert {(kind, model) for kind, _, model in REFUSED if model != "site"} == {
        ("tree", "local"),
        *((kind, model) for kind in AT_HOME for model in ("local", "distributed")),
        *((kind, "distributed") for kind, _ in AVERAGED),
    }


# ---- A whole site's vector ---------------------------------------------------------------------------------

EMPTY = SHARDS["no rows"]


def zeroed(method, model, shard):
    """Return how far emptying the site moves each integer answer, in units of the sensitivity."""
    moves = []
    for step, _, question, answer in walk(method, model, shard):
        query = query_of(question, shard, step)
        none = method.answer(question, *site(query, EMPTY))
        moves.append(np.linalg.norm(np.rint(query.scale * answer.value) - np.rint(query.scale * none.value)))
        moves[-1] /= query.sensitivity
    return moves


@pytest.mark.parametrize("name", SHARDS)
def test_under_site_emptying_a_site_moves_every_answer_by_at_most_the_sensitivity(name):
    method = build(*AVERAGED[0], "site")
    assert max(zeroed(method, "site", SHARDS[name])) <= 1


@pytest.mark.parametrize("model", ["local", "site"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, -1e4, 0.0])
def test_move_from_any_crafted_weights_is_finite_and_within_its_bound(model, value):
    method = build(*AVERAGED[0], model)
    question = move_question(method, model)
    crafted = replace(question, payload={"weights": np.full_like(question.payload["weights"], value)})
    move = method.answer(crafted, *site(query_of(crafted, SHARD, 1), SHARD)).value
    assert np.isfinite(move).all() and np.linalg.norm(move) <= question.bound


class CountsDonors(FedAvg):
    """Label counts of donors where a site's shares are asked."""

    def answer(self, question, sample, rng):
        return super().answer(replace(question, unit="donor") if not question.payload else question, sample, rng)


def twin_of(twin, model):
    method = build(*AVERAGED[0], model)
    return twin(**{field.name: getattr(method, field.name) for field in fields(method)})


def test_site_that_answers_with_donors_counts_is_caught():
    assert max(zeroed(twin_of(CountsDonors, "site"), "site", SHARDS["one row a donor"])) > 1.2


# ---- Steps at home -----------------------------------------------------------------------------------------


class Watched(Steps):
    """Steps that keep the first clipped sum before its noise."""

    first = None

    def noisy_sum(self, answer):
        def kept(sample, draws):
            total = answer(self._shard, draws)  # everybody, so that each removal shows
            self.first = total if self.first is None else self.first
            return total

        return super().noisy_sum(kept)


def first_sum(method, question, shard):
    _, steps = site(query_of(question, SHARD, 1), shard, Watched)
    method.answer(question, EMPTY, steps)
    return steps.first


def move_question(method, model):
    return [question for _, _, question, _ in walk(method, model)][1]


@pytest.mark.parametrize("without", [masked, absent])
def test_removing_a_donor_moves_a_local_step_by_at_most_its_bound(without):
    method = build(*AVERAGED[0], "local")
    question = move_question(method, "local")
    whole = first_sum(method, question, SHARD)
    moves = [
        np.linalg.norm(whole.value - first_sum(method, question, without(SHARD, d)).value)
        for d in range(SHARD.n_donors)
    ]
    assert whole.bound == method.options.clip and 0.9 * whole.bound < max(moves) <= whole.bound * (1 + 1e-6)


def one_step(made, donors):
    """Return the norm of a site's move in one exact step."""
    spec = MethodSpec(kind="cvae", options={**OPTIONS["cvae"], "local_steps": 1, "clip": 1e-3})
    built = registry.build(spec, SCHEMA, BOUND, False, sites=SITES)
    method = made(**{field.name: getattr(built, field.name) for field in fields(built)})
    question = move_question(built, "none")
    keep = np.arange(12) < donors
    shard = SHARDS["one row a donor"].take(keep)
    return np.linalg.norm(method.answer(question, *site(query_of(question, shard, 1), shard)).value) / (
        built.options.local_rate * built.options.clip
    )


class DividesByTheBatch(FedAvg):
    """The mean over those who happen to be there."""

    def _gradient(self, rng, payload):
        return super()._gradient(rng, payload) * self._expected / max(1, rng._shard.n_donors)


def test_one_donor_moves_a_site_by_the_public_share_and_dividing_by_the_batch_is_caught():
    public = BOUND / SITES
    assert one_step(FedAvg, 1) == pytest.approx(1 / public, rel=1e-3)
    assert one_step(DividesByTheBatch, 1) > 2 / public


def test_local_training_sees_its_donors_through_noised_steps_only():
    method = build(*AVERAGED[0], "local")
    question = move_question(method, "local")
    assert question.mechanism == Mechanism(
        kind="gaussian", level=NOISE * 1.5, sampling=0.5, count=STEPS, where="home", scope="cvae"
    )
    with pytest.raises(SpecError, match="expected a question to a whole site"):
        method.answer(question, SHARD, draws(1))


def test_a_method_without_a_trust_model_does_not_start():
    spec = MethodSpec(kind="cvae", options=AVERAGED[0][1])
    bare = registry.KINDS["cvae"](spec, SCHEMA, BOUND, True)
    assert isinstance(bare, Placed)
    with pytest.raises(SpecError, match="a trust model before it starts"):
        bare.at(NOISE).start(np.random.default_rng(0))
