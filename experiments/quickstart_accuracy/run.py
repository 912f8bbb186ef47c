"""Train on synthetic, test on real: both methods of the quickstart, with and without noise, three seeds.

Real cells, the quickstart's panel, sites and controls, the whole federation with three party processes.
Accuracies are those on the kept-apart control rows; each seed deals the cells out anew. The runs are
seeded simulations, so that the table can be repeated; their noise is exactly what the ε named asks for.
Run: ``python -m experiments.quickstart_accuracy.run`` (``--quick``: one seed, marginals at ε = 10).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments import harness
from experiments.harness import Result, Target
from fedgenome import experiment, federate
from fedgenome.audit.targets import Records, people
from fedgenome.experiment import Experiment
from fedgenome.methods.base import Generator
from fedgenome.prepare import Prepared, prepare
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Privacy
from fedgenome.synthesis import synthesize
from fedgenome.utility import classify
from fedgenome.utility.metrics import QUICK

QUICKSTART = Path(__file__).parents[1] / "quickstart.toml"
SEEDS = (1, 2, 3)
EPSILONS = (None, 3.0, 10.0)
FLOORS = {None: 0.73, 3.0: 0.66, 10.0: 0.70}  # lower ends of what prototypes of marginals reached
ROWS = 2000
Scores = dict[tuple[str, str], float]  # (trained on, classifier) → accuracy


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Measure every method at every ε and seed, beside real data and the majority class."""
    spec = experiment.load(QUICKSTART)
    seeds, epsilons = (SEEDS[:1], EPSILONS[-1:]) if quick else (SEEDS, EPSILONS)
    rows = []
    for method in spec.methods[:1] if quick else spec.methods:
        for epsilon in epsilons:
            runs = [accuracies(_with(spec, method, epsilon), seed) for seed in seeds]
            rows.append(row(method.label, "none" if epsilon is None else f"{epsilon:g}", runs, "synthetic"))
            say(str(rows[-1]))
    rows.append(row("real data", "", runs, "real"))
    rows.append(row("majority class", "", runs, "majority"))
    found = {(row["trained on"], row["epsilon"]): float(row["logistic regression"].split(" ")[0]) for row in rows}
    targets = [_floor(found, epsilon) for epsilon in epsilons]
    return Result(rows=rows, targets=targets)


def _floor(found: Mapping[tuple[str, str], float], epsilon: float | None) -> Target:
    shown = "none" if epsilon is None else f"{epsilon:g}"
    name = f"marginals, epsilon {shown}: accuracy of logistic regression trained on synthetic rows"
    return Target(name=name, value=found["marginals", shown], target=FLOORS[epsilon], sense="at least")


def _with(spec: Experiment, method: MethodSpec, epsilon: float | None) -> Experiment:
    """Return the experiment with one method and one ε."""
    privacy = Privacy(trust="none")
    if epsilon is not None:
        privacy = spec.privacy.model_copy(update={"epsilon": epsilon})
    release = spec.release.model_copy(update={"generator": method.label})
    return spec.model_copy(update={"methods": (method,), "privacy": privacy, "release": release})


def accuracies(spec: Experiment, seed: int) -> Scores:
    """Train one method once and score what it generates."""
    root = Root.simulation(seed, "table")
    prepared = prepare(spec, root.stream("split").generator())
    with tempfile.TemporaryDirectory() as name, federate.parties(seed, secure=spec.engine.secure == "on") as running:
        home = Path(name)
        place = federate.Place(
            state=home / "state", ledgers=home / "sites", parties=home / "parties", run="table", seed=seed
        )
        trained = federate.federate(prepared, place, running, lambda _, __: None)
    ((label, method),) = prepared.methods.items()
    if not isinstance(method, Generator):
        raise TypeError(f"{label} generates nothing")
    made = synthesize(method, trained.arrays[label], ROWS, root.stream("rows").generator())
    return _scores(prepared, Records(x=made.x, label=made.label), root.stream("forest").generator())


def _scores(prepared: Prepared, made: Records, rng: np.random.Generator) -> Scores:
    members, controls = people(prepared.split.members), people(prepared.split.controls)
    return {
        (score.trained_on, "" if score.trained_on == "majority" else score.classifier): score.accuracy.estimate
        for score in classify.evaluate(members, controls, made, rng, QUICK)
    }


def row(name: str, epsilon: str, runs: Sequence[Scores], trained_on: str) -> dict[str, str]:
    """Return one line of the table: mean ± standard deviation over seeds."""
    row = {"trained on": name, "epsilon": epsilon}
    for classifier in QUICK.classifiers:
        values = [run[trained_on, "" if trained_on == "majority" else classifier] for run in runs]
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        row[classifier] = f"{np.mean(values):.3f}{spread}"
    return row


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
