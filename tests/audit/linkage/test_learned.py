import numpy as np
import pytest
import torch

from fedgenome.audit.linkage import learned, measures
from fedgenome.audit.linkage.dosages import MASK
from fedgenome.errors import SpecError


def masked(dosages):
    """Every fifth variant withheld of everybody."""
    return np.where(np.arange(dosages.shape[1]) % 5 == 0, MASK, dosages).astype(np.int8)


@pytest.mark.parametrize(("kind", "steps"), [("convolutions", 60), ("lstm", 100)])
def test_a_fresh_identifier_finds_people_and_knows_nobody_who_is_not_there(made, kind, steps):
    people, rng = made(np.random.default_rng(1)), np.random.default_rng(0)
    fitted = learned.train(kind, people.base, (masked(people.pairs[0]), people.pairs[1]), rng, steps=steps)
    scores = learned.identified(fitted, masked(people.probes), people.candidates)
    assert measures.found(scores, people.owner, rng).low > 0.3 and fitted.told.sum() == 48
    strangers = measures.found(scores[40:], rng.permutation(80)[:40], rng, 8, 0.998)
    assert strangers.low <= 0.1 <= strangers.high


@pytest.mark.parametrize("kind", ["convolutions", "lstm"])
def test_the_generator_that_is_passed_decides_everything(made, kind):
    people = made(np.random.default_rng(2))
    before = torch.get_rng_state()
    one, other = (learned.train(kind, people.base, people.pairs, np.random.default_rng(3), steps=2) for _ in range(2))
    same = [learned.identified(each, people.probes, people.candidates) for each in (one, other)]
    assert (same[0] == same[1]).all() and (torch.get_rng_state() == before).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "expected steps >= 1, 0 <= error < 1, got steps=0"),
        ({"pairs": (np.full((5, 60), MASK, np.int8), np.zeros((5, 60), np.int8))}, "expected a variant that is told"),
        ({"pairs": (np.zeros((5, 60), np.int8), np.zeros((4, 60), np.int8))}, "expected two pairs"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(made, change, message):
    people = made(np.random.default_rng(4))
    with pytest.raises(SpecError, match=message):
        learned.train("lstm", people.base, **{"pairs": people.pairs, "rng": np.random.default_rng(0), **change})
