"""Public cohorts for experiments on synthesis: where each lies, how it reads, splits that put no person on both sides.

The files are those that ``FEDGENOME_DATA`` (or an argument) names; none is part of the project. Whoever needs one that
is absent is told so in one line, and may leave it out. All numbers here are public choices: ranges of log-expression as
laboratories write it, classes as the field names them, bounds with slack.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from fedgenome.cohort import expression
from fedgenome.cohort.expression import CohortSpec
from fedgenome.cohort.homes import majority
from fedgenome.cohort.shard import Cohort, Shard
from fedgenome.cohort.split import Split, SplitSpec, split, undealt
from fedgenome.errors import SpecError, require
from fedgenome.query import Array
from fedgenome.streams import Root

HERE = Path(__file__).parents[2] / "../shared/data"
PAM50 = ("LumA", "LumB", "Basal", "Her2", "Normal")
TEST = 0.2  # share of donors that nothing is fitted on


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One public cohort.

    Attributes:
        file: Below ``expression/``.
        reads: Fields of its :class:`CohortSpec`.
        deals: Fields of its natural :class:`SplitSpec`.
        donors_bound: Public bound on its donors in training.
        says: What it is good for, in one line.
    """

    file: str
    reads: Mapping[str, Any]
    deals: Mapping[str, Any] = field(default_factory=lambda: {"by": "even", "sites": 2})
    donors_bound: int
    says: str


_TCGA = {"label": "pam50", "labels": PAM50, "donor": "patient", "site": "tss", "drop_unlabelled": True}
_BREAST = {"label": "er", "labels": ("0", "1"), "site": "site", "drop_unlabelled": True, "fill": 0.0}
_CELLS = {"label": "cg_cov", "labels": ("T4", "T8"), "scale": "counts", "high": 9.0}
_CELLS_FILE = "perez2022_healthy_tcells_15751x3000.h5ad"
_BREAST_FILE = "breast_3sites_genefu_653.h5ad"

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "tcga_brca": Source(
            file="tcga_brca_rnaseq_1218x909.h5ad",
            reads=_TCGA | {"scale": "log", "high": 20.0},
            deals={"by": "column"},
            donors_bound=900,
            says="bulk RNA-seq of 1,085 patients, PAM50, real hospitals as sites",
        ),
        "breast_sites": Source(
            file=_BREAST_FILE,
            reads=_BREAST | {"scale": "log", "low": -4.0, "high": 4.0, "batch": "ranks"},
            deals={"by": "column"},
            donors_bound=450,
            says="three breast studies on three platforms, oestrogen receptor, ranks within each sample",
        ),
        "breast_sites_native": Source(
            file=_BREAST_FILE,
            reads=_BREAST | {"scale": "log", "low": -3.0, "high": 16.0},
            deals={"by": "column"},
            donors_bound=450,
            says="the same on their native scales, batch effects left in",
        ),
        "metabric": Source(
            file="metabric_1904x79.h5ad",
            reads={
                **{"label": "pam50", "labels": (*PAM50, "claudin-low", "NC"), "site": "cohort"},
                **{"scale": "log", "low": -6.0, "high": 6.0},
            },
            deals={"by": "column"},
            donors_bound=1600,
            says="METABRIC, 79 genes that others chosen for these labels: accuracy is optimistic",
        ),
        "camda_sample": Source(
            file="camda_tcga_brca_sample_100x978.h5ad",
            reads={"label": "pam50", "labels": PAM50, "scale": "log", "high": 21.0},
            donors_bound=100,
            says="a hundred samples as the CAMDA challenge hands them out",
        ),
        "tcells": Source(
            file=_CELLS_FILE,
            reads=_CELLS | {"donor": "ind_cov"},
            deals={"by": "even", "sites": 2},
            donors_bound=10,
            says="T cells of seven donors, CD4 or CD8; the unit is a donor: near chance is expected",
        ),
        "tcells_rows": Source(
            file=_CELLS_FILE,
            reads=_CELLS,
            deals={"by": "even", "sites": 2},
            donors_bound=16_000,
            says="the same cells; the unit is a row, not a person",
        ),
        "autism": Source(
            file="autism_blood_bapred_250x1000.h5ad",
            reads={
                **{"label": "label", "labels": ("autism", "control"), "site": "batch"},
                **{"scale": "log", "low": 6.0, "high": 16.0},
            },
            deals={"by": "column"},
            donors_bound=250,
            says="a negative control: its labels are at chance",
        ),
    }
)


