"""Canaries of a file, looked for in a released language model: who planted them knows how often each was there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fedgenome.audit.bounds import effects
from fedgenome.audit.language.canaries import Canaries
from fedgenome.audit.language.run import Instruments, look
from fedgenome.audit.language.score import FEWEST, FEWEST_CONTROLS, Looks, Score, judge
from fedgenome.audit.results import Attack, Audit
from fedgenome.cohort.h5ad import open_h5ad
from fedgenome.cohort.table import dense
from fedgenome.cohort.tokens import Tokens
from fedgenome.errors import SpecError
from fedgenome.models.language.base import LanguageModel
from fedgenome.study import Schema, Vocabulary

REPEATS = "repeats"  # obs column: how often a canary was planted; 0: drawn alike, and not planted
_GIVEN = 4  # one token in so many is shown when the rest is to be completed


def read(path: Path, schema: Schema) -> Canaries:
    """Return the canaries of an h5ad of codes: what windows began with, and ``obs["repeats"]``.

    All must be drawn uniformly over all strings: their exposure is by that law, and means nothing of others.

    Args:
        path: A row a canary, as ``fedgenome ingest`` lays out windows; fewer positions than a window are its beginning.
        schema: Of the Study that the model is of.

    Raises:
        SpecError: another file, other tokens, an unknown token, no number of repeats for each, or too few to judge.
    """
    table, tokens, positions = open_h5ad(str(path), "X"), _tokens(schema), len(schema.genes)
    if table.tokens not in (None, tokens):
        raise SpecError(f"{path}: expected tokens of {tokens}, as the model's are, got {table.tokens}")
    codes = dense(table.x)
    if not 2 <= codes.shape[1] <= positions:
        raise SpecError(f"{path}: expected 2 to {positions} positions, a window's beginning, got {codes.shape[1]}")
    wrong = np.argwhere((codes < 0) | (codes >= tokens.size) | (codes != np.floor(codes)))
    if len(wrong):
        row, position = wrong[0]
        where = f"row {table.rows[row]}, position {table.genes[position]}"
        raise SpecError(f"{path}: {where}: expected a known token, 0 … {tokens.size - 1}, got {codes[row, position]:g}")
    repeats = _repeats(path, table.columns)
    if (planted := int((repeats > 0).sum())) < FEWEST or len(repeats) - planted < FEWEST_CONTROLS:
        rule = f"expected {FEWEST} planted canaries and {FEWEST_CONTROLS} that are not, or more"
        raise SpecError(f"{path}: obs[{REPEATS!r}]: {rule}, got {planted} and {len(repeats) - planted}")
    none = np.zeros(len(codes), np.int64)
    return Canaries(tokens=codes.astype(np.int64), repeats=repeats, coin=none.astype(np.bool_), site=none)


def _repeats(path: Path, columns: Mapping[str, object]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if REPEATS not in columns:
        raise SpecError(f"{path}: expected an obs column {REPEATS!r}, how often each canary was planted, got none")
    try:
        told = np.array([float(str(value)) for value in columns[REPEATS]])  # type: ignore[attr-defined]
    except ValueError:
        told = np.array([np.nan])
    if not bool((np.isfinite(told) & (told >= 0) & (told == np.floor(told))).all()):
        raise SpecError(f"{path}: obs[{REPEATS!r}]: expected whole numbers of at least 0")
    return told.astype(np.int64)


def _tokens(schema: Schema) -> Vocabulary:
    if schema.tokens is None:
        raise SpecError("expected a release of sequences, got one of expression")
    return schema.tokens


def of_model(audit: Audit, method: str) -> tuple[Attack, ...]:
    """Return the attacks on the model of one method, of an audit of several or of one."""
    return tuple(each for each in audit.attacks if each.of == "model" and each.name.startswith(f"{method}: "))


def score(model: LanguageModel, schema: Schema, canaries: Canaries, attacks: Sequence[Attack]) -> Score:
    """Return the memorization score of a released model: by its canaries, and by what the audit says of people.

    Membership joins the vectors as the audit's attacks on the model have it, 2·AUC − 1 each.

    Args:
        model: With its released weights.
        schema: Of the Study that it is of.
        canaries: What was planted, and what was not.
        attacks: On this model, of members and controls.
    """
    by = Instruments(
        alphabet=Tokens.of(_tokens(schema)),
        given=max(1, canaries.tokens.shape[1] // _GIVEN),
        window=len(schema.genes),
    )
    people = [partial(_membership, attack) for attack in attacks]
    return judge(look(model, canaries, by), canaries, Looks(), people)


def _membership(attack: Attack, tails: effects.Tails) -> effects.Effect:
    members, controls = (group.by_donor() for group in attack.groups)
    return effects.ranking(f"membership: {attack.name}", members, controls, tails)
