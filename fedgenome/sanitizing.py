"""Sanitized rows as a release of their own, from a file: perturb them once, look for their people, judge.

The guarantee is of each row, in proportion to distance (:mod:`fedgenome.sanitize.guarantee`); how many rows a holder of
the originals recognises is what it comes to on these people. No ledger notes such a release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from fedgenome.audit.gate import Policy, Verdict
from fedgenome.audit.linkage.judge import judge
from fedgenome.audit.linkage.results import Linkage
from fedgenome.audit.linkage.sanitized import linked
from fedgenome.cohort.expression import obs, open_source
from fedgenome.cohort.masked_file import masked_h5ad
from fedgenome.cohort.shard import Shard
from fedgenome.cohort.table import Table, dense
from fedgenome.errors import SpecError, require
from fedgenome.sanitize import statement
from fedgenome.sanitize.guarantee import Guarantee
from fedgenome.sanitize.rows import sanitize
from fedgenome.secure.identity import Identity
from fedgenome.streams import Root
from fedgenome.strict import finding
from fedgenome.study import Sanitize, Schema, check_sanitized

_NO_CLASS = "none"  # of every row, where no classes leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to sanitize, and how.

    Attributes:
        source: Whose rows, any expression cohort's file; values are used as they are.
        spec: The sanitizer.
        low: Of the public range; ``high`` with it.
        donor: obs column of people's ids; None: every row is somebody's only one.
        label: obs column of classes that leave with the rows, by randomised response if ``spec`` says so; None: none.
        classes: The public list of them.
        policy: Its ``linkage`` is the limit on the share of people who are recognised.
        key: Identity whose draws last: the same rows come out the same again; None: draws are new in every run.
        seed: A simulation's, which promises nothing; None: randomness of the system, or of ``key``.
    """

    source: str
    spec: Sanitize
    low: float
    high: float
    donor: str | None = None
    label: str | None = None
    classes: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy)
    key: Path | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sanitizing:
    """What would leave, and what was made of it.

    Attributes:
        rows: Sanitized, with labels as they leave.
        schema: Genes, classes and range.
        told: What is said of the rows wherever they go.
        scale: What ε means on these rows, for their owner; None without noise.
        linkage: Who recognises them.
        verdict: What the gate makes of it.
        label: Whether classes leave.
        root: Draws the order of rows.
    """

    rows: Shard
    schema: Schema
    told: Mapping[str, Any]
    scale: str | None
    linkage: Linkage
    verdict: Verdict
    label: bool
    root: Root

    def file(self) -> bytes:
        """Return the file, in an order by chance; nobody but the gate may keep it from being written."""
        kept = {name: value for name, value in self.told.items() if value is not None}
        marks = kept | {"caution": "\n".join(self.told["caution"]), "synthetic": False}
        marks |= {"among": self.linkage.among, "most": self.verdict.policy.linkage.most}
        label = [self.schema.labels[i] for i in self.rows.label] if self.label else None
        every = np.ones(len(self.schema.genes), np.bool_)
        return masked_h5ad(self.rows.x, self.schema.genes, every, label, marks, self.root.stream("order").generator())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rows": dict(self.told),
            "scale": self.scale,
            "linkage": self.linkage.to_json(),
            "verdict": self.verdict.to_json(),
        }


def spec_of(told: Mapping[str, object]) -> Sanitize:
    """Return the sanitizer that options give.

    Raises:
        SpecError: one breaks its rule.
    """
    try:
        return Sanitize.model_validate(told)
    except ValidationError as fault:
        raise SpecError(f"sanitize: {finding(fault, Sanitize, 'option')}") from None


def run(asked: Asked) -> Sanitizing:
    """Read, perturb, attack and judge.

    Raises:
        SpecError: the file does not fit, or the sanitizer not its rows.
    """
    require(asked.key is None or asked.seed is None, "--key or --seed, not both")
    require(asked.label is not None or asked.spec.labels_epsilon is None, "--labels-epsilon only with --label")
    table = open_source(asked.source, "X")
    schema = _schema(asked, table)
    shard = _shard(asked, table, schema)
    promised, seeded = Guarantee.of(asked.spec, schema), asked.seed is not None
    root = Root.of(asked.seed, "sanitize") if asked.key is None else Identity.load(asked.key).root("sanitize")
    rows = sanitize(shard, asked.spec, schema, root)
    found = linked(rows.x, shard.x, shard.donor, promised, root.stream("linkage").generator())
    told = statement.facts(promised, seeded=seeded)
    if asked.label is None:  # none leave
        told["caution"].remove(statement.EXACT_LABELS)
    return Sanitizing(
        rows=rows,
        schema=schema,
        told=told,
        scale=statement.scale(promised, shard.x),
        linkage=found,
        verdict=replace(judge(found, asked.policy), alerts=tuple(told["caution"])),
        label=asked.label is not None,
        root=root,
    )


def _schema(asked: Asked, table: Table) -> Schema:
    if table.tokens is not None or table.dosages:
        raise SpecError(f"{asked.source}: expected rows of expression, got codes of tokens or dosages")
    told = {
        "genes": table.genes,
        "labels": asked.classes or (_NO_CLASS,),
        "low": asked.low,
        "high": asked.high,
        "unit": "row" if asked.donor is None else "donor",
    }
    try:
        schema = Schema.model_validate(told)
        check_sanitized(asked.spec, schema)
    except ValidationError as fault:
        raise SpecError(f"{asked.source}: {finding(fault, Schema)}") from None
    except ValueError as fault:
        raise SpecError(str(fault)) from None
    return schema


def _shard(asked: Asked, table: Table, schema: Schema) -> Shard:
    """Return the file's rows."""
    require((asked.label is None) == (not asked.classes), "--label with its --class, or neither", label=asked.label)
    names = table.rows if asked.donor is None else obs(table.source, table.columns, asked.donor)
    donors = {name: i for i, name in enumerate(dict.fromkeys(names))}
    distinct = asked.donor is not None or len(donors) == len(names)
    require(distinct, f"{asked.source}: every row name once, as there is no --donor", rows=len(names))
    labels = [_NO_CLASS] * len(names) if asked.label is None else obs(table.source, table.columns, asked.label)
    code = {name: i for i, name in enumerate(schema.labels)}
    if strange := [name for name in labels if name not in code]:
        raise SpecError(f"{asked.source}: obs[{asked.label!r}]: expected one of {schema.labels}, got {strange[0]!r}")
    return Shard(
        x=np.asarray(dense(table.x), np.float32),
        label=np.array([code[name] for name in labels], np.int64),
        donor=np.array([donors[name] for name in names], np.int64),
        donors=tuple(donors),
        mask=np.ones(len(names), np.bool_),
    )
