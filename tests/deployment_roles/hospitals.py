"""A hospital's folder as an operator has it: site.toml, keys, a cohort on disk, a signed study."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from fedgenome.cohort.shard import Shard
from fedgenome.deployment import roles
from fedgenome.deployment.hospital import site
from fedgenome.deployment.hospital.policy import Policy
from fedgenome.deployment.hospital.site import SiteConfig
from fedgenome.deployment.signed import SignedStudy
from fedgenome.federation.wire import Call
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from fedgenome.study import Plan, Study
from tests.federation.small import CAP, PARTY_IDS, SITE_IDS, make_plan, make_shard, make_study
from tests.federation.test_site import run_keys

SIGNER = Identity.generate()
DEALER = Identity.generate()
NAME = "north"
KEY = bytes(range(32))
SCHEMA = {"genes": ["A", "B", "C"], "labels": ["x", "y"], "high": 4.0, "unit": "donor"}


def agreed(trust: str = "distributed", **changes: object) -> Study:
    """Return a study that the hospital's policy allows, but for ``changes``."""
    return make_study(trust, **({"schema": SCHEMA} | changes))


def signed(study: Study, *by: Identity) -> SignedStudy:
    made = SignedStudy(study=study)
    for one in by or (SIGNER,):
        made = made.sign(one)
    return made


def rules(**changes: object) -> dict[str, object]:
    """Return a ``[policy]`` table."""
    return {
        "signers": [SIGNER.public],
        "parties": [one.public for one in PARTY_IDS],
        "quorum": 2,
        "methods": ["marginals", "cvae"],
        "trust": ["distributed", "local"],
        "delta": 1e-3,
        "donors": CAP,
        "budget_epsilon": 12.0,
        **changes,
    }


def policy(**changes: object) -> Policy:
    return Policy.model_validate(rules(**changes))


def write_cohort(path: Path, shard: Shard) -> Path:
    """Write a shard of :func:`make_shard` as an h5ad, rows in another order than a site holds them."""
    order = np.random.default_rng(1).permutation(len(shard.label))
    obs = pd.DataFrame(
        {"kind": np.array(["x", "y"])[shard.label[order]], "patient": np.array(shard.donors)[shard.donor[order]]},
        index=[f"row-{i}" for i in order],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anndata.AnnData(shard.x[order][:, ::-1].copy(), obs, pd.DataFrame(index=["C", "B", "A"])).write_h5ad(path)
    return path


def write_config(
    folder: Path, *, named: str = "site.toml", table: dict[str, object] | None = None, **changes: object
) -> Path:
    """Write a ``site.toml`` beside the folder's ``cohort.h5ad``, its policy changed to ``table``."""
    (folder / "state").mkdir(exist_ok=True)
    told = {"name": NAME, "state": "state", "socket": "agent.sock", "schedule_seconds": 0.01, **changes}
    data = {"source": "cohort.h5ad", "label": "kind", "donor": "patient", "scale": "log"}
    tables = {"cohort": data, "policy": table or rules()}
    text = _lines(told) + "".join(f"\n[{name}]\n{_lines(fields)}" for name, fields in tables.items())
    path = folder / named
    path.write_text(text)
    return path


def _lines(fields: dict[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items() if value is not None)


def settle_in(folder: Path, shard: Shard | None = None, **changes: object) -> SiteConfig:
    """Make a hospital in ``folder`` and return its configuration."""
    write_cohort(folder / "cohort.h5ad", shard or make_shard(20))
    path = write_config(folder, **changes)
    SITE_IDS.get(str(changes.get("name")), SITE_IDS[NAME]).save(folder / "state" / IDENTITY)
    (folder / "state" / roles.SOCKET_KEY).touch(0o600)
    (folder / "state" / roles.SOCKET_KEY).write_text(KEY.hex())
    return site.SiteConfig.load(path)


def joining(study: Study, made: SignedStudy | None = None, plan: Plan | None = None, run: str = "run-1") -> Call:
    """Return a coordinator's ``join``."""
    plan = plan or make_plan(study)
    header = {
        "study": study.model_dump(mode="json", by_alias=True),
        "plan": plan.model_dump(mode="json"),
        "run": run,
        "keys": run_keys(study, plan, run) if study.parties else [],
        "signatures": (made or signed(study)).wire,
    }
    return Call(header=header)
