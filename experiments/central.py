"""A method trained in this process as by one trusted server: exact sums and the accountant's noise in floating point.

What ``distributed`` gives where no party colludes, without shares, rounding and discreteness. With t colluders the
three parties' noise has 3 / (3 − t) of the variance.
"""

from __future__ import annotations

import math

import numpy as np

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import Method
from fedgenome.privacy.coins import DonorNormals, chosen
from fedgenome.query import PARTIES, Array
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

    Raises:
        SpecError: it asks for another reduction than a sum.
    """
    state, step = method.start(start), 0
    wider = math.sqrt(PARTIES / (PARTIES - colluders))
    while (question := method.ask(state)) is not None:
        require(question.reduce == "sum", "a method of sums", reduce=question.reduce)
        mechanism, moment = question.mechanism, (method.name, step, 0)
        some = mechanism is not None and mechanism.sampling < 1
        sample = shard.take(chosen(root, moment, shard.donors, mechanism.sampling)) if mechanism and some else shard
        total = np.asarray(method.answer(question, sample, DonorNormals(root, moment)).value, np.float64)
        sigma = wider * mechanism.level * question.bound if mechanism else 0.0
        state, step = method.learn(state, question, total + sigma * noise.standard_normal(total.shape)), step + 1
    return method.release(state)
