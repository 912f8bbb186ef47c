"""What a site adds at home: its own noise, all of it, on integers (DESIGN §6, trust model ``local``).

Every draw is keyed by the site's secret root and the query's moment: no other site, step or attempt has
the same one, and a coordinator that knows all queries knows none of the noise.
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
from fedgenome.secure.ring import Words
from fedgenome.streams import Root


def add_noise(words: Words, query: Query, root: Root, moment: Moment) -> None:
    """Add this site's own discrete Gaussian noise of standard deviation ``query.sigma_home``, in place."""
    if query.sigma_home:
        noise.sampler(query.sigma_home).add_to(words, root.stream(*moment, "noise"))


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
        sample = self._shard
        if self._noise is not None:
            sample = sample.take(chosen(self._root, moment, sample.donors, self._noise.sampling))
        total = answer(sample, DonorNormals(self._root, moment))
        return total.value if self._noise is None else self._noised(total, moment)

    def _noised(self, total: ClippedSum, moment: Moment) -> Array:
        """Round to integers, add noise, and read back: as a sum at home would leave, but for this site alone."""
        query, length = self._query, len(total.value)
        question = Question(
            payload={},
            length=length,
            reply_length=length,
            bound=total.bound,
            mechanism=self._noise,
            precision="float32",  # whatever the method adds in, the dearer of both is charged
        )
        inner = Query(
            question=question,
            study=query.study,
            run=query.run,
            method=query.method,
            step=query.step,
            attempt=query.attempt,
            scale=choose_scale(question, query.terms),
            terms=query.terms,
        )
        words = ring.encode(total.value, inner.scale, inner.width)
        add_noise(words, inner, self._root, moment)
        return ring.decode(words, inner.scale, inner.width)
