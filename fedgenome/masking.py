"""A site's own masked release, from files: apply a list to a cohort, attack what would leave, judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedgenome import linking, release, sampling
from fedgenome.audit.gate import Policy, Verdict
from fedgenome.audit.linkage.dosages import MISSING
from fedgenome.audit.linkage.judge import ROWS, judge
from fedgenome.audit.linkage.results import Linkage
from fedgenome.audit.linkage.spec import LinkageSpec
from fedgenome.cohort.expression import obs
from fedgenome.cohort.h5ad import open_h5ad
from fedgenome.cohort.masked_file import masked_h5ad
from fedgenome.cohort.panel import panel
from fedgenome.cohort.table import Table, dense
from fedgenome.errors import SpecError, did_you_mean, require
from fedgenome.linking import People
from fedgenome.methods import registry
from fedgenome.methods.base import Masker
from fedgenome.query import Array

SCORE = "score"  # the array of a list method by which a shorter list is its top


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to mask, how, and who looks for its people.

    Attributes:
        cohort: An .h5ad: genotypes as ``fedgenome ingest`` writes them, or values.
        chosen: A release with a list, or a file of names, one a line; None: ``keep`` of the columns by chance.
        keep: How many of it are told: the release's highest scores, the file's first; None: all.
        donor: obs column of people's ids; None: the names of rows.
        label: obs column of classes that leave with the rows; None: none leave.
        linkage: Among whom people are looked for.
        policy: The limits.
        seed: The same seed gives the same file and the same verdict.
    """

    cohort: Path
    chosen: Path | None = None
    keep: int | None = None
    donor: str | None = None
    label: str | None = None
    linkage: LinkageSpec = field(default_factory=LinkageSpec)
    policy: Policy = field(default_factory=Policy)
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Masking:
    """What would leave, and what was made of it.

    Attributes:
        people: Whose rows, whole and as they would leave.
        label: Whether classes would leave too.
        linkage: What attackers found.
        verdict: What the gate makes of it.
        told: Names of what is told.
        source: The list in words.
    """

    people: People
    label: bool
    linkage: Linkage
    verdict: Verdict
    told: tuple[str, ...]
    source: str

    def file(self, seed: int) -> bytes:
        """Return the masked file; nobody but the gate may keep it from being written."""
        most = self.verdict.policy.linkage.most
        said: dict[str, str | bool | float] = {"synthetic": False, "guarantee": ROWS, "list": self.source}
        said |= {"among": self.linkage.among, "most": most}
        told = np.isin(self.people.variants, self.told)
        label = self.people.label if self.label else None
        return masked_h5ad(self.people.shown, self.people.variants, told, label, said, np.random.default_rng([seed, 2]))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        sizes = {"people": len(self.people.ids), "list": self.source, "told": list(self.told)}
        return {**sizes, "linkage": self.linkage.to_json(), "verdict": self.verdict.to_json()}


def run(asked: Asked) -> Masking:
    """Read, mask, attack and judge.

    Raises:
        SpecError: a file does not fit, or too few people are in both.
    """
    require(asked.chosen is not None or asked.keep is not None, "--list, --keep or both")
    table = open_h5ad(str(asked.cohort), "X")
    whole = _values(table)
    shown, source = _shown(asked, table, whole)
    people = People(
        ids=table.rows if asked.donor is None else obs(table.source, table.columns, asked.donor),
        x=whole,
        shown=shown,
        leaves=np.ones(len(whole), np.bool_),
        variants=table.genes,
        label=("",) * len(whole) if asked.label is None else obs(table.source, table.columns, asked.label),
        column=asked.label or "",
    )
    found = linking.audit(people, asked.linkage, np.random.default_rng([asked.seed, 1]))
    told = linking.told(shown)
    return Masking(
        people=people,
        label=asked.label is not None,
        linkage=found,
        verdict=judge(found, asked.policy),
        told=tuple(name for name, kept in zip(table.genes, told, strict=True) if kept),
        source=source,
    )