def spec(name: str, data: Path | None = None, **changes: Any) -> CohortSpec:
    """Return how a cohort reads.

    Args:
        name: One of ``SOURCES``.
        data: Folder that holds ``expression/``; by default what ``FEDGENOME_DATA`` names.
        changes: Fields to set otherwise, such as ``genes`` or ``rows_per_donor``.

    Raises:
        SpecError: no such cohort, or its file is absent.
    """
    require(name in SOURCES, f"a cohort of {', '.join(SOURCES)}", name=name)
    path = (data or Path(os.environ.get("FEDGENOME_DATA", HERE))) / "expression" / SOURCES[name].file
    if not path.exists():
        raise SpecError(f"{path}: expected the cohort {name} here; set FEDGENOME_DATA to the folder of expression/")
    return CohortSpec.model_validate({"source": str(path), "public": True, **SOURCES[name].reads, **changes})


def present(names: Iterable[str], say: Callable[[str], None], data: Path | None = None) -> list[str]:
    """Return the cohorts whose files are there, and say of each other one that it is left out."""
    there = []
    for name in names:
        try:
            spec(name, data)
        except SpecError as fault:
            say(f"skipped {name}: {fault}")
        else:
            there.append(name)
    return there


def read(name: str, data: Path | None = None, **changes: Any) -> Cohort:
    """Read a cohort (:func:`spec`)."""
    return expression.read(spec(name, data, **changes))


def dealt(cohort: Cohort, name: str, seed: int, **changes: Any) -> Split:
    """Deal a cohort as its source says: a fifth of the donors are ``controls``, on whom nothing is fitted.

    Args:
        cohort: What :func:`read` gave.
        name: Of which source.
        seed: Of the split, public.
        changes: Fields of the :class:`SplitSpec` to set otherwise, such as ``by`` and ``sites``.
    """
    asked = SplitSpec.model_validate({"controls": TEST, **SOURCES[name].deals, **changes})
    return split(cohort, asked, Root.simulation(seed, "split").stream("split").generator())


def folds(cohort: Cohort, seed: int, k: int = 5) -> Iterator[tuple[Shard, Shard]]:
    """Yield (training, test) of each of k folds, stratified by the donors' commonest class; no donor is in both."""
    every = undealt(cohort)
    classes = majority(every.donor, every.label)
    for _, test in StratifiedKFold(k, shuffle=True, random_state=seed).split(classes, classes):
        out = np.isin(np.arange(every.n_donors), test)
        yield every.take(~out), every.take(out)


def scaled(training: Shard, *others: Array) -> tuple[Array, ...]:
    """Return the training rows and others standardised by the training rows' mean and scale, never by the others'."""
    fitted = StandardScaler().fit(training.x)
    return tuple(fitted.transform(x) for x in (training.x, *others))


def lacking(whole: Split, site: str, genes: Iterable[str], fill: float) -> Split:
    """Return a split of which one site lacks genes: it has the public ``fill`` in their place.

    Raises:
        SpecError: no such site or gene.
    """
    names = list(genes)
    require(site in whole.sites, f"a site of {', '.join(whole.sites)}", site=site)
    require(set(names) <= set(whole.genes), "genes of the study", genes=names)
    x = whole.sites[site].x.copy()
    x[:, [whole.genes.index(gene) for gene in names]] = fill
    changed = {**whole.sites, site: replace(whole.sites[site], x=x)}
    return replace(whole, sites=MappingProxyType(changed))
