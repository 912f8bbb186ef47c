"""A cohort in the shape of METABRIC's, simulated: 2,133 people × 20,000 genes, six subtypes that overlap.

Subtypes differ in four programmes (oestrogen response, proliferation, HER2, mesenchyme), each of which moves 300 genes;
people of one subtype spread about its scores, so that some cannot be told apart whatever the number of genes. Thirty
further factors move all genes and say nothing of subtypes. Values are log2 intensities of a microarray, 3 to 15.
:data:`SPREAD` is set so that a ridge classifier on the standardised genes is right on about 85 % of new people.

Run: ``python -m experiments.deeptype.worlds`` (two minutes; ``--quick``: 600 people, 2,000 genes): how right that is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments import harness
from experiments.harness import Result, Target
from fedgenome.cohort.shard import Shard
from fedgenome.study import Schema

LABELS = ("LumA", "LumB", "Her2", "Basal", "claudin-low", "Normal")
SHARES = (0.355, 0.24, 0.125, 0.105, 0.105, 0.07)
SCORES = np.array(  # of a subtype in each programme
    [[1, -1, 0, 0], [1, 1, 0, 0], [-0.5, 0.7, 2, 0], [-1.5, 1.2, 0, 0.5], [-1, 0, 0, 2], [0.3, -1, 0, 0.9]]
)
PEOPLE, GENES = 2133, 20_000
MOVED, FACTORS = 300, 30  # genes of a programme; further factors
SPREAD = 0.6  # standard deviation of people about their subtype's scores
LOW, HIGH = 3.0, 15.0
ACCURACY = 0.85  # of a ridge classifier, to within TOLERANCE
TOLERANCE = 0.02
RIDGE = 1.0  # penalty, in units of genes
SEEDS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """Simulated people.

    Attributes:
        x: float32 (people, genes), within the public range.
        label: int64 (people,).
    """

    x: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64]

    def shard(self, first: int, last: int) -> Shard:
        """Return people ``first`` to ``last`` as a site's."""
        n = last - first
        return Shard(
            x=self.x[first:last],
            label=self.label[first:last],
            donor=np.arange(n),
            donors=tuple(f"person-{i}" for i in range(first, last)),
            mask=np.ones(n, np.bool_),
        )


def metabric(rng: np.random.Generator, people: int = PEOPLE, genes: int = GENES, spread: float = SPREAD) -> World:
    """Return people in random order; with fewer genes programmes move the same share of them."""
    label = rng.choice(len(LABELS), people, p=np.array(SHARES) / sum(SHARES))
    scores = SCORES[label] + spread * rng.standard_normal((people, SCORES.shape[1]))
    loadings = np.zeros((SCORES.shape[1], genes), np.float32)
    moved = max(1, MOVED * genes // GENES)
    for programme in loadings:
        programme[rng.choice(genes, moved, replace=False)] = 0.6 * rng.standard_normal(moved)
    others = rng.standard_normal((people, FACTORS)) @ (0.1 * rng.standard_normal((FACTORS, genes)))
    x = rng.standard_normal((people, genes), np.float32)
    x *= rng.uniform(0.2, 0.7, genes).astype(np.float32)
    x += (scores @ loadings + others + rng.uniform(5, 10, genes)).astype(np.float32)
    return World(x=np.clip(x, LOW, HIGH), label=label)


def schema(genes: int = GENES) -> Schema:
    """Return the public facts of such a cohort."""
    return Schema(genes=tuple(f"G{i}" for i in range(genes)), labels=LABELS, low=LOW, high=HIGH, unit="donor")


def linear_accuracy(world: World, train: int) -> float:
    """Return how often a ridge classifier of the first ``train`` people is right on the others."""
    mean, scale = world.x[:train].mean(0), world.x[:train].std(0)
    z = (world.x - mean) / scale
    targets = np.eye(len(LABELS))[world.label[:train]] - np.bincount(world.label[:train]) / train
    products = (z @ z[:train].T).astype(np.float64)
    weights = np.linalg.solve(products[:train] + RIDGE * z.shape[1] * np.eye(train), targets)
    told = products[train:] @ weights + np.bincount(world.label[:train]) / train
    return float((told.argmax(1) == world.label[train:]).mean())


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Train on four fifths of simulated cohorts and ask about the rest."""
    people, genes = (600, 2000) if quick else (PEOPLE, GENES)
    rows = []
    for seed in range(SEEDS):
        world = metabric(np.random.default_rng([20, seed]), people, genes)
        accuracy = linear_accuracy(world, people * 4 // 5)
        majority = float(np.bincount(world.label).max() / people)
        rows.append({"seed": seed, "people": people, "genes": genes, "accuracy": accuracy, "majority": majority})
        say(f"seed {seed}: accuracy {accuracy:.3f}, majority {majority:.3f}")
    mean = float(np.mean([row["accuracy"] for row in rows]))
    told = Target(name="|accuracy - .85|", value=abs(mean - ACCURACY), target=TOLERANCE, sense="at most")
    return Result(rows=rows, targets=() if quick else (told,))


if __name__ == "__main__":
    harness.main(__file__, "A simulated cohort in METABRIC's shape: how well a line tells its subtypes", measure)
