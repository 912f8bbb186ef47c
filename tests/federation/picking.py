"""A small method that selects: which questions (gene above threshold) most donors say yes to."""

from dataclasses import dataclass, replace

import numpy as np

from fedgenome.privacy.clipping import sum_scores
from fedgenome.query import Mechanism, Question

THRESHOLDS = (1.0, 2.0, 3.0)
GENES = 3
SCORES = GENES * (len(THRESHOLDS) + 1)  # the last gene's every threshold twice: ties


def answers(x):
    """Return each row's 0 or 1 to every question, (rows, SCORES)."""
    asked = [x[:, [gene]] > np.array([*THRESHOLDS, THRESHOLDS[0]]) for gene in range(GENES)]
    return np.concatenate(asked, axis=1).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Picking:
    """Two selections of ``winners``; ``cost`` is ε of a winner at noise 1."""

    winners: int
    cost: float
    private: bool
    noise: float | None = None
    clip: float = 1.0  # what answers are clipped to: another bound than asked for is refused
    name: str = "picking"

    def plan(self, noise):
        return (replace(self._mechanism(noise), count=2),) if self.private else ()

    def _mechanism(self, noise):
        return Mechanism(kind="exponential", level=self.cost / noise, winners=self.winners, scope=self.name)

    def at(self, noise):
        return replace(self, noise=noise)

    def start(self, rng):
        return {"found": np.zeros((0, self.winners), np.int64)}

    def ask(self, state):
        if len(state["found"]) == 2:
            return None
        mechanism = self._mechanism(self.noise) if self.private else None
        asked = {"length": SCORES, "reply_length": self.winners, "bound": 1.0, "reduce": "select", "monotone": True}
        return Question(payload={}, mechanism=mechanism, **asked)

    def answer(self, question, sample, rng):
        return sum_scores(answers(sample.x), sample.donor, sample.mask, self.clip, monotone=question.monotone)

    def learn(self, state, question, total):
        return {"found": np.concatenate([state["found"], total[None]])}

    def release(self, state):
        return state
