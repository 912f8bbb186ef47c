"""Histograms of nearness: a donor moves one count, copies lie in the first bin, and the same release asks the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedgenome.audit import charged
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.methods.membership import HELD, MEMBERS, nearness
from fedgenome.privacy.coins import DonorNormals
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema

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
    edges = np.sort(
        np.concatenate([[0.1, 0.25, 0.5], np.quantile(fresh, (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99))])
    )
    question = method.ask(method.start(np.random.default_rng(0)) | {"rows": rows, "edges": edges})
    return method.answer(question, shard, DRAWS).value.reshape(2, -1)


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
