"""Bugs that we have no detector for: each is shown to the nearest one. A bug that it comes to see leaves this list."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.bug_zoo import answers, noise, unpaid
from experiments.bug_zoo.unpaid import Desk, Release
from experiments.bug_zoo.verdicts import Kind, Verdict
from fedgenome.query import Array

MISSED: Kind = "missed"
FAILURES = 1e-3  # chance that a query's noise is left out: a hundred times δ
LITTLE = 0.99  # of the noise


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts on what is missed."""
    yield from _identities()
    asked = noise.query(noise.LENGTH, at_home=True)
    full = noise.of_site(asked, noise.root("north"))
    little = noise.of_stream(asked, LITTLE * asked.sigma_home, noise.root("north"), "m", 0, 0)
    for bug, broken in (("noise left out once in 1000 queries", _failing(full)), ("1 % less noise", little)):
        yield noise.AMOUNT.once(bug, noise.p_value(asked, broken), noise.p_value(asked, full), MISSED)
    copy = unpaid.reads(beside, 1.0)
    yield unpaid.DETECTOR.once("bin edges at a copy's quantiles", copy, unpaid.reads(unpaid.honest, 1.0), MISSED)


def _identities() -> Iterator[Verdict]:
    correct = answers.twice(range(10, 20))
    for bug, broken in (("a person under two ids", two_ids()), ("a donor at two sites", two_sites())):
        yield answers.ACCOUNTS.once(bug, broken, correct, MISSED)


def two_ids() -> int:
    """Return 1 if a site refuses a second account for its own donors under other ids."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        return answers.refused(site, range(10), "a") or answers.refused(site, range(10), "b", "patient {}")


def two_sites() -> int:
    """Return 1 if one of two sites refuses the same donors: each has a key of its own."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        return answers.refused(Path(one), range(10), "a") or answers.refused(Path(other), range(10), "b")


def _failing(full: Array) -> Array:
    """Return noise of which a thousandth, at random, is not there."""
    return np.where(np.random.default_rng(4).random(len(full)) < FAILURES, 0.0, full)


def beside(desk: Desk) -> Release:
    """Edges of a file that lies beside the shard: no shard is read."""
    copy = unpaid.people()
    return unpaid.edged(desk, copy.x)
