"""What one site's gradient says of its donors, what the sum of five sites still says, and what noise leaves.

TCGA-BRCA, 909 genes; the library's CVAE answers its first question as at a site, clipped donor by donor. Who sees one
site's answer (no secure sum), the sum of five sites, or that sum with the noise of ε = 10 over all rounds, tries to
read records off it: as the method runs, and with weights that a dishonest coordinator has crafted. A record is as
readable as its correlation with the best reconstruction, the public mean taken off both; people who are in no sum are
the baseline.
Run: ``python -m experiments.gradient_inversion.run`` (under a minute; ``--quick``: fewer batches).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments import harness
from experiments.gradient_inversion import attacks
from experiments.harness import Result, Target
from experiments.synthesis import cohorts, loop
from experiments.synthesis.loop import Facts, Kind
from fedgenome.cohort import expression
from fedgenome.cohort.shard import Shard
from fedgenome.cohort.split import undealt
from fedgenome.errors import SpecError
from fedgenome.methods.fedsgd import FedSgd
from fedgenome.privacy.coins import DonorNormals
from fedgenome.query import Array, Question
from fedgenome.streams import Root

SITES, EPSILON = 5, 10.0
BATCHES = (1, 2, 4, 8, 16)  # donors of one site in the round's sample
REPETITIONS = 3
KIND = Kind(kind="cvae", options={"hidden": 64, "latent": 8})
NOISED = f"noise of ε = {EPSILON:g}"
READ, CLEAN = 0.9, 0.05  # a readable record's correlation; what may be left over people who are in no sum


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """A method about to ask for its first gradient, and who answers.

    Attributes:
        method: The model, without noise.
        question: Its first gradient question.
        noise_stddev: Of the private one's total, a coordinate.
        shard: Everybody.
    """

    method: FedSgd
    question: Question
    noise_stddev: float
    shard: Shard

    def asked(self, donors: Array, weights: Array) -> Array:
        """Return the clipped sum over these donors at ``weights``, (P,)."""
        chosen = np.zeros(self.shard.n_donors, bool)
        chosen[donors] = True
        normals = DonorNormals(Root.simulation(0, "inversion"), (self.method.name, 1, 0))
        question = replace(self.question, payload={"weights": weights})
        return np.asarray(self.method.answer(question, self.shard.take(chosen), normals).value)

    def records(self, donors: Array) -> Array:
        """Return one scaled row of each donor, (donors, genes)."""
        first = [int(np.flatnonzero(self.shard.donor == donor)[0]) for donor in donors]
        low, high = self.method.schema.low, self.method.schema.high
        return np.asarray((self.shard.x[first].astype(np.float64) - low) / (high - low))


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Attack one site, five sites and five noised ones, by batch size, with honest and with crafted weights."""
    scene, rng = _scene(), np.random.default_rng(0)
    rows = []
    for batch in BATCHES[:3] if quick else BATCHES:
        found: dict[tuple[str, str], list[tuple[Array, Array]]] = {}
        for _ in range(1 if quick else REPETITIONS):
            for weights, view, likes in _attacked(scene, batch, rng):
                found.setdefault((weights, view), []).append(likes)
        rows += [_row(*key, batch, round(scene.noise_stddev, 3), likes) for key, likes in found.items()]
        say(f"{batch} donors a site")
    return Result(rows=rows, targets=list(_targets(rows)))


def _scene() -> Scene:
    spec = cohorts.spec("tcga_brca")
    cohort = expression.read(spec)
    facts = Facts(schema=expression.schema_of(cohort, spec), donors_bound=900, delta=1e-4, rows=1)
    plain, private = (loop.method(KIND, facts, epsilon) for epsilon in (None, EPSILON))
    asked = [_first(method) for method in (plain, private)]
    if not isinstance(plain, FedSgd) or asked[1].mechanism is None:
        raise SpecError("expected a method that sums gradients, and noise for its private form")
    sigma = asked[1].mechanism.level * asked[1].bound
    return Scene(method=plain, question=asked[0], noise_stddev=sigma, shard=undealt(cohort))


def _first(method: Any) -> Question:
    """Return the first gradient question: that after the label counts."""
    state = method.start(np.random.default_rng(1))
    question: Question = method.ask(state | {"step": np.array(1, np.int64)})
    return question


def _attacked(scene: Scene, batch: int, rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[Array, Array]]]:
    """Yield weights, view, and the likeness of those in the sum and of as many who are in none."""
    people = rng.permutation(scene.shard.n_donors)
    sites, rest = people[: SITES * batch].reshape(SITES, batch), people[SITES * batch :]
    outside, public = rest[: SITES * batch], scene.records(rest[SITES * batch :])
    middle, start = public.mean(0), scene.question.payload["weights"]
    made = attacks.crafted(start, scene.method.model, public, rng)
    for name, weights in (("as trained", start), ("crafted", made)):
        answers = [scene.asked(donors, weights) for donors in sites]
        noise = scene.noise_stddev * rng.standard_normal(len(start))
        total = np.sum(answers, axis=0)
        views = {
            "one site": (sites[0], answers[0]),
            "sum of five sites": (sites.ravel(), total),
            f"sum of five sites, {NOISED}": (sites.ravel(), total + noise),
        }
        for view, (inside, seen) in views.items():
            model = scene.method.model
            honest = name == "as trained"
            read = attacks.honest(seen, model, len(inside), middle) if honest else attacks.between(seen, model, middle)
            mine, others = (
                attacks.likeness(read, scene.records(who) - middle) for who in (inside, outside[: len(inside)])
            )
            yield name, view, (mine, others)


def _row(weights: str, view: str, batch: int, noise_stddev: float, likes: list[tuple[Array, Array]]) -> dict[str, Any]:
    inside, outside = (np.concatenate(each) for each in zip(*likes, strict=True))
    return {
        "weights": weights,
        "seen": view,
        "donors a site": batch,
        "in the sum": len(likes[0][0]),
        "noise, standard deviation": noise_stddev if NOISED in view else 0.0,
        "mean correlation": round(float(inside.mean()), 3),
        "highest": round(float(inside.max()), 3),
        "read (at least .9)": round(float((inside >= READ).mean()), 3),
        "of people in no sum": round(float(outside.mean()), 3),
        "highest of these": round(float(outside.max()), 3),
    }


def _targets(rows: list[dict[str, Any]]) -> Iterator[Target]:
    at = {(row["weights"], row["seen"], row["donors a site"]): row for row in rows}
    most = max(row["donors a site"] for row in rows)
    for weights in ("as trained", "crafted"):
        one = at[weights, "one site", 1]
        name = f"weights {weights}: correlation with the only donor of a site's sum"
        yield Target(name=name, value=one["mean correlation"], target=0.99, sense="at least")
        noised = [row for row in rows if row["weights"] == weights and NOISED in row["seen"]]
        left = max(row["mean correlation"] - row["of people in no sum"] for row in noised)
        name = f"weights {weights}: what noise leaves over people in no sum, at most over batches"
        yield Target(name=name, value=round(left, 4), target=CLEAN, sense="at most")
    total = at["as trained", "sum of five sites", most]
    left = total["mean correlation"] - total["of people in no sum"]
    name = f"weights as trained: what the sum of {SITES} sites of {most} donors leaves over people in no sum"
    yield Target(name=name, value=round(left, 4), target=CLEAN, sense="at most")


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
