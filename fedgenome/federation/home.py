"""What a site adds at home: its own noise, all of it, on integers (DESIGN §6, trust model ``local``).

Every draw is keyed by the site's secret root and the query's moment: no other site, step or attempt has
the same one, and a coordinator that knows all queries knows none of the noise. As a moment is known before its
sum, a second thread draws while the sum is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import DonorStreams
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.privacy.coins import DonorNormals, Moment, chosen
from fedgenome.query import Array, Query, Question, choose_scale
from fedgenome.secure import noise, ring
from fedgenome.secure.ahead import Ahead
from fedgenome.streams import Root


def begin_noise(query: Query, root: Root, moment: Moment) -> Ahead | None:
    """Begin to draw this site's own discrete Gaussian noise of standard deviation ``query.sigma_home``.

    None where sites add none. A moment's noise is for one sum: who begins it twice adds it once.
    """
    if not query.sigma_home:
        return None
    stream = root.stream(*moment, "noise")
    return Ahead(noise.sampler(query.sigma_home), query.question.length, query.width, stream)


class Steps:
    """A site's local training for one query: the only way from its shard to a site's vector.

    Each step has a Poisson sample with coins of its own and noise of its own, of the multiplier and rate
    that the query's mechanism names, as often as it counts; without noise at home (trust ``site`` and
    ``none``) a step is the exact sum over the shard.
    """

    def __init__(self, query: Query, shard: Shard, root: Root, moment: Moment) -> None:
        self._query, self._shard, self._root, self._moment = query, shard, root, moment
        mechanism = query.question.mechanism
        self._noise = mechanism.form if mechanism is not None and mechanism.where == "home" else None
        self._most = mechanism.count if mechanism is not None and self._noise else None
        self._taken = 0
        self._expected: Query | None = None  # what the last step's sum was noised as

    def normal(self, donors: Sequence[str], size: int) -> Array:
        """Return draws of the query as a whole, (len(donors), size) float32."""
        return DonorNormals(self._root, self._moment).normal(donors, size)

    def noisy_sum(self, answer: Callable[[Shard, DonorStreams], ClippedSum]) -> Array:
        """Return ``answer`` over the next step's sample, noised, float64.

        An empty sample is noised like any other. How much noise follows from the bound that the clipped sum
        carries.

        Raises:
            SpecError: the query pays for fewer steps.
        """
        require(
            self._most is None or self._taken < self._most, "no more local steps than are paid for", paid=self._most
        )
        moment = (*self._moment, "local", self._taken)
        self._taken += 1
        if self._noise is None:
            return answer(self._shard, DonorNormals(self._root, moment)).value
        # A step's noise follows from its sum's bound: most likely that of the step before.
        expected = self._expected
        drawn = begin_noise(expected, self._root, moment) if expected else None
        sample = self._shard.take(chosen(self._root, moment, self._shard.donors, self._noise.sampling))
        total = answer(sample, DonorNormals(self._root, moment))
        if expected is None or not total.suits(expected.question):
            self._expected = expected = self._inner(total)
            drawn = begin_noise(expected, self._root, moment)
        words = ring.encode(total.value, expected.scale, expected.width)
        if drawn:
            drawn.add_to(words)
        return ring.decode(words, expected.scale, expected.width)

    def _inner(self, total: ClippedSum) -> Query:
        """Return how a step's sum is rounded and noised: as a sum at home would leave, but for this site alone."""
        require(total.norm == "l2", "a sum clipped in L2", norm=total.norm)
        query, length = self._query, len(total.value)
        question = Question(
            payload={},
            length=length,
            reply_length=length,
            bound=total.bound,
            mechanism=self._noise,
            precision=total.precision,
        )
        return Query(
            question=question,
            study=query.study,
            run=query.run,
            method=query.method,
            step=query.step,
            attempt=query.attempt,
            scale=choose_scale(question, query.terms),
            terms=query.terms,
        )
