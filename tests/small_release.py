"""A release folder made in a moment, for tests that read one."""

from pathlib import Path
from typing import Any

import numpy as np

from fedgenome.card import Facts, build_card
from fedgenome.methods import registry
from fedgenome.query import Mechanism
from fedgenome.release import write_candidate
from fedgenome.study import Plan, Study
from fedgenome.synthesis import synthesize

LABELS, SHARES = ("Basal", "LumA", "Her2"), np.array([10.0, 30.0, 0.0])


def make(folder: Path, *, rows: bool = True, **changes: Any) -> Path:
    """Write a release of ``marginals`` and of ``linear``, which generates nothing; without rows of the latter alone."""
    study = Study.model_validate(
        {
            "name": "trial",
            "schema": {"genes": ["CD3E", "NKG7"], "labels": LABELS, "high": 6.0} | changes,
            "methods": [{"kind": "marginals"}, {"kind": "linear"}][0 if rows else 1 :],
            "privacy": {"epsilon": 10.0, "delta": 1e-4},
            "donors_bound": 700,
            "quorum": 1,
            "roster": [{"name": "site-1", "cap": 400}],
        }
    )
    arrays = {"linear": {"weights": np.zeros((3, 2), np.float32), "centre": np.zeros(2, np.float32)}}
    synthetic = {}
    if rows:
        method = registry.build_all(study)["marginals"].at(1e-3)
        question = method.ask(method.start(np.random.default_rng(0)))
        bins = (question.length - 3) // 6
        tables = np.zeros((3, 2, bins))
        tables[0, :, 1], tables[1, :, 2] = SHARES[0], SHARES[1]
        total = np.concatenate([SHARES, tables.ravel()])
        arrays["marginals"] = method.release(method.learn(method.start(None), question, total))
        synthetic = {"marginals": synthesize(method, arrays["marginals"], 5, np.random.default_rng(1))}
    plan = Plan(mechanisms=(Mechanism(kind="gaussian", level=1.0, scope="marginals"),))
    facts = Facts(
        study=study,
        plan=plan,
        queries={"marginals": 1},
        engine="local",
        seeded=False,
        gate_reads_people=True,
        epsilon=9.9,
        epsilon_two=12.0,
    )
    write_candidate(
        folder,
        arrays=arrays,
        card=build_card(facts),
        ledger=[],
        synthetic=synthetic,
        schema=study.schema_,
    )
    return folder
