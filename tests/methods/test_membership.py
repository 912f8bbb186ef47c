"""Histograms of nearness: a donor moves one count, copies lie in the first bin, and the same release asks the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedgenome.audit import charged
from fedgenome.cohort import canaries
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.methods.membership import HELD, MEMBERS
from fedgenome.methods.nearness import IN, OUT, edges, guesses, nearness, one_hot
from fedgenome.privacy.coins import DonorNormals
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema, Vocabulary

GENES = 12
SCHEMA = Schema(genes=tuple(f"G{i}" for i in range(GENES)), labels=("x", "y"), high=8.0, unit="donor")
DRAWS = DonorNormals(Root.simulation(1, "membership"), ())


def build(kind="membership", **options):
    return registry.build(MethodSpec(kind=kind, options=options), SCHEMA, 2000, private=False)


def people(n, rng, held=0.0):
    x = np.clip(4 + rng.normal(size=(n, GENES)), 0, 8).astype(np.float32)
    names = tuple(f"donor-{i}" for i in range(n))
    whole = Shard(x=x, label=np.arange(n) % 2, donor=np.arange(n), donors=names, mask=np.ones(n, bool))
    return replace(whole, held=rng.random(n) < held)


def released(method, shard):
    start = method.start(np.random.default_rng(0))
    question = method.ask(start)
    return method.release(method.learn(start, question, method.answer(question, shard, DRAWS).value))


def counts_of(shard, rows):
    """What a site answers about rows that are sent as they are."""
    method = build(rows=len(rows))
    fresh = nearness(people(len(rows), np.random.default_rng(9)).x, rows)
    start = method.start(np.random.default_rng(0)) | {"rows": rows, "edges": edges(fresh)}
    question = method.ask(start)
    return method.answer(question, shard, DRAWS).value[:-1].reshape(2, -1)


@given(
    arrays(np.float32, (7, 3), elements=st.floats(0, 8, width=32)),
    arrays(np.float32, (5, 3), elements=st.floats(0, 8, width=32)),
)
def test_nearness_is_the_nearest_distance_over_the_root_mean_square(x, rows):
    apart = np.linalg.norm(x[:, None].astype(float) - rows[None], axis=2)
    mean = np.sqrt((apart**2).mean(axis=1))
    naive = np.divide(apart.min(axis=1), mean, out=np.ones(len(x)), where=mean > 0)
    assert nearness(x, rows) == pytest.approx(naive, abs=1e-6)


def test_a_copy_is_at_zero_and_lies_in_the_first_bin():
    shard = people(30, np.random.default_rng(1))
    rows = np.concatenate([shard.x[:10], people(20, np.random.default_rng(2)).x])
    assert nearness(shard.x[:10], rows).tolist() == [0] * 10
    assert counts_of(shard, rows)[MEMBERS, 0] == pytest.approx(10)


def test_held_donors_are_counted_apart():
    shard = people(50, np.random.default_rng(3), held=0.3)
    counts = counts_of(shard, people(30, np.random.default_rng(4)).x)
    assert counts[HELD].sum() == pytest.approx(shard.held.sum())
    assert counts[MEMBERS].sum() == pytest.approx((~shard.held).sum())


def test_a_donor_of_many_records_counts_once_and_one_without_any_not_at_all():
    shard = people(6, np.random.default_rng(5))
    x = shard.x.copy()
    x[3] = np.nan
    several = Shard(x=x, label=shard.label, donor=np.array([0, 0, 0, 1, 2, 2]), donors=("a", "b", "c"), mask=shard.mask)
    assert counts_of(several, people(30, np.random.default_rng(6)).x).sum() == pytest.approx(2)


def test_rows_and_edges_follow_from_what_was_released_alone():
    """A resumed run asks the same question; another release, another one."""
    generator, method = build("marginals"), build(rows=20)
    arrays_ = released(generator, people(40, np.random.default_rng(10)))
    start = method.start(np.random.default_rng(0))
    first, again = (method.follow(start, generator, dict(arrays_)) for _ in range(2))
    other = method.follow(start, generator, arrays_ | {"label_weights": np.array([0.4, 0.6])})
    assert method.ask(first).payload["rows"].tobytes() == method.ask(again).payload["rows"].tobytes()
    assert (first["rows"] != other["rows"]).any()
    assert (np.diff(first["edges"]) > 0).all()


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"rows": np.zeros((19, GENES), np.float32)}, "a payload of shapes"),
        ({"rows": np.full((20, GENES), np.nan, np.float32)}, "finite rows"),
        ({"edges": np.zeros(11)}, "edges that rise"),
        ({"more": np.zeros(1)}, "a payload of shapes"),
    ],
)
def test_a_crafted_payload_is_refused(payload, words):
    method = build(rows=20)
    question = method.ask(method.start(np.random.default_rng(0)))
    crafted = replace(question, payload={**question.payload, **payload})
    with pytest.raises(SpecError, match=words):
        method.answer(crafted, people(4, np.random.default_rng(7)), DRAWS)


@pytest.mark.parametrize(
    ("of", "earlier"), [(None, ()), ("linear", ("linear", "marginals")), ("other", ("marginals",))]
)
def test_it_needs_a_generator_before_it(of, earlier):
    with pytest.raises(SpecError, match=r"membership\.options\.of: expected"):
        build(of=of).followed({kind: build(kind) for kind in earlier})


def test_a_table_that_holds_members_is_caught_and_one_that_never_saw_them_is_not():
    """Noise of 5 a count; 600 members, 200 held; a third of the members copied. One-sided p < 1e-3 against p > .01."""
    rng = np.random.default_rng(8)
    shard = people(800, rng, held=0.25)
    noise = rng.normal(0, 5, (2, 12))
    clean, copied = people(300, rng).x, shard.x[~shard.held][:200]
    caught = charged.found("m", counts_of(shard, np.concatenate([copied, clean[:100]])) + noise, 5.0)
    free = charged.found("m", counts_of(shard, clean) + noise, 5.0)
    assert caught.p_value < 1e-3
    assert free.p_value > 0.01


def right_of(copied, *, count=200, seed=11):
    """Guess who of ``count`` canaries is in a table of people, their own copies ``copied`` times beside them."""
    rng = np.random.default_rng(seed)
    x, label = canaries.rows(SCHEMA, 0, count)
    planted = rng.random(count) < 0.5
    rows = np.concatenate([people(600, rng).x, *[x[planted]] * copied])
    codes = np.concatenate([np.arange(600) % 2, *[label[planted]] * copied])
    guess = guesses(x, label, rows, codes)
    return guess, int((guess == np.where(planted, IN, OUT)).sum())


def test_copied_canaries_are_guessed_and_refute_a_small_epsilon():
    guess, right = right_of(copied=1)
    seen = charged.guessed(guess, right, 2.0, 1e-5, claimed=1.0)
    assert (guess != 0).sum() == 100 and seen.refuted and seen.bound.epsilon > 1


def test_canaries_that_nothing_depends_on_refute_no_epsilon():
    """20 audits, one-sided at .05 together with the noise's half: at most 4 alarms (p < 1e-2 of five)."""
    found = [right_of(copied=0, seed=seed) for seed in range(20)]
    rng = np.random.default_rng(12)
    bounds = [charged.guessed(guess, right + rng.normal(0, 2), 2.0, 1e-5, None).bound.epsilon for guess, right in found]
    assert sum(bound > 0 for bound in bounds) <= 4


