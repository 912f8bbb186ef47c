"""How near a release's rows lie to its members and to donors kept from it: two histograms, in one charged query.

An audit without pooling (DESIGN §7.10): a site scores its own donors against rows drawn from the release, and only
sums of counts leave, through the secure sum and with noise. The score of a record is its distance to the nearest row
over its root mean square distance to all rows; of a donor with several records, their mean. It is a function of the
rows and of that one donor, so that a donor moves one count by 1, whoever else is at the site. Bins are fixed by the
rows alone. Who is held is the site's coin (``Study.holdout``), which nobody else knows.

Beside people, canaries (``cohort.canaries``): from the rows alone it is guessed of half of them whether they are in,
fixed before it is asked, and sites tell in one more number, summed with the rest, how many guesses are right.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fedgenome.cohort import canaries
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError, require
from fedgenome.methods.base import DonorStreams, Generator, Method
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.strict import Strict
from fedgenome.study import MethodSpec, Name, Schema

Floats = npt.NDArray[np.float64]

KIND = "membership"
MEMBERS, HELD = 0, 1  # rows of the released counts
IN, OUT = 1, -1  # guesses
_OUTER = 0.2  # of the range, at either end
_FEWEST = 4  # canaries: of fewer none is guessed
_NEAR = (0.1, 0.25, 0.5)  # edges whatever the rows are like: copies lie below the first
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)  # of rows not sent, at whose scores the other edges are
_CELLS = 1 << 22  # distances held at once: 32 MiB


class Options(Strict):
    """Options of ``membership``."""

    of: Name | None = Field(default=None, description="the method whose rows are sent; default: the first generator")
    rows: int = Field(default=2000, ge=20, le=100_000, description="rows drawn from its release and sent to the sites")


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Counts of members and of held donors by how near the release's rows come to them.

    State: ``step``; ``rows`` (rows, genes) float32, what is sent; ``edges`` (11,) float64, rising; ``counts``
    (2, 12) float64, members first; ``guess`` (canaries,) int8: 1 in, -1 out, 0 not guessed; ``right`` float64, of them.

    Attributes:
        name: Label of the spec.
        schema: Public facts about the data.
        options: Its options.
        factor: Noise relative to the study's other methods.
        private: False under trust none: no mechanism.
        noise: The calibrated noise level; None until :meth:`at`.
        canaries: Sites, and canaries at each.
    """

    name: str
    schema: Schema
    options: Options
    factor: float
    private: bool
    noise: float | None = None
    canaries: tuple[int, int] = (0, 0)

    @classmethod
    def build(cls, spec: MethodSpec, options: Options, schema: Schema, private: bool) -> Self:
        """Return the method that ``spec`` describes."""
        return cls(name=spec.label, schema=schema, options=options, factor=spec.noise, private=private)

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the one Gaussian sum; nothing under trust none."""
        if not self.private:
            return ()
        return (Mechanism(kind="gaussian", level=noise * self.factor, scope=self.name),)

    def holding(self, sites: int, canaries: int) -> Self:
        """Return this method for a study whose sites each hold so many canaries."""
        return replace(self, canaries=(sites, canaries))

    def at(self, noise: float) -> Self:
        """Return this method with its noise level set."""
        return replace(self, noise=noise)

    def start(self, rng: np.random.Generator) -> State:
        """Return the state before it is known what is released: no rows."""
        require(not self.private or self.noise is not None, f"methods.{self.name}: a noise level before it starts")
        rows = np.zeros((self.options.rows, len(self.schema.genes)), np.float32)
        edges = np.linspace(_NEAR[0], 1, len(_NEAR) + len(_SHARES))
        guess = np.zeros(math.prod(self.canaries), np.int8)
        counted = {"counts": np.zeros((2, len(edges) + 1)), "right": np.array(0.0)}
        return {"step": np.array(0, np.int64), "rows": rows, "edges": edges, "guess": guess, **counted}

    def followed(self, earlier: Mapping[str, Method]) -> str:
        """Return the label of the generator that it audits: ``of``, or the first of ``earlier``.

        Raises:
            SpecError: there is no such generator.
        """
        able = [label for label, method in earlier.items() if isinstance(method, Generator)]
        if not able or (self.options.of is not None and self.options.of not in able):
            which = f"one of {', '.join(able)}" if able else "a method that generates rows"
            seen = self.options.of or "no such method"
            raise SpecError(f"methods.{self.name}.options.of: expected {which}, before it in the file, got {seen}")
        return self.options.of or able[0]

    def follow(self, state: State, method: Method, arrays: Mapping[str, Array]) -> State:
        """Return the state with rows of the release to be audited, and edges from as many rows again.

        Drawing them is post-processing, and drawn again they are the same: a resumed run asks the same question.
        """
        if not isinstance(method, Generator):
            raise SpecError(f"methods.{self.name}.options.of: expected a method that generates rows")
        n, rng = self.options.rows, _generator(arrays)
        codes = rng.choice(len(self.schema.labels), 2 * n, p=method.label_weights(arrays))
        drawn = method.sample(arrays, codes, rng)
        sent, fresh = drawn[:n], drawn[n:]
        x, label = canaries.rows(self.schema, 0, len(state["guess"]))
        guess = guesses(x, label, sent, codes[:n])
        return state | {"rows": sent, "edges": _edges(nearness(fresh, sent)), "guess": guess}

    def ask(self, state: State) -> Question | None:
        """Ask for both histograms and the right guesses at once; then None."""
        if state["step"]:
            return None
        length = state["counts"].size + 1
        return Question(
            payload={name: state[name] for name in ("rows", "edges", "guess")},
            length=length,
            reply_length=length,
            bound=1.0,
            mechanism=self.plan(self.noise)[0].form if self.noise is not None and self.private else None,
        )

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return how many members, and then held donors, have their mean score in each bin, and the right guesses.

        A record with a value that is not finite has no score, and a donor without a score is not counted. Canaries
        are in no bin.
        """
        rows, edges, guess = self._payload(question)
        genes = len(self.schema.genes)
        require(sample.x.shape[1] == genes, f"a shard of the schema's {genes} genes", genes=sample.x.shape[1])
        seen = sample.mask & np.isfinite(sample.x).all(axis=1)
        score = np.zeros(len(seen))
        score[seen] = nearness(sample.x[seen], rows)
        records = np.bincount(sample.donor[seen], minlength=sample.n_donors)
        mean = np.bincount(sample.donor, score, minlength=sample.n_donors) / np.maximum(records, 1)
        bins = len(edges) + 1
        at = np.where(sample.held, HELD, MEMBERS) * bins + np.searchsorted(edges, mean, side="right")
        made = (sample.canary >= 0) & (sample.canary < len(guess))
        at[made] = 2 * bins
        told = np.ones(sample.n_donors, np.float32)
        told[made] = guess[sample.canary[made]] == np.where(sample.held[made], OUT, IN)
        one = np.zeros((sample.n_donors, 2 * bins + 1), np.float32)
        one[np.arange(len(one)), at] = told
        return sum_rows(one, np.arange(len(one)), records > 0, question.bound)

    def _payload(self, question: Question) -> tuple[Array, Array, Array]:
        genes, edges = len(self.schema.genes), len(_NEAR) + len(_SHARES)
        shapes = {"rows": (self.options.rows, genes), "edges": (edges,), "guess": (math.prod(self.canaries),)}
        found = {name: array.shape for name, array in question.payload.items()}
        require(found == shapes, f"a payload of shapes {shapes}", shapes=found)
        told = question.payload
        sound = np.isfinite(told["rows"]).all() and (np.diff(told["edges"]) > 0).all()
        require(bool(sound), "finite rows, and edges that rise")
        return told["rows"], told["edges"], told["guess"]

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the noisy counts, and the noisy number of right guesses."""
        counts = total[:-1].reshape(state["counts"].shape)
        return state | {"step": np.array(1, np.int64), "counts": counts, "right": np.array(total[-1])}

    def release(self, state: State) -> dict[str, Array]:
        """Return ``counts`` (2, bins) float64, members first, nearest first, ``edges`` (bins − 1,), and the guesses."""
        require(bool(state["step"]), f"methods.{self.name}: a finished run")
        return {name: state[name] for name in ("counts", "edges", "guess", "right")}


def guesses(x: Array, label: Array, rows: Array, codes: Array) -> npt.NDArray[np.int8]:
    """Return for each canary a guess from rows of the release: 1 for the highest quarter, -1 for the lowest, else 0.

    Ranked by the sum of three standardised scores, fixed before any release was seen: how near the nearest row is, and
    how far rows of the canary's label go its way more than all rows do, once by their mean and once by how many of
    their values lie in the outer fifth of the range at its end. The first sees copies, the others sums and tables.

    Args:
        x: The canaries, (n, genes) at the ends of the range.
        label: Their labels, int64 (n,).
        rows: Rows drawn from the release, (rows, genes).
        codes: Their labels, int64 (rows,).
    """
    told = np.zeros(len(x), np.int8)
    if len(x) < _FEWEST:
        return told
    low, high = float(x.min()), float(x.max())
    up = x == high
    outer = _OUTER * (high - low)
    scores = [
        -nearness(x, rows),
        _own(np.where(up, 1.0, -1.0), label, rows, codes),
        _own(up, label, rows >= high - outer, codes) + _own(~up, label, rows <= low + outer, codes),
    ]
    order = np.argsort(sum(score / max(float(score.std()), 1e-30) for score in scores), kind="stable")
    told[order[-(len(x) // 4) :]], told[order[: len(x) // 4]] = IN, OUT
    return told


def _own(side: Array, label: Array, rows: Array, codes: Array) -> Floats:
    """Return side · (mean of the rows of a canary's label − mean of all rows), (n,)."""
    middle = rows.mean(axis=0)
    one = [
        rows[codes == code].mean(axis=0) - middle if (codes == code).any() else 0 * middle for code in np.unique(label)
    ]
    return np.asarray(np.einsum("ij,ij->i", side, np.stack(one)[np.unique(label, return_inverse=True)[1]]))


def nearness(x: Array, rows: Array) -> Floats:
    """Return each record's distance to the nearest of ``rows`` over its root mean square distance to them, (n,).

    0 for a copy, up to 1; 1 where all rows are the record itself.

    Args:
        x: (n, genes), finite.
        rows: (rows, genes), finite.
    """
    table = rows.astype(np.float64)
    squares = np.einsum("ij,ij->i", table, table)
    step = max(1, _CELLS // max(1, len(table)))
    parts = [_nearness(x[i : i + step].astype(np.float64), table, squares) for i in range(0, len(x), step)]
    return np.concatenate([np.zeros(0), *parts])


def _nearness(x: Floats, table: Floats, squares: Floats) -> Floats:
    partial = squares - 2 * x @ table.T  # without |x|², the same for all rows
    nearest = partial.argmin(axis=1)
    near = np.linalg.norm(x - table[nearest], axis=1)  # by differences: a copy is at exactly 0
    mean = np.sqrt(np.maximum(partial.mean(axis=1) + np.einsum("ij,ij->i", x, x), near**2))
    return np.asarray(np.divide(near, mean, out=np.ones(len(x)), where=mean > 0))


def _edges(scores: Floats) -> Floats:
    """Return rising edges: the fixed ones, and quantiles of ``scores``, each above the one before."""
    edges = np.sort(np.concatenate([_NEAR, np.quantile(scores, _SHARES)]))
    for i in range(1, len(edges)):
        edges[i] = max(edges[i], np.nextafter(edges[i - 1], math.inf))
    return edges


def _generator(arrays: Mapping[str, Array]) -> np.random.Generator:
    """Return a generator keyed by what was released; it hides nothing."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(name.encode() + b"\0" + np.asarray(array, order="C").data)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest()[:16], "big")))
