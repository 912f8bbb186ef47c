"""DeepType at full size: an epoch with per-donor clipping over an epoch without, and the memory of both.

1,536 people × 20,000 genes in batches of 64, the published network (21 million weights), Adam, one thread. Both take
turns, a step each, in one process; ratios are of medians of the calling thread's CPU time, as other work may share the
machine. *Ours*: ``DeepType.answer`` and ``learn``: book-keeping, clipping, float64 sums, our Adam, a step of the
penalty. *Plain*: forward, backward and ``torch.optim.Adam`` of the mean loss. *Gradients* are the same without what
comes after them. Noise, shares and messages are timed elsewhere (``dp_sgd``, ``secure_sum``).
Run: ``python -m experiments.benchmarks.deeptype`` (``--quick``: 2,000 genes, 3 steps).
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch

from experiments import harness
from experiments.benchmarks._processes import growth
from experiments.deeptype import worlds
from experiments.harness import Result, Target
from fedgenome.cohort.shard import Shard
from fedgenome.methods import registry
from fedgenome.methods.deeptype import DeepType
from fedgenome.models import deeptype
from fedgenome.privacy.coins import DonorNormals
from fedgenome.query import Question, State
from fedgenome.streams import Root
from fedgenome.study import MethodSpec

PEOPLE, BATCH, GENES = 1536, 64, worlds.GENES
MOST, ROOM = 1.5, 4 * 2**30  # times plain training; bytes
OURS, PLAIN, OUR_GRADIENTS, GRADIENTS = "fedgenome", "plain", "fedgenome, gradients", "plain, gradients"


class Ours:
    """Steps of the method, as coordinator and site take them."""

    def __init__(self, genes: int) -> None:
        spec = MethodSpec(kind="deeptype", options={"sampling": BATCH / PEOPLE, "joint": 1.0})
        method = registry.build(spec, worlds.schema(genes), PEOPLE, True)
        if not isinstance(method, DeepType):
            raise TypeError(type(method))
        self._method: DeepType = method.at(1.0)
        self._draws = DonorNormals(Root.simulation(0, "benchmark"), ("deeptype",))
        self.state: State = self._method.start(np.random.default_rng(0))

    def question(self) -> Question:
        """Return the next round's."""
        asked = self._method.ask(self.state)
        if asked is None:
            raise StopIteration
        return asked

    def gradients(self, batch: Shard) -> None:
        """Return nothing: the sum is thrown away."""
        self._method.answer(self.question(), batch, self._draws)

    def step(self, batch: Shard) -> None:
        """Take one step."""
        question = self.question()
        total = self._method.answer(question, batch, self._draws).value
        self.state = self._method.learn(self.state, question, total)


class Plain:
    """Steps of ordinary training from the same weights."""

    def __init__(self, genes: int) -> None:
        ours = Ours(genes)
        self._model, self._centres = ours._method.model, torch.from_numpy(ours.state["centres"].copy())
        self._adam = torch.optim.Adam(self._model.parameters(), 1e-3)

    def gradients(self, batch: Shard) -> None:
        """Take forward and backward."""
        label = torch.from_numpy(batch.label.copy())
        x = torch.from_numpy(2 * (batch.x - worlds.LOW) / (worlds.HIGH - worlds.LOW) - 1)
        inputs = x, label, self._centres[label], torch.full((len(label),), 1.2)
        self._adam.zero_grad()
        deeptype.loss(self._model, inputs).mean().backward()  # type: ignore[no-untyped-call]

    def step(self, batch: Shard) -> None:
        """Take one step."""
        self.gradients(batch)
        self._adam.step()


def _epoch(ours: Ours, plain: Plain, world: worlds.World, steps: int) -> dict[str, list[float]]:
    """Return every candidate's seconds a step."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    works = {PLAIN: plain.step, OURS: ours.step, GRADIENTS: plain.gradients, OUR_GRADIENTS: ours.gradients}
    for step in range(steps):
        batch = world.shard(step * BATCH, (step + 1) * BATCH)
        for name, work in works.items():
            begin = time.thread_time()
            work(batch)
            seconds[name].append(time.thread_time() - begin)
    return dict(seconds)


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Train for one epoch."""
    torch.set_num_threads(1)
    genes, steps = (2000, 3) if quick else (GENES, PEOPLE // BATCH)
    world = worlds.metabric(np.random.default_rng(0), PEOPLE if not quick else BATCH * steps, genes)
    first = world.shard(0, BATCH)
    plain, ours = Plain(genes), Ours(genes)
    memory = {PLAIN: growth(lambda: plain.step(first)), OURS: growth(lambda: ours.step(first))}
    say("one step each is done")
    seconds = _epoch(ours, plain, world, steps)
    middle = {name: statistics.median(every) for name, every in seconds.items()}
    rows = [
        {"candidate": name, "genes": genes, "steps": steps, "CPU ms a step, median": 1e3 * middle[name]}
        | ({"MB a step": memory[name] / 1e6} if name in memory else {})
        for name in middle
    ]
    peak = growth(lambda: Ours(genes).step(first))
    targets = [
        Target(name="a step over plain training", value=middle[OURS] / middle[PLAIN], target=MOST, sense="at most"),
        Target(
            name="gradients over plain ones",
            value=middle[OUR_GRADIENTS] / middle[GRADIENTS],
            target=MOST,
            sense="at most",
        ),
        Target(name="GiB of a new method and a step", value=peak / 2**30, target=ROOM / 2**30, sense="at most"),
    ]
    return Result(rows=rows, targets=targets)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