def test_noise_takes_right_guesses_down():
    exact, noised = (charged.guessed(np.repeat([1, -1], 50), 90.0, noise, 1e-5, None).bound.epsilon for noise in (0, 9))
    assert noised < exact


def test_sites_count_right_guesses_of_their_own_canaries_and_keep_canaries_out_of_the_bins():
    shard = people(30, np.random.default_rng(13))
    planted = np.array([True, False, True, False, True, False])
    method = build(rows=20).holding(2, 6)
    start = method.start(np.random.default_rng(0))
    guess = np.array([0] * 6 + [1, 1, -1, -1, 1, 0], np.int8)
    question = method.ask(start | {"guess": guess})
    told = method.answer(question, canaries.beside(shard, SCHEMA, 6, planted), DRAWS).value
    assert told[-1] == pytest.approx(3)  # numbers 6, 9 and 10
    assert told[:-1].sum() == pytest.approx(30)


# ---- Sequences ---------------------------------------------------------------------------------------------

LETTERS = Schema(
    genes=tuple(map(str, range(8))), labels=("x",), high=4.0, unit="donor", tokens=Vocabulary(letters="ACGT")
)


def test_tokens_are_names_and_an_unknown_one_is_near_to_none():
    rows = one_hot(np.array([[0, 3], [3, 0], [4, 3]]), 4)
    apart = ((rows[:, None] - rows[None]) ** 2).sum(2)
    assert apart.tolist() == [[0, 4, 1], [4, 0, 3], [1, 3, 0]]


def test_of_sequences_the_canaries_that_the_model_knows_are_guessed():
    # A model that was trained on every other canary: right guesses of half of 40, by chance with p < 1e-6.
    x, _ = canaries.rows(LETTERS, 0, 40)
    inside = np.arange(40) % 2 == 0
    spec = MethodSpec(kind="language", options={"architecture": "lstm", "width": 32, "layers": 1, "rounds": 150})
    model = registry.build(spec, LETTERS, 20, private=False)
    known = Shard(
        x=x[inside],
        label=np.zeros(20, np.int64),
        donor=np.arange(20),
        donors=tuple(map(str, range(20))),
        mask=np.ones(20, bool),
    )
    state = model.start(np.random.default_rng(0))
    while (question := model.ask(state)) is not None:
        state = model.learn(state, question, model.answer(question, known, DRAWS).value)
    audited = registry.build(MethodSpec(kind="membership", options={"rows": 50}), LETTERS, 2000, private=False)
    held = audited.holding(1, 40)
    guess = held.follow(held.start(np.random.default_rng(0)), model, model.release(state))["guess"]
    assert (guess != 0).sum() == 20 and (guess[inside] == OUT).sum() + (guess[~inside] == IN).sum() == 0
