"""Membership attacks on language models: those on classifiers, where a base is a record whose class is the letter.

A donor's signal is the mean over the bases of all of the donor's rows. Then the attacks are those of
:mod:`fedgenome.audit.membership`, on one record a donor: loss, loss under reference models, LiRA, RMIA, and all of
them stacked. Who was a member of the target is no part of the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial

import numpy as np
import torch

from fedgenome.audit import measure, signals
from fedgenome.audit.language.steps import as_tensor
from fedgenome.audit.membership import attacks, rmia
from fedgenome.audit.membership.attacks import OFFLINE, ONLINE, Known
from fedgenome.audit.membership.evidence import Evidence, Population
from fedgenome.audit.results import Attack
from fedgenome.audit.signals import Signals
from fedgenome.errors import require
from fedgenome.models.language.base import Causal, LanguageModel
from fedgenome.query import Array

_ROWS = 256  # that a model reads together

# Per base probabilities of two models differ by little: a ratio of 2 would be nobody's, so the pairwise ratio from
# which a record wins is 1.
_EVEN = 1.0

_NAMES = (
    *("loss", "attack-P", "attack-R", "calibrated-loss"),
    *("LiRA-online", "LiRA-offline", "LiRA-calibrated", "RMIA-online", "RMIA-offline", "stacked"),
)
ATTACKS: dict[str, Known] = {name: attacks.ATTACKS[name] for name in _NAMES} | {
    "RMIA-online": Known(score=partial(rmia.online, gamma=_EVEN), threat=ONLINE, population=True),
    "RMIA-offline": Known(score=partial(rmia.offline, gamma=_EVEN), threat=OFFLINE, population=True),
}


def of_donors(model: LanguageModel, tokens: Array, donor: Array) -> Signals:
    """Return the signals of donors under a model, (donors,) each, in the order of sorted donors.

    Each is the mean over the donor's known tokens, but the margin: it is minus the mean loss, the log-likelihood a
    token, whose law over trainings is near normal as a sum of many is.

    Args:
        model: The model; a masked one is asked for one position at a time, all others shown.
        tokens: int (rows, length).
        donor: Whose row it is, int (rows,).

    Raises:
        SpecError: a donor without a known token.
    """
    people, whose = np.unique(donor, return_inverse=True)
    names = [field.name for field in fields(Signals)]
    sums, bases = {name: np.zeros(len(people)) for name in names}, np.zeros(len(people))
    for start in range(0, len(tokens), _ROWS):
        some = slice(start, start + _ROWS)
        known = tokens[some] < model.vocabulary
        seen = signals.of_logits(_logits(model, tokens[some])[known], tokens[some][known])
        mine = np.repeat(whose[some], known.sum(1))
        bases += np.bincount(mine, minlength=len(people))
        for name in names:
            sums[name] += np.bincount(mine, weights=getattr(seen, name), minlength=len(people))
    require(bool((bases > 0).all()), "a known token for every donor")
    mean = Signals(**{name: total / bases for name, total in sums.items()})
    return replace(mean, margin=-mean.loss)


def _logits(model: LanguageModel, tokens: Array) -> Array:
    """Return the logits of every token, float (rows, length, V), a masked model's with that token alone hidden."""
    read = as_tensor(tokens)
    with torch.no_grad():
        if isinstance(model, Causal):
            return np.asarray(model(read).numpy())
        places = torch.eye(read.shape[1], dtype=torch.bool)
        columns = [model(read, place.expand(read.shape))[:, t] for t, place in enumerate(places)]
        return torch.stack(columns, 1).numpy()


def gather(
    target: LanguageModel,
    shadows: Sequence[LanguageModel],
    inside: Array,
    group: Array,
    *,
    people: tuple[Array, Array],
    others: tuple[Array, Array] | None = None,
) -> Evidence:
    """Return what the attacks may see.

    Args:
        target: The model that is attacked.
        shadows: Trained as it was, on donors of the auditor's choice.
        inside: Which donors are in which, bool (models, donors), from :func:`fedgenome.audit.shadows.draws.inside`;
            donors in sorted order.
        group: Which shadows were drawn together, int (models,).
        people: Tokens and donors of the rows in question, members' and controls'.
        others: Tokens and donors of people whom no model saw, for attacks that compare with them.
    """
    return Evidence(
        label=np.zeros(len(np.unique(people[1])), np.int64),
        target=of_donors(target, *people),
        shadows=_stacked([of_donors(each, *people) for each in shadows]),
        inside=inside,
        group=group,
        population=others
        and Population(
            target=of_donors(target, *others), shadows=_stacked([of_donors(each, *others) for each in shadows])
        ),
    )


def _stacked(every: Sequence[Signals]) -> Signals:
    return Signals(**{field.name: np.stack([getattr(each, field.name) for each in every]) for field in fields(Signals)})


def scores(evidence: Evidence) -> dict[str, Array]:
    """Return every attack's scores of donors, larger for members; those that need others only where there are."""
    given = evidence.population is not None
    return {name: known.score(evidence) for name, known in ATTACKS.items() if given or not known.population}


def judged(found: dict[str, Array], member: Array) -> tuple[Attack, ...]:
    """Return what scores achieved. Here membership is read for the first time.

    Args:
        found: Scores of donors, (donors,), by attack.
        member: Whether the target was trained on a donor, bool (donors,).
    """
    return tuple(
        measure.of_scores(name, ATTACKS[name].threat, each[member], each[~member]) for name, each in found.items()
    )
