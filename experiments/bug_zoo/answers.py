"""Answers in which one donor is not bounded: charged to two accounts, normalised by the batch, never clipped.

Seen by what refuses them in the library, and by the conformance test: every donor is removed in turn, and the integer
answer must move by no more than the sensitivity charged.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from experiments.bug_zoo.verdicts import Detector, Verdict, anything, as_a
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods.base import DonorStreams, Method
from fedgenome.methods.fedsgd import FedSgd
from fedgenome.privacy import accounts
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.privacy.gradients import sum_gradients
from fedgenome.query import Question

_LOOSE = 1e6  # no gradient is as long
ACCOUNTS = Detector(name="privacy.accounts.admit", statistic="refusals, above 0", fires=anything)
_SCAN = Detector(name="privacy.gradients.sum_gradients", statistic="refusals, above 0", fires=anything)
_CONFORMANCE = Detector(
    name="tests/conformance/cases.py: farthest",
    statistic="largest move by one donor / sensitivity, above 1",
    fires=lambda moves: moves > 1,
)


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts on answers."""
    yield ACCOUNTS.once("a donor in two accounts of a site", twice(range(5, 15)), twice(range(10, 20)))
    yield _SCAN.once("batch normalisation", scanned(nn.BatchNorm1d(8)), scanned(nn.GroupNorm(2, 8)))
    correct = moved(FedSgd)
    for bug, made in (("batch normalisation by hand", CentresOnTheBatch), ("a method that forgets to clip", Unclipped)):
        yield _CONFORMANCE.once(bug, moved(made), correct)


def twice(second: Sequence[int]) -> int:
    """Return 1 if a site of donors 0 to 9 refuses a second account for donors ``second``."""
    with tempfile.TemporaryDirectory() as folder:
        return refused(Path(folder), range(10), "a") or refused(Path(folder), second, "b")


def refused(folder: Path, donors: Sequence[int], account: str, form: str = "P-{}") -> int:
    """Return 1 if a site's folder refuses ``donors`` for ``account``."""
    try:
        accounts.admit(folder, account * 32, [form.format(i) for i in donors], "donor")
    except SpecError:
        return 1
    return 0


def scanned(norm: nn.Module) -> int:
    """Return 1 if a model with the layer ``norm`` of eight features is refused."""
    model = nn.Sequential(nn.Linear(6, 8), norm, nn.Linear(8, 3))
    rng = np.random.default_rng(0)
    x, label = torch.from_numpy(rng.normal(size=(20, 6)).astype(np.float32)), torch.arange(20) % 3

    def loss(model: nn.Sequential, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return functional.cross_entropy(model(inputs[0]), inputs[1], reduction="none")

    try:
        sum_gradients(model, loss, (x, label), torch.arange(20), torch.ones(20, dtype=torch.bool), 1.0)
    except SpecError:
        return 1
    return 0


# ---- The conformance test --------------------------------------------------------------------------------


class Unclipped(FedSgd):
    """Nothing is clipped; the engine is told that it was."""

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the sum of raw gradients."""
        return super().answer(replace(question, bound=_LOOSE), sample, rng)


class CentresOnTheBatch(FedSgd):
    """Batch normalisation that no scan of layers sees."""

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the gradients of rows less their mean."""
        centre = sample.x.mean(0) if len(sample.x) else 0.0
        return super().answer(question, replace(sample, x=sample.x - centre), rng)


def moved(made: type[FedSgd]) -> float:
    """Return how far a donor moves an answer of a whole run, at most, in units of the sensitivity charged."""
    cases: Any = importlib.import_module("tests.conformance.cases")  # without types
    method: Method = as_a(made, cases.build("cvae"))
    shard = cases.SHARDS["an outlier"]
    return max(
        float(cases.farthest(method, cases.query_of(question, shard, step), shard, cases.absent))
        for step, _, question in cases.walk(method, shard)
        if question is not None
    )
