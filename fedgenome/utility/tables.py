"""Tables to be judged, from h5ad files: the same genes by name, the same labels, the same scale, or one clear error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedgenome.audit.targets import Records
from fedgenome.cohort import expression
from fedgenome.cohort.h5ad import open_h5ad
from fedgenome.cohort.table import Table, dense
from fedgenome.errors import SpecError, did_you_mean
from fedgenome.utility.run import Real

SYNTHETIC_LABEL = "label"  # the obs column of a release's synthetic.h5ad
_WIDE = 1e30  # a range that clips nothing
_HEAD = 200  # rows that tell counts from other scales


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What to read, and how.

    Attributes:
        real: Real rows.
        synthetic: The table to be judged.
        train: What its generator was trained on; None: ``real``, if there is a ``holdout``, else not at hand.
        holdout: Real rows that it never saw. With ``train`` they are for distances to the closest record alone;
            without it ``real`` is what it was trained on, and these rows are what it is tested on.
        label: obs column of the classes in real files; in the synthetic one too, or else ``label``.
        donor: obs column of donors in real files; None: every row by itself.
        layer: ``X``, ``raw`` or a layer, of real files.
        common: Compare the genes that all files have, where they differ.
        counts: Scale files of whole counts to 1e4 a row, then log1p.
        drop_unlabelled: Leave out real rows without a label.
    """

    real: Path
    synthetic: Path
    train: Path | None = None
    holdout: Path | None = None
    label: str = SYNTHETIC_LABEL
    donor: str | None = None
    layer: str = "X"
    common: bool = False
    counts: bool = False
    drop_unlabelled: bool = False

    @property
    def roles(self) -> dict[str, Path]:
        """Each role's file: ``synthetic``, ``truth``, and what there is of ``train`` and ``holdout``."""
        found = {"synthetic": self.synthetic, "truth": self.real}
        if self.train is not None:
            found["train"] = self.train
            return found | ({} if self.holdout is None else {"holdout": self.holdout})
        return found if self.holdout is None else found | {"truth": self.holdout, "train": self.real}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Given:
    """Tables that fit each other.

    Attributes:
        synthetic: The table to be judged.
        real: The real rows.
        genes: Columns of all.
        labels: Names of the label codes.
    """

    synthetic: Records
    real: Real
    genes: tuple[str, ...]
    labels: tuple[str, ...]


def read(files: Files) -> Given:
    """Read and check all files.

    Raises:
        SpecError: a file, column, gene, label or scale does not fit; one line says which, and what would.
    """
    tables = {
        role: open_h5ad(str(path), "X" if role == "synthetic" else files.layer) for role, path in files.roles.items()
    }
    genes = _genes(tables, files.common)
    columns = {role: _column(table, role, files.label) for role, table in tables.items()}
    labels = _labels(tables, columns)
    scales = _scales(tables, files.counts)
    found = {
        role: _records(
            expression.CohortSpec(
                source=table.source,
                label=columns[role],
                labels=labels,
                donor=None if role == "synthetic" else files.donor,
                layer="X" if role == "synthetic" else files.layer,
                scale="counts" if scales[role] else "log",
                panel=genes,
                low=-_WIDE,
                high=_WIDE,
                drop_unlabelled=files.drop_unlabelled,
            )
        )
        for role, table in tables.items()
    }
    real = Real(truth=found["truth"], train=found.get("train"), holdout=found.get("holdout"))
    return Given(synthetic=found["synthetic"], real=real, genes=genes, labels=labels)


def _records(spec: expression.CohortSpec) -> Records:
    cohort = expression.read(spec)
    _, donor = np.unique(np.asarray(cohort.owners), return_inverse=True)
    return Records(x=np.asarray(cohort.x, np.float64), label=cohort.label, donor=donor)


def _genes(tables: Mapping[str, Table], common: bool) -> tuple[str, ...]:
    """Return the genes to compare, in the order of the truth's."""
    truth = tables["truth"]
    shared = set(truth.genes).intersection(*(table.genes for table in tables.values()))
    for table in tables.values():
        only, lacks = set(table.genes) - set(truth.genes), set(truth.genes) - set(table.genes)
        if (only or lacks) and not common:
            told = "; ".join(
                f"{len(names)} only in {source} ({_some(sorted(names))})"
                for names, source in ((lacks, truth.source), (only, table.source))
                if names
            )
            way = f"--common compares the {len(shared)} that all files share" if shared else "they share none"
            raise SpecError(f"genes: expected the same in every file, by name: {told}; {way}")
    if not shared:
        raise SpecError("--common: expected genes that all files share, by name, got none")
    return tuple(gene for gene in truth.genes if gene in shared)


def _column(table: Table, role: str, label: str) -> str:
    wanted = [label, SYNTHETIC_LABEL] if role == "synthetic" else [label]
    for column in wanted:
        if column in table.columns:
            return column
    near = did_you_mean(label, table.columns, f"the file has {_some(table.columns) or 'none'}")
    raise SpecError(f"{table.source}: expected an obs column {' or '.join(map(repr, wanted))} of classes ({near})")


def _labels(tables: Mapping[str, Table], columns: Mapping[str, str]) -> tuple[str, ...]:
    """Return the classes of the real files, sorted; the table may lack some, and have no other."""
    seen = {role: _named(table.columns[columns[role]]) for role, table in tables.items()}
    real = sorted(set().union(*(names for role, names in seen.items() if role != "synthetic")))
    if not real:
        raise SpecError(f"{tables['truth'].source}: obs[{columns['truth']!r}]: expected labelled rows, got none")
    if strange := sorted(seen["synthetic"] - set(real)):
        near = did_you_mean(strange[0], real, f"the real rows have {_some(real)}")
        where = f"{tables['synthetic'].source}: obs[{columns['synthetic']!r}]"
        raise SpecError(f"{where}: expected only labels of the real rows, got {strange[0]!r} ({near})")
    return tuple(real)


def _named(values: Iterable[object]) -> set[str]:
    """Return the different labels as text, as a cohort reads them."""
    return {expression.text(value) for value in values} - {""}


def _scales(tables: Mapping[str, Table], counts: bool) -> dict[str, bool]:
    """Return for each role if its values are counts to be scaled."""
    whole = {role: _is_counts(table) for role, table in tables.items()}
    if counts:
        return whole
    if len(set(whole.values())) > 1:
        ours, theirs = (next(tables[role].source for role, is_it in whole.items() if is_it == w) for w in (True, False))
        rule = "--counts scales counts to 1e4 a row, then log1p"
        raise SpecError(
            f"scale: expected the same in every file, {ours} holds whole counts and {theirs} does not; {rule}"
        )
    return dict.fromkeys(whole, False)


def _is_counts(table: Table) -> bool:
    head = dense(table.x[:_HEAD])
    return bool(head.size) and bool(np.all((head >= 0) & (head == np.floor(head))) and head.max() > 1)


def _some(names: Iterable[str], most: int = 5) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