def _values(table: Table) -> Array:
    """Return dosages as int8, −1 where not called, or values as float32."""
    x = dense(table.x)
    if not table.dosages:
        return np.asarray(x, np.float32)
    x = np.where(np.isnan(x), MISSING, x) if x.dtype.kind == "f" else x
    if strange := x[~np.isin(x, (MISSING, 0, 1, 2))][:1].tolist():
        raise SpecError(f"{table.source}: expected dosages 0, 1, 2, or -1 for not called, got {strange[0]:g}")
    return np.asarray(x, np.int8)


def _shown(asked: Asked, table: Table, whole: Array) -> tuple[Array, str]:
    """Return rows as they would leave, and by which list in words."""
    if asked.chosen is not None and asked.chosen.is_dir():
        values, source = _by_release(asked.chosen, asked.keep, table, whole)
    else:
        names, source = _names(asked, table)
        values = np.where(np.isin(table.genes, names), np.asarray(whole, np.float32), np.nan)
    shown = linking.codes(values, table.dosages)
    if not np.issubdtype(shown.dtype, np.integer):
        return shown, source
    return np.where((whole < 0) & ~np.isnan(values), MISSING, shown).astype(np.int8), source


def _names(asked: Asked, table: Table) -> tuple[Sequence[str], str]:
    if asked.chosen is None:
        keep = asked.keep or 0
        require(1 <= keep <= len(table.genes), f"--keep of 1 to {len(table.genes)}", keep=keep)
        drawn = np.random.default_rng([asked.seed, 0]).choice(len(table.genes), keep, replace=False)
        return [table.genes[i] for i in drawn], f"{keep} drawn by chance, whatever people have"
    every = panel(str(asked.chosen))
    names = every if asked.keep is None else every[: _length(asked.keep, len(every))]
    _check_there(names, table, asked.chosen)
    return names, f"{len(names)} of {asked.chosen.name}"


def _by_release(folder: Path, keep: int | None, table: Table, whole: Array) -> tuple[Array, str]:
    """Return rows as a released list masks them, float32, NaN where withheld."""
    found = release.load(folder)
    study = sampling.study_of(folder, found.card)
    masks = {n: m for n, m in registry.build_all(study).items() if isinstance(m, Masker) and n in found.arrays}
    require(
        len(masks) == 1, f"--list {folder}: a release of one method that masks rows", methods=", ".join(found.arrays)
    )
    ((label, method),) = masks.items()
    genes, arrays = study.schema_.genes, found.arrays[label]
    _check_there(genes, table, folder)
    at = {gene: i for i, gene in enumerate(table.genes)}
    columns = [at[gene] for gene in genes]
    rows = np.maximum(
        np.asarray(whole[:, columns], np.float32), study.schema_.low
    )  # what is not called is told so after
    values = np.full(whole.shape, np.nan, np.float32)
    values[:, columns] = method.masked(arrays, rows) if keep is None else _top(arrays, keep, rows, folder)
    return values, f"{label} of {folder.name}" + (f", its {keep} highest" if keep is not None else "")


def _top(arrays: Mapping[str, Array], keep: int, rows: Array, folder: Path) -> Array:
    if SCORE not in arrays:
        raise SpecError(f"--keep: expected a list with scores, to take the highest of, {folder} has none")
    order = np.argsort(-arrays[SCORE], kind="stable")[: _length(keep, rows.shape[1])]
    return np.where(np.isin(np.arange(rows.shape[1]), order), rows, np.nan)


def _length(keep: int, there: int) -> int:
    require(1 <= keep <= there, f"--keep of 1 to {there}, as many as the list has", keep=keep)
    return keep


def _check_there(names: Sequence[str], table: Table, source: Path) -> None:
    known = set(table.genes)
    if lacking := [name for name in names if name not in known]:
        near = did_you_mean(lacking[0], table.genes[:10_000], "join it to the list's with `fedgenome ingest --panel`")
        more = f"{len(lacking)} of {len(names)} absent, first {lacking[0]!r} ({near})"
        raise SpecError(f"{table.source}: expected every name of {source}, {more}")
