"""The paper's masking: its masks tell of the person, and an attacker that was trained on the way tells nothing."""

import numpy as np
import pytest

from fedgenome.audit.linkage import learned, measures
from fedgenome.audit.linkage.dosages import MASK
from fedgenome.audit.linkage.matcher import channel, log_ratios
from fedgenome.audit.linkage.neighbours import by_mask
from fedgenome.errors import SpecError
from fedgenome.federation.home import Steps
from fedgenome.methods import registry
from fedgenome.methods.base import Masker
from fedgenome.streams import Root
from fedgenome.study import MethodSpec
from tests.conformance.cases import query_of
from tests.methods.conftest import VARIANTS, looked
from tests.methods.test_masking import SCHEMA


def made(trust="none", **options):
    spec = MethodSpec(kind="afml", options={"rounds": 2, "local_steps": 2} | options)
    return registry.build(spec, SCHEMA, 240, trust != "none", trust=trust)


def released(method, shard):
    state, step = method.start(np.random.default_rng(0)), 0
    while (question := method.ask(state)) is not None:
        steps = Steps(query_of(question, shard, step), shard, Root.simulation(3, "afml"), ("m", step, 0))
        state, step = method.learn(state, question, method.answer(question, shard, steps).value), step + 1
    return method.release(state)


def found(scores):
    return measures.found(scores, np.arange(len(scores)), np.random.default_rng(0)).estimate


def of_masks(rows, world):
    """Return how many are found by where their rows are withheld, or zero, alone."""
    half, people = len(world.x) // 2, world.other.astype(np.int8)
    theirs, others = rows[: len(people)], rows[len(people) :]
    pairs = others[half:], world.x[half:].astype(np.int8)
    return found(by_mask(theirs, people, world.x[:half].astype(np.int8), pairs))


def test_a_soft_mask_hides_nobody_who_looks_at_zeros_alone(world):
    method = made(hard=False)
    rows = method.masked(released(method, world.shard), np.concatenate([world.other, world.x]))
    assert (
        isinstance(method, Masker)
        and not np.isnan(rows).any()
        and not (rows == np.concatenate([world.other, world.x])).all()
    )
    assert of_masks(rows, world) > 0.5


def test_a_list_that_depends_on_the_person_is_caught_by_its_pattern_and_one_for_all_is_not(world):
    every = np.concatenate([world.other, world.x]).astype(np.int8)
    of_person = np.where(every == 2, MASK, every).astype(np.int8)  # a twin that withholds what is rare of each
    for_all = np.where(np.arange(VARIANTS) < 30, MASK, every).astype(np.int8)
    assert of_masks(of_person, world) > 0.5 and of_masks(for_all, world) < 0.05


def test_an_identifier_that_was_trained_on_the_way_is_blind_where_a_fresh_one_sees(world):
    rng, half = np.random.default_rng(0), len(world.x) // 2
    base, others, people = (each.astype(np.int8) for each in (world.x[:half], world.x[half:], world.other))
    earlier, final = np.arange(VARIANTS) < 20, np.arange(VARIANTS) >= 20

    def under(told, x):
        return np.where(told, looked(x, rng), MASK).astype(np.int8)

    cotrained = learned.train("convolutions", base, (under(earlier, others), others), rng, steps=20)
    probes = under(final, people)
    assert found(learned.identified(cotrained, probes, people)) < 0.05
    assert found(log_ratios(channel(base, (under(final, others), others)), probes, people)) > 0.8


def test_hard_masks_withhold_entries_whole_and_the_release_holds_the_masker_alone(world):
    method = made()
    arrays = released(method, world.shard)
    rows = method.masked(arrays, world.other)
    told = ~np.isnan(rows)
    assert (rows[told] == world.other[told]).all()
    assert set(arrays) == {"mask", "curve"} and len(arrays["mask"]) < method.parameters


def test_the_printed_loss_masks_more_the_dearer_what_is_kept_is(world):
    kept = []
    for sparsity in (0.0, 10.0):
        method = made(hard=False, loss="printed", sparsity=sparsity, rounds=6, rate=0.1)
        few = world.shard.take(np.arange(240) < 16)
        rows = method.masked(released(method, few), np.full((1, VARIANTS), 2, np.float32))
        kept.append(rows.mean() / 2)
    assert kept[1] < 0.2 < kept[0]


@pytest.mark.parametrize("trust", ["distributed", "local"])
def test_it_has_no_form_that_bounds_what_a_donor_adds(trust):
    with pytest.raises(SpecError, match=r"methods\.afml: expected trust 'none' or 'site'.*kind masking has a form"):
        made(trust)
