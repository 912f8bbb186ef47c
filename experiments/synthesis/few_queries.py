"""What generators of few questions teach on PAM50 of TCGA breast cancers, by patient splits.

868 of 1,085 patients train, 217 test; 870 rows are drawn. Central noise: exact sums and floating-point Gaussian
noise, no ring. A logistic regression (C = 1, standardised) is trained on what was drawn and tested on patients; a pair
of genes is an edge where |r| > .5, and found where the drawn rows say so with the same sign. KIND is any that generates
rows of a few questions, or ``auto``, or ``real``: the training rows themselves.
Run (options as JSON): ``python -m experiments.synthesis.few_queries KIND EPSILON FIRST LAST [OPTIONS]``.
Splits FIRST to LAST - 1 are run.
Splits 0 to 9 are for reports; what was tuned was tuned on splits from 1000.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import anndata
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.cohort.shard import Shard
from fedgenome.methods import auto, registry
from fedgenome.methods.base import Generator, Method
from fedgenome.privacy import accounting
from fedgenome.privacy.coins import DonorNormals
from fedgenome.query import Array
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Plan, Schema

DATA = Path(os.environ.get("FEDGENOME_DATA", Path(__file__).parents[2] / "../shared/data"))
COHORT = DATA / "expression" / "tcga_brca_rnaseq_1218x909.h5ad"
LABELS = ("LumA", "LumB", "Basal", "Her2", "Normal")
GUESSES = {"middle": 7.5, "radius": 110.0, "spread": 1.25}  # public, of log2 RSEM
DELTA, BOUND, ROWS, EDGE = 1e-4, 900, 870, 0.5


def cohort() -> tuple[Array, Array, tuple[str, ...]]:
    """Return expression and label codes of one row a labelled patient, and genes."""
    table = anndata.read_h5ad(COHORT)
    table = table[table.obs["pam50"].isin(LABELS)]
    table = table[~table.obs["patient"].duplicated()]
    return (
        np.asarray(table.X, np.float32),
        np.array([LABELS.index(name) for name in table.obs["pam50"]]),
        tuple(map(str, table.var_names)),
    )


def train(method: Method, x: Array, label: Array, seed: int) -> dict[str, Array]:
    """Run ``method`` on exact sums and floating-point noise."""
    rng, root, donor = np.random.default_rng([seed, 11]), Root.simulation(seed, "central"), np.arange(len(x))
    names, mask = tuple(map(str, donor)), np.ones(len(x), np.bool_)
    shard = Shard(x=x, label=label, donor=donor, donors=names, mask=mask)
    state, step = method.start(rng), 0
    while (question := method.ask(state)) is not None:
        total = method.answer(question, shard, DonorNormals(root, (step,))).value
        sigma = question.mechanism.level * question.bound if question.mechanism else 0.0
        state, step = method.learn(state, question, total + sigma * rng.standard_normal(total.shape)), step + 1
    return method.release(state)


def build(kind: str, epsilon: float | None, genes: tuple[str, ...], options: dict[str, object]) -> Method:
    """Return the method at its calibrated noise; ``epsilon`` None: without any."""
    schema = Schema(genes=genes, labels=LABELS, high=20.0, unit="donor")
    spec = MethodSpec.model_validate({"kind": kind, "options": options})
    if kind == auto.KIND:
        (spec,) = auto.resolved((spec,), {spec.label: auto.choose(BOUND, epsilon)})
    method = registry.build(spec, schema, BOUND, epsilon is not None)
    if epsilon is None:
        return method
    return method.at(accounting.calibrate(lambda noise: Plan(mechanisms=method.plan(noise)), epsilon, DELTA))


def edges(x: Array) -> Array:
    """Return -1, 0 or 1 for each pair of genes, by the sign of an |r| above the threshold."""
    with np.errstate(all="ignore"):  # a gene that does not vary has no edge
        r = np.nan_to_num(np.corrcoef(x.T))[np.triu_indices(x.shape[1], 1)]
    return np.asarray(np.sign(r) * (np.abs(r) > EDGE))


def scores(x: Array, label: Array, train_x: Array, test: tuple[Array, Array]) -> dict[str, float]:
    """Return accuracy, recall and precision of edges, their base rate, and the mean Wasserstein distance."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000, tol=1e-3))
    told = model.fit(x, label).predict(test[0]) if len(set(label)) > 1 else np.full(len(test[1]), label[0])
    real, drawn, at = edges(train_x), edges(x), np.linspace(0, 1, 200)
    hits = float((real * drawn > 0).sum())
    return {
        "accuracy": float(np.mean(told == test[1])),
        "recall": hits / float(np.abs(real).sum()),
        "precision": hits / max(1.0, float(np.abs(drawn).sum())),
        "base rate": float(np.abs(real).mean()),
        "wasserstein": float(np.abs(np.quantile(x, at, axis=0) - np.quantile(test[0], at, axis=0)).mean()),
    }


def measure(kind: str, epsilon: float | None, seed: int, options: dict[str, object]) -> dict[str, float]:
    """Return the scores of one split; of the training rows themselves where ``kind`` is ``real``."""
    x, label, genes = cohort()
    order = np.random.default_rng([7, seed]).permutation(len(x))
    test, inside = order[: len(x) // 5], order[len(x) // 5 :]
    held = x[test], label[test]
    if kind == "real":
        return scores(x[inside], label[inside], x[inside], held)
    method = build(kind, epsilon, genes, options)
    arrays, rng = train(method, x[inside], label[inside], seed), np.random.default_rng([seed, 5])
    if not isinstance(method, Generator):
        raise TypeError(f"{kind} generates no rows")
    labels = np.sort(rng.choice(len(LABELS), ROWS, p=method.label_weights(arrays)))
    return scores(method.sample(arrays, labels, rng), labels, x[inside], held)


def main() -> None:
    """Print every split's scores, then their means."""
    kind, epsilon = sys.argv[1], None if sys.argv[2] == "none" else float(sys.argv[2])
    options = ({} if kind == "marginals" else GUESSES) | (json.loads(sys.argv[5]) if len(sys.argv) > 5 else {})
    every = []
    for seed in range(int(sys.argv[3]), int(sys.argv[4])):
        every.append(measure(kind, epsilon, seed, options))
        print(seed, json.dumps({name: round(value, 3) for name, value in every[-1].items()}), flush=True)
    means = {name: round(float(np.mean([one[name] for one in every])), 3) for name in every[0]}
    print(kind, sys.argv[2], "mean of", len(every), json.dumps(means), flush=True)


if __name__ == "__main__":
    main()
