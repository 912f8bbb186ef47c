"""Public genotypes of 1000 Genomes, for releases of frequencies and of synthetic people; not part of the project."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedgenome.audit.linkage import kinship
from fedgenome.audit.targets import Records
from fedgenome.cohort.calls import open_vcf
from fedgenome.cohort.genotypes import GenotypeSpec, Haploid, blocks
from fedgenome.errors import require
from fedgenome.query import Array
from fedgenome.study import Schema

_HERE = Path(__file__).parents[2] / "../shared/data"
_THIN = 5  # one variant of so many tells kin
_COMMON, _DENSE = 0.05, 800  # least frequency, and number, of the variants of one region


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """Dosages of people.

    Attributes:
        dosages: int8 (people, variants).
        label: Codes of ``labels``, (people,).
        labels: Their names.
        names: Of variants.
    """

    dosages: Array
    label: Array
    labels: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        """What a study of them would say."""
        return Schema(genes=self.names, labels=self.labels, high=2.0, unit="donor", dosages=True)

    def records(self, at: Array) -> Records:
        """Return some of them as rows."""
        return Records(x=self.dosages[at].astype(np.float32), label=self.label[at])


def thinned() -> People:
    """Return unrelated people of the sequence panel, 13,009 variants over the genome."""
    x, names = _read("sequence_panel.vcf.gz", "refuse")
    family = kinship.families(kinship.kinship(x[:, ::_THIN], x[:, ::_THIN]), kinship.SECOND)
    x = x[np.unique(family, return_index=True)[1]]
    return People(dosages=x, label=np.zeros(len(x), np.int64), labels=("everybody",), names=names)


def ancestries() -> People:
    """Return 2,504 people of five ancestries, 805 variants over the genome."""
    with np.load(_folder() / "kgp3_805.npz", allow_pickle=False) as file:
        hap, group, snp = file["hap"], file["super_pop"], file["snp"]
    labels, label = np.unique(group, return_inverse=True)
    x = hap.sum(1, dtype=np.int8)
    return People(dosages=x, label=label, labels=tuple(map(str, labels)), names=tuple(map(str, snp)))


def dense() -> People:
    """Return 1,252 people made of two haplotypes each, 800 common neighbouring variants of one region."""
    x, names = _read("chr15_10k_test.vcf.gz", "single")
    common = np.flatnonzero(abs(x.mean(0) - 0.5) < 0.5 - _COMMON)[:_DENSE]
    pairs = (x[::2] + x[1::2])[:, common]
    return People(
        dosages=pairs,
        label=np.zeros(len(pairs), np.int64),
        labels=("everybody",),
        names=tuple(names[at] for at in common),
    )


def _folder() -> Path:
    folder = Path(os.environ.get("FEDGENOME_DATA", _HERE)) / "genotypes"
    require(folder.is_dir(), f"a folder {folder} with the panels, or FEDGENOME_DATA beside it")
    return folder


def _read(name: str, haploid: Haploid) -> tuple[Array, tuple[str, ...]]:
    file = open_vcf(str(_folder() / name))
    every = list(blocks(file, GenotypeSpec(haploid=haploid), Counter()))
    return np.concatenate([one.dosage for one in every]).T.copy(), tuple(v.name for one in every for v in one.variants)
