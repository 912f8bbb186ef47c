"""Made-up evidence: margins are a record's own mean, a gift for those who were IN, and a training's noise."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from fedgenome.audit.membership.evidence import Evidence, Population
from fedgenome.audit.shadows import draws
from fedgenome.audit.signals import of_logits


@pytest.fixture
def made() -> Callable[..., tuple[Evidence, np.ndarray]]:
    """``made(seed, gift=0.0, leak=None)``: evidence, and who was a member.

    ``gift`` is what members gain in shadows, ``leak`` what they gain in the target; if not said, the same.
    """

    def make(seed, gift=0.0, leak=None, records=120, models=16, people=50):
        rng = np.random.default_rng(seed)
        inside, group = draws.inside(records, models, Fraction(1, 2), rng)
        member = rng.permutation(records) < records // 2
        label, others = rng.integers(0, 3, records), rng.integers(0, 3, people)

        def seen(who, bonus):
            base = rng.normal(0, 1.5, len(who))
            said = [base + bonus, *(np.zeros((2, *np.shape(bonus))) + rng.normal(0, 0.3, (2, *np.shape(bonus))))]
            said[0] = said[0] + rng.normal(0, 0.5, np.shape(bonus))
            logits = np.moveaxis(np.stack(said), 0, -1)
            at = np.broadcast_to((np.arange(3) - who[:, None]) % 3, logits.shape)
            return of_logits(np.take_along_axis(logits, at, -1), who)

        all_in = np.concatenate([member[None] * (gift if leak is None else leak), inside * gift])
        records_seen, people_seen = seen(label, all_in), seen(others, np.zeros((models + 1, people)))
        population = Population(target=people_seen[0], shadows=people_seen[1:])
        evidence = Evidence(
            label=label,
            target=records_seen[0],
            shadows=records_seen[1:],
            inside=inside,
            group=group,
            population=population,
        )
        return evidence, member

    return make
