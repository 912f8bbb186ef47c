"""A method of few questions, each a bundle of clipped statistics, which share one Gaussian's budget."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from fedgenome.errors import require
from fedgenome.methods.bundle import Bundle, Floats
from fedgenome.methods.learner import Learner, Options
from fedgenome.query import Array, Mechanism, Question, State


@dataclass(frozen=True, kw_only=True)
class Bundled(Learner[Options], ABC):
    """What such methods have in common; ``step`` in the state says how many bundles are known."""

    @property
    @abstractmethod
    def bundles(self) -> tuple[Bundle, ...]:
        """Every question's statistics."""

    @abstractmethod
    def shown(self, state: State, step: int) -> dict[str, Array]:
        """Return what sites are told with question ``step``; the first has no payload."""

    @abstractmethod
    def untold(self, rng: np.random.Generator) -> State:
        """Return what is known before anything was asked: public guesses."""

    @property
    def level(self) -> float:
        """Noise multiplier that a query of the whole budget would have; 0 without privacy."""
        return self.noise * self.factor if self.private and self.noise is not None else 0.0

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the questions, which share one Gaussian's budget; nothing under trust none."""
        if not self.private:
            return ()
        levels = [noise * self.factor / math.sqrt(bundle.share) for bundle in self.bundles]
        return tuple(replace(self._mechanism(level), count=levels.count(level)) for level in dict.fromkeys(levels))

    def _mechanism(self, level: float) -> Mechanism:
        return Mechanism(kind="gaussian", level=level, scope=self.name)

    def start(self, rng: np.random.Generator) -> State:
        """Return public guesses."""
        require(not self.private or self.noise is not None, f"methods.{self.name}: a noise level before it starts")
        return {"step": np.array(0, np.int64), **self.untold(rng)}

    def ask(self, state: State) -> Question | None:
        """Ask for each bundle in turn, then None."""
        step, bundles = int(state["step"]), self.bundles
        if step == len(bundles):
            return None
        return Question(
            payload=self.shown(state, step),
            length=bundles[step].length,
            reply_length=bundles[step].length,
            bound=1.0,
            mechanism=self._mechanism(self.level / math.sqrt(bundles[step].share)) if self.level else None,
        )

    def require_finished(self, state: State) -> None:
        """Check that every bundle is known."""
        require(int(state["step"]) == len(self.bundles), f"methods.{self.name}: a finished run")


def shares_of(counts: Array) -> Floats:
    """Return noisy counts (labels,) as weights that sum to 1; even ones where nothing was counted."""
    counts = np.maximum(np.asarray(counts, np.float64), 0)
    return counts / counts.sum() if counts.sum() > 0 else np.full(len(counts), 1 / len(counts))
