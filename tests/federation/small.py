"""A small study of two sites, built by hand: public numbers, no files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedgenome.cohort.shard import Shard
from fedgenome.methods import registry
from fedgenome.query import PARTIES
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from fedgenome.study import Plan, Study
from fedgenome.trust import placed

CAP = 40
SITE_IDS = {name: Identity.generate() for name in ("north", "south")}
PARTY_IDS = tuple(Identity.generate() for _ in range(PARTIES))
OPTIONS = {"rounds": 4, "sampling": 0.5, "hidden": 4, "latent": 2}


def make_shard(donors: int, first: int = 0) -> Shard:
    """Return ``donors`` rows of three genes and two classes."""
    rng = np.random.default_rng(donors + first)
    return Shard(
        x=rng.uniform(0, 4, (donors, 3)).astype(np.float32),
        label=np.arange(donors) % 2,
        donor=np.arange(donors),
        donors=tuple(f"donor-{first + i}" for i in range(donors)),
        mask=np.ones(donors, bool),
    )


def make_study(trust: str = "distributed", kind: str = "marginals", **changes: object) -> Study:
    """Return a study of two sites."""
    private = trust != "none"
    keys = {name: one.public for name, one in SITE_IDS.items()} if changes.get("secure") != "off" else {}
    return Study.model_validate(
        {
            "name": "small",
            "schema": {"genes": ["A", "B", "C"], "labels": ["x", "y"], "high": 4.0},
            "methods": [{"kind": kind, "options": OPTIONS if kind == "cvae" else {}}],
            "privacy": {"trust": trust, "epsilon": 5.0, "delta": 1e-3} if private else {"trust": trust},
            "donors_bound": 60,
            "quorum": 2,
            "roster": [{"name": name, "cap": CAP, "key": keys.get(name, "")} for name in SITE_IDS],
            "parties": [one.public for one in PARTY_IDS] if keys else [],
            **changes,
        }
    )


def party_folder(folder: Path) -> Path:
    """Return ``folder`` with the parties' identities of every small study in it, where processes find them."""
    for index, one in enumerate(PARTY_IDS):
        (folder / str(index)).mkdir(parents=True)
        one.save(folder / str(index) / IDENTITY)
    return folder


def make_plan(study: Study, noise: float = 4.0) -> Plan:
    """Return the study's plan at a noise level that costs less than its ε."""
    planned = [m for method in registry.build_all(study).values() for m in method.plan(noise)]
    return Plan.with_reserve(tuple(placed(m, study.privacy.trust) for m in planned), study.privacy.retries)
