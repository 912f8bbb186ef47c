"""A second panel of the same people: its records under a cohort's variants, whichever allele and strand it counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedgenome.cohort.expression import obs
from fedgenome.cohort.h5ad import open_h5ad
from fedgenome.cohort.intervals import bare
from fedgenome.cohort.shard import Array, repeated
from fedgenome.cohort.table import Table, dense
from fedgenome.cohort.values import UNCALLED
from fedgenome.cohort.variant_panel import Listed, VariantPanel
from fedgenome.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """Records of named people.

    Attributes:
        ids: Who they are.
        x: int8 dosages, −1 where not told, or float32, NaN where not told (people, variants), as the cohort has them.
        label: The class of each; "" where the panel tells none.
        joined: How many variants of the cohort it has, and how they were found.
    """

    ids: tuple[str, ...]
    x: Array
    label: tuple[str, ...]
    joined: Mapping[str, int]


def read_reference(path: str, variants: Sequence[str], *, dosages: bool, id: str | None, label: str) -> Reference:
    """Read a panel's records of ``variants``.

    Dosages are joined by place and alleles: where REF and ALT are swapped d is 2 − d. A/T and C/G are taken to be on
    the cohort's strand: a matcher learns by its pairs where they are not, while without them the audit would be blind
    to what is told. Other values are joined by name.

    Raises:
        SpecError: not a readable h5ad, an id twice, or none of the variants.
    """
    table = open_h5ad(path, "X")
    ids = table.rows if id is None else tuple(obs(path, table.columns, id))
    if twice := repeated(ids):
        raise SpecError(f"{path}: expected every person once, got {twice[0]!r} twice; name the ids' column")
    if dosages != table.dosages:
        kind = "genotypes, as `fedgenome ingest` writes them" if dosages else "values as the cohort's, not genotypes"
        raise SpecError(f"{path}: expected {kind}")
    told = tuple(obs(path, table.columns, label)) if label in table.columns else ("",) * len(ids)
    x, joined = _dosages(table, variants) if dosages else _numbers(table, variants)
    if not joined["joined"]:
        raise SpecError(f"{path}: expected some of the cohort's {len(variants)} variants, got none of them")
    return Reference(ids=ids, x=x, label=told, joined=joined)


def place(variant: str) -> tuple[str, int, str, str] | None:
    """Return contig, position, REF and ALT of a variant's name; None of another name.

    >>> place("chr1:838555:C:A"), place("TP53")
    (('chr1', 838555, 'C', 'A'), None)
    """
    parts = variant.rsplit(":", 3)
    return (parts[0], int(parts[1]), parts[2], parts[3]) if len(parts) == 4 and parts[1].isdigit() else None


def _numbers(table: Table, genes: Sequence[str]) -> tuple[Array, dict[str, int]]:
    at = {gene: i for i, gene in enumerate(table.genes)}
    there = [i for i, gene in enumerate(genes) if gene in at]
    x = np.full((len(table.rows), len(genes)), np.nan, np.float32)
    x[:, there] = dense(table.x[:, [at[genes[i]] for i in there]])
    return x, {"joined": len(there)}


def _dosages(table: Table, variants: Sequence[str]) -> tuple[Array, dict[str, int]]:
    column = {variant: i for i, variant in enumerate(variants)}
    listed = _listed(variants)
    counts = Counter[str]()
    x = np.full((len(table.rows), len(variants)), UNCALLED, np.int8)
    every = dense(table.x)
    for j, name in enumerate(table.genes):
        own = every[:, j]
        if (found := place(name)) is None:
            matched = [(column[name], 1)] if name in column else []
        else:
            contig, position, *alleles = found
            near = listed.matches(contig, position, alleles, "keep", counts)
            matched = [(column[_name(one)], index) for one, index in near]
        for i, index in matched:
            x[:, i] = own if index else np.where(own < 0, UNCALLED, 2 - own)
    joined = int((x >= 0).any(0).sum())
    return x, {"joined": joined, **{how: counts[how] for how in ("swapped", "complemented") if counts[how]}}


def _listed(variants: Sequence[str]) -> VariantPanel:
    at: dict[tuple[str, int], list[Listed]] = defaultdict(list)
    for variant in variants:
        if (found := place(variant)) is not None:
            contig, position, ref, alt = found
            at[bare(contig), position].append(Listed(contig=contig, position=position, ref=ref, alt=alt))
    every = {where: tuple(some) for where, some in at.items()}
    return VariantPanel(source="the cohort", at=every, size=len(variants), frequencies=False)


def _name(one: Listed) -> str:
    return f"{one.contig}:{one.position}:{one.ref}:{one.alt}"
