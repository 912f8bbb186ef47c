"""A method trained in this process as by one trusted server: exact sums and the accountant's noise in floating point.

What ``distributed`` gives where no party colludes, without shares, rounding and discreteness. With t colluders the
three parties' noise has 3 / (3 − t) of the variance. A selection has what it has there, whoever colludes: scores are
whole, and each of three parties adds geometric noise of its own, fresh for every winner.
"""

from __future__ import annotations

import math

import numpy as np

from fedgenome.cohort.shard import Shard
from fedgenome.methods.base import Method
from fedgenome.privacy.coins import DonorNormals, chosen
from fedgenome.query import PARTIES, Array, Question
from fedgenome.selection import Selection, scale_of
from fedgenome.streams import Root


def trained(
    method: Method, shard: Shard, root: Root, noise: np.random.Generator, start: np.random.Generator, colluders: int = 0
) -> dict[str, Array]:
    """Return what ``method`` releases after training on all donors of ``shard``.

    Args:
        method: At its noise level.
        root: Of donors' coins.
        noise: Of the server's noise.
        start: Of the method's first state.

    """
    state, step = method.start(start), 0
    wider = math.sqrt(PARTIES / (PARTIES - colluders))
    while (question := method.ask(state)) is not None:
        mechanism, moment = question.mechanism, (method.name, step, 0)
        some = mechanism is not None and mechanism.sampling < 1
        sample = shard.take(chosen(root, moment, shard.donors, mechanism.sampling)) if mechanism and some else shard
        total = np.asarray(method.answer(question, sample, DonorNormals(root, moment)).value, np.float64)
        if question.reduce == "select":
            state, step = method.learn(state, question, _winners(question, total, noise)), step + 1
            continue
        sigma = wider * mechanism.level * question.bound if mechanism else 0.0
        state, step = method.learn(state, question, total + sigma * noise.standard_normal(total.shape)), step + 1
    return method.release(state)


def _winners(question: Question, scores: Array, noise: np.random.Generator) -> Array:
    """Return the indices of the largest noised ``scores`` (length,), largest first; ties go to the lowest index."""
    left, found = np.asarray(scores, np.float64) * scale_of(question.bound), []
    rate = _rate(question)
    for _ in range(question.reply_length):
        draws = noise.geometric(-math.expm1(-rate), (PARTIES, len(left))).sum(0) - PARTIES if rate else 0
        found.append(int(np.argmax(left + draws)))
        left[found[-1]] = -math.inf
    return np.array(found, np.int64)


def _rate(question: Question) -> float:
    """Return the rate of a party's noise in a score (:attr:`Selection.rate`); 0 without noise."""
    if question.mechanism is None:
        return 0.0
    selection = Selection(
        scores=question.length,
        winners=question.reply_length,
        epsilon=question.mechanism.level,
        sensitivity=int(scale_of(question.bound) * question.bound),
        units=1,
        monotone=question.monotone,
    )
    return float(selection.rate)
