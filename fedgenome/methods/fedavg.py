"""Federated averaging: several steps at home before a site answers (McMahan et al. 2017; Reddi et al. 2021).

A round sends weights; a site takes ``local_steps`` gradient steps and answers with how far they moved the
weights. Under trust ``local`` every one of these steps is noised at home and paid for, so that the move is
post-processing and is clipped only for the ring's sake. Under ``site`` the move is clipped to what one site
may say, and noised in the secure sum. The coordinator takes the mean move for a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from fedgenome.addition import gradient_precision
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError, require
from fedgenome.methods.base import DonorStreams, HomeSteps
from fedgenome.methods.fedsgd import FedSgd
from fedgenome.methods.fedsgd import Options as FedSgdOptions
from fedgenome.methods.rounds import Options, Rounds
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.study import TrustModel

_SLACK = 4.0  # a step's clipped sum is taken to be at most so many times its public expectation


@dataclass(frozen=True, kw_only=True)
class AtHome(Rounds[Options]):
    """A method of rounds, trained by several steps at every site a round. Comes before that method among the bases.

    Attributes:
        trust: Who noises what; None until :meth:`under`.
        sites: Number of sites S: the mean is over all of them, whoever answered.
    """

    trust: TrustModel | None = None
    sites: int = 1

    def under(self, trust: TrustModel, sites: int) -> Self:
        """Return this method under ``trust`` at so many sites.

        Raises:
            SpecError: trust ``distributed``: a move of several steps is no sum of clipped donors.
        """
        if trust == "distributed":
            raise SpecError(
                f"methods.{self.name}.options.local_steps: expected trust 'local' or 'site': a site's move over "
                "several steps is no sum of clipped donors; leave local_steps out for trust 'distributed'"
            )
        return replace(self, trust=trust, sites=sites)

    @property
    def local_steps(self) -> int:
        """Steps E that a site takes a round."""
        return self.options.local_steps or 1

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the method's plan, its rounds of E noised steps each under ``local``, one vector under ``site``."""
        planned = super().plan(noise)
        if not planned:
            return ()
        *before, rounds = planned
        if self.trust == "site":
            return *before, replace(rounds, sampling=1.0)
        return *before, replace(rounds, count=rounds.count * self.local_steps, where="home")

    def mechanism(self, position: int) -> Mechanism | None:
        """Return the form of the plan's mechanism at ``position``: of a round, all of its steps."""
        found = super().mechanism(position)
        if found is not None and self.trust == "local" and position == -1:
            return replace(found, count=self.local_steps)
        return found

    def start(self, rng: np.random.Generator) -> State:
        """Return the method's first state."""
        require(self.trust is not None, f"methods.{self.name}: a trust model before it starts")
        return super().start(rng)

    def ask(self, state: State) -> Question | None:
        """Ask what the method asks before its rounds, then for a move a round, then None."""
        question = super().ask(state)
        if question is None:
            return None
        if not self.of_round(question):
            return replace(question, unit="site" if self.trust == "site" else "donor")
        return replace(question, bound=self._move_bound(question.mechanism), unit="site", precision="float64")

    def _move_bound(self, mechanism: Mechanism | None) -> float:
        """Return the clip norm of a site's move: under ``local`` what noised steps hardly ever pass."""
        options = self.options
        if self.trust == "site":
            return options.site_clip
        level = mechanism.level if mechanism else 0.0
        noise = 1.5 * level * options.clip * math.sqrt(self.parameters)
        signal = _SLACK * options.clip * self._expected
        return self.local_steps * options.local_rate * (signal + noise) / self._expected

    @property
    def _expected(self) -> float:
        """Public number of donors that a site's step is divided by: q·N̄/S; never the realised batch."""
        share = self.donors_bound / self.sites
        return share * self.options.sampling if self.trust == "local" else share

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return what is asked before the rounds, or how far ``local_steps`` steps from the payload's weights led.

        For a whole site (trust ``site``) label counts are shares: the site counts as one donor.

        Raises:
            SpecError: as :meth:`Rounds.answer`; a move is asked of something that cannot train at home.
        """
        if not self.of_round(question):
            if question.unit == "site":
                sample = replace(sample, donor=np.zeros_like(sample.donor))
            return super().answer(question, sample, rng)
        if not isinstance(rng, HomeSteps):
            raise SpecError(f"methods.{self.name}: expected a question to a whole site, with local steps")
        start = question.payload.get("weights", np.zeros(0, np.float32))
        weights = start.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # crafted weights may overflow: such a move counts as zero
            for _ in range(self.local_steps):
                gradient = self._gradient(rng, {**question.payload, "weights": weights.astype(start.dtype)})
                weights = weights - self.options.local_rate * gradient / self._expected
            move = (weights - start)[None]
        return sum_rows(move, np.zeros(1, np.int64), np.ones(1, np.bool_), question.bound)

    def _gradient(self, rng: HomeSteps, payload: Mapping[str, Array]) -> Array:
        """Return the next step's gradient sum, noised where the study has it noised at home."""
        length = self.parameters
        question = Question(
            payload=payload,
            length=length,
            reply_length=length,
            bound=self.options.clip,
            mechanism=None,
            precision=gradient_precision(self.donors_bound, self.options.sampling if self.trust == "local" else 1.0),
        )
        return rng.noisy_sum(lambda sample, draws: super(AtHome, self).answer(question, sample, draws))

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after what came before, or after one Adam step on the mean move, taken for a gradient."""
        if not self.of_round(question):
            return super().learn(state, question, total)
        scale = -1 / (self.sites * self.local_steps * self.options.local_rate)
        return self.stepped(state, (np.asarray(total, np.float64) * scale).astype(np.float32))


class FedAvg(AtHome[FedSgdOptions], FedSgd):
    """The autoencoder of :class:`FedSgd`, trained by several steps at every site a round."""
