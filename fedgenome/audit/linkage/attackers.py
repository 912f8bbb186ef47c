"""Every attacker of the library, fitted from nothing to other people: name → what it says of probes and candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from fedgenome.audit.linkage import imputation, looks, matcher, neighbours
from fedgenome.audit.linkage.dosages import MASK, MISSING
from fedgenome.audit.linkage.kinship import kinship
from fedgenome.errors import require
from fedgenome.query import Array

Attack = Callable[[Array, Array], Array]  # probes, candidates → scores (probes, candidates)
MATCHER, NETWORKS = "likelihood matcher", ("siamese convolutions", "LSTM")
ENOUGH = 0.95  # of other people found by a closed form: no network need be trained to find them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Others:
    """People that attackers are fitted to: neither probes nor candidates.

    Attributes:
        base: Panel records of people who are in no pair (people, variants).
        pairs: Others' records, masked as the release is, and their panel records row by row.
        contig: Of each variant; None: nothing is imputed.
        position: In base pairs, int (variants,).
    """

    base: Array
    pairs: tuple[Array, Array]
    contig: Array | None = None
    position: Array | None = None

    def __post_init__(self) -> None:
        shown, owners = self.pairs
        require(shown.shape == owners.shape and len(shown) >= 2, "two pairs", got=(shown.shape, owners.shape))
        require((self.contig is None) == (self.position is None), "contig and position of variants, or neither")

    @property
    def panel(self) -> Array:
        """Everybody's panel record, those of the pairs first."""
        return np.concatenate([self.pairs[1], self.base])

    @property
    def owner(self) -> Array:
        """Which record of the panel is each pair's."""
        return np.arange(len(self.pairs[0]))

    def at(self, chosen: Array) -> Others:
        """Return the same people at the chosen variants, with nothing to impute."""
        return Others(base=self.base[:, chosen], pairs=(self.pairs[0][:, chosen], self.pairs[1][:, chosen]))


def closed_forms(others: Others, told: Array, by_person: bool, rng: np.random.Generator) -> dict[str, Attack]:
    """Return the attackers that train no network.

    Args:
        others: Dosages, or numbers with NaN where they are not told.
        told: bool (variants,): what the release tells of anybody.
        by_person: Masks are not the same for everybody.
        rng: Draws pairs for the regression.
    """
    near = others.at(told)
    whole = _whole(others.pairs[0])
    found = _of_dosages(near, rng) if whole else _of_numbers(near)
    attacks = {name: _at(told, attack) for name, attack in found.items()}
    if by_person:
        attacks["masks alone"] = _of_masks(others)
    if whole and others.contig is not None:
        attacks["matcher after imputation"] = _imputing(others, told)
    return attacks


def networks(others: Others, told: Array, steps: int | None, rng: np.random.Generator) -> dict[str, Attack]:
    """Return the attackers that learn on dosages, in as many steps as is usual if ``steps`` is None."""
    from fedgenome.audit.linkage import learned  # loads torch
    from fedgenome.models.masking.identifiers import Kind

    near = others.at(told)
    kinds: tuple[Kind, ...] = ("convolutions", "lstm")
    trained = {
        name: learned.train(kind, near.panel, near.pairs, rng, steps=steps or learned.STEPS)
        for name, kind in zip(NETWORKS, kinds, strict=True)
    }
    return {name: _at(told, partial(learned.identified, fitted)) for name, fitted in trained.items()}


def matching(others: Others) -> Attack:
    """Return the likelihood matcher of dosages or of numbers."""
    return _of_numbers(others)[MATCHER] if not _whole(others.pairs[0]) else _matcher(others)


def hidden(released: Array, others: Others) -> Array:
    """Return what a mask shows by itself, bool (people, variants): which entries are withheld.

    A zero of expression is a value; of what the panel has as dosages it may be a soft mask's.
    """
    soft = _whole(released) or _whole(others.base)
    return neighbours.withheld(released) > 0 if soft else np.isnan(released)


def _whole(values: Array) -> bool:
    return bool(np.issubdtype(values.dtype, np.integer))


def _matcher(others: Others) -> Attack:
    return partial(matcher.log_ratios, matcher.channel(others.panel, others.pairs))


def _of_masks(others: Others) -> Attack:
    """Return the likelihood matcher on which entries are withheld, whatever the told ones hold."""
    if _whole(others.base):
        return partial(neighbours.by_mask, base=others.panel, pairs=others.pairs)

    def shown(released: Array) -> Array:
        return np.asarray(hidden(released, others), np.float64)

    near = looks.fit(others.panel, (shown(others.pairs[0]), others.pairs[1]))
    return lambda probes, candidates: looks.log_ratios(near, shown(probes), candidates)


def _of_dosages(others: Others, rng: np.random.Generator) -> dict[str, Attack]:
    regression = neighbours.regression(others.pairs[0], others.panel, others.owner, rng)
    return {
        MATCHER: _matcher(others),
        "nearest record": neighbours.agreement,
        "nearest alleles": neighbours.identity_by_state,
        "regression": partial(neighbours.regressed, regression),
        "closest kin": lambda probes, candidates: _finite(kinship(probes, candidates)),
    }


def _of_numbers(others: Others) -> dict[str, Attack]:
    fitted = looks.fit(_numbers(others.panel), (others.pairs[0], _numbers(others.pairs[1])))

    def on(attack: Callable[[looks.Looks, Array, Array], Array]) -> Attack:
        return lambda probes, candidates: _finite(attack(fitted, probes, _numbers(candidates)))

    return {MATCHER: on(looks.log_ratios), "nearest record": on(looks.nearness)}


def _imputing(others: Others, told: Array) -> Attack:
    require(others.contig is not None and others.position is not None, "contig and position of variants")
    guesses = imputation.fit(others.panel, told, np.asarray(others.contig), np.asarray(others.position))
    reached = told.copy()
    reached[guesses.hidden] = True

    def guessed(probes: Array) -> Array:
        return imputation.impute(guesses, np.where(told, probes, MASK).astype(np.int8))[:, reached]

    fitted = matcher.channel(others.panel[:, reached], (guessed(others.pairs[0]), others.pairs[1][:, reached]))
    return lambda probes, candidates: matcher.log_ratios(fitted, guessed(probes), candidates[:, reached])


def _at(told: Array, attack: Attack) -> Attack:
    return lambda probes, candidates: attack(probes[:, told], candidates[:, told])


def _numbers(values: Array) -> Array:
    """Return dosages as numbers, NaN where none is told; numbers as they are."""
    return np.where(values <= MISSING, np.nan, values) if _whole(values) else values


def _finite(scores: Array) -> Array:
    """Return scores with whom nothing can be said of behind all others."""
    known = np.isfinite(scores)
    return np.where(known, scores, scores[known].min(initial=0.0) - 1.0)
