"""How near a release's rows lie to its members and to donors kept from it: two histograms, in one charged query.

An audit without pooling (DESIGN §7.10): a site scores its own donors against rows drawn from the release, and only
sums of counts leave, through the secure sum and with noise. The score of a record is its distance to the nearest row
over its root mean square distance to all rows; of a donor with several records, their mean. It is a function of the
rows and of that one donor, so that a donor moves one count by 1, whoever else is at the site. Bins are fixed by the
rows alone. Who is held is the site's coin (``Study.holdout``), which nobody else knows.

Beside people, canaries (``cohort.canaries``): from the rows alone, of sequences from the model's loss, it is guessed of
half of them whether they are in, fixed before it is asked. Sites tell in one more number, summed with the rest, how
many guesses are right.
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
from fedgenome.methods.base import DonorStreams, Generator, Method, Scored
from fedgenome.methods.nearness import BINS, IN, OUT, edges, guessed, guesses, nearness, one_hot
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.strict import Strict
from fedgenome.study import MethodSpec, Name, Schema

Floats = npt.NDArray[np.float64]

KIND = "membership"
MEMBERS, HELD = 0, 1  # rows of the released counts


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
        guess = np.zeros(math.prod(self.canaries), np.int8)
        counted = {"counts": np.zeros((2, BINS)), "right": np.array(0.0)}
        return {
            "step": np.array(0, np.int64),
            "rows": rows,
            "edges": np.linspace(0.1, 1, BINS - 1),
            "guess": guess,
            **counted,
        }

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
        if self.schema.tokens is None:
            guess = guesses(x, label, sent, codes[:n])
        elif isinstance(method, Scored):
            guess = guessed(-method.losses(arrays, x, label))
        else:
            raise SpecError(f"methods.{self.name}.options.of: expected a method that tells losses of sequences")
        return state | {"rows": sent, "edges": edges(self._nearness(fresh, sent)), "guess": guess}

    def _nearness(self, x: Array, rows: Array) -> Floats:
        """Return how near ``rows`` come to each record; tokens are names, and compared as such."""
        if self.schema.tokens is None:
            return nearness(x, rows)
        return nearness(*(one_hot(each, self.schema.tokens.size) for each in (x, rows)))

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
        rows, ends, guess = self._payload(question)
        genes = len(self.schema.genes)
        require(sample.x.shape[1] == genes, f"a shard of the schema's {genes} genes", genes=sample.x.shape[1])
        seen = sample.mask & np.isfinite(sample.x).all(axis=1)
        score = np.zeros(len(seen))
        score[seen] = self._nearness(sample.x[seen], rows)
        records = np.bincount(sample.donor[seen], minlength=sample.n_donors)
        mean = np.bincount(sample.donor, score, minlength=sample.n_donors) / np.maximum(records, 1)
        at = np.where(sample.held, HELD, MEMBERS) * BINS + np.searchsorted(ends, mean, side="right")
        made = (sample.canary >= 0) & (sample.canary < len(guess))
        at[made] = 2 * BINS
        told = np.ones(sample.n_donors, np.float32)
        told[made] = guess[sample.canary[made]] == np.where(sample.held[made], OUT, IN)
        one = np.zeros((sample.n_donors, 2 * BINS + 1), np.float32)
        one[np.arange(len(one)), at] = told
        return sum_rows(one, np.arange(len(one)), records > 0, question.bound)

    def _payload(self, question: Question) -> tuple[Array, Array, Array]:
        rows = (self.options.rows, len(self.schema.genes))
        shapes = {"rows": rows, "edges": (BINS - 1,), "guess": (math.prod(self.canaries),)}
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


def _generator(arrays: Mapping[str, Array]) -> np.random.Generator:
    """Return a generator keyed by what was released; it hides nothing."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(name.encode() + b"\0" + np.asarray(array, order="C").data)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest()[:16], "big")))
