"""Two looks at the same people: an array and low-coverage sequence, or made ones; who is on which side of a split.

The real panels (HapMap 3 and 1000 Genomes, ``FEDGENOME_DATA``) share 361 people, two noisy observations of each. What
would be released are array records; whoever attacks holds the sequence panel. People fall into five folds, families
whole. A seed judges one fold, fits attackers to the next, and chooses lists on the other three: over five seeds
everybody is judged once, and nobody is judged by what was fitted to them or to their family.
"""

from __future__ import annotations

import csv
import functools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fedgenome.audit.linkage import kinship
from fedgenome.cohort.calls import open_vcf
from fedgenome.cohort.genotypes import GenotypeSpec, Variant, blocks
from fedgenome.errors import SpecError
from fedgenome.query import Array
from fedgenome.streams import Root

Data = Literal["real", "made"]

HERE = Path(__file__).parents[2] / "../shared/data"
FOLDS = 5  # and seeds
_THIN = 5  # one variant of so many tells kin
# The populations of both panels; two of HapMap 3 are in no later panel, and Mexicans had another code then.
ANCESTRY = {
    "AFR": ("ASW", "LWK", "MKK", "YRI"),
    "AMR": ("CLM", "MEX", "MXL", "PUR"),
    "EAS": ("CHB", "CHD", "CHS", "JPT"),
    "EUR": ("CEU", "FIN", "GBR", "IBS", "TSI"),
    "SAS": ("GIH",),
}
_MADE = {"people": 240, "linked": 160, "variants": 400, "drift": 0.08, "error": 0.01}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panels:
    """Both panels, of the same variants.

    Attributes:
        array: Dosages of what would be released, int8 (people, variants).
        sequence: Dosages of what an attacker holds, int8 (others, variants).
        whose: Which sequence record is of the same person, int64 (people,); −1 for none.
        population: Of the array records, text (people,).
        ancestry: Of the array records, rows of ``ancestries``, int64 (people,).
        ancestries: Their names.
        folds: Of the array records and of the sequence records, int64 (people,) and (others,).
        contig: Of each variant, text (variants,).
        position: Of each variant, base pairs, int64 (variants,).
        names: Of each variant.
    """

    array: Array
    sequence: Array
    whose: Array
    population: Array
    ancestry: Array
    ancestries: tuple[str, ...]
    folds: tuple[Array, Array]
    contig: Array
    position: Array
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sides:
    """Who does what under one seed; rows of the array and of the sequence panel.

    Attributes:
        chosen: Array records on which lists are chosen.
        fitted: Array records that have a sequence record, to which attackers are fitted.
        base: Sequence records of other people than probes and candidates.
        judged: Array records, the probes; some of them are in no panel (decoys).
        candidates: Sequence records.
        owner: int64 (judged,): the candidate who is the probe's person, or −1.
    """

    chosen: Array
    fitted: Array
    base: Array
    judged: Array
    candidates: Array
    owner: Array


def sides(panels: Panels, seed: int) -> Sides:
    """Return the sides of a seed below ``FOLDS``."""
    array, sequence = panels.folds
    judged, fitting = seed % FOLDS, (seed + 1) % FOLDS
    candidates = np.flatnonzero(sequence != fitting)
    place = np.full(len(sequence) + 1, -1)  # the last is of those who are in no panel
    place[candidates] = np.arange(len(candidates))
    probes = np.flatnonzero(array == judged)
    return Sides(
        chosen=np.flatnonzero((array != judged) & (array != fitting)),
        fitted=np.flatnonzero((array == fitting) & (panels.whose >= 0)),
        base=np.flatnonzero(sequence == fitting),
        judged=probes,
        candidates=candidates,
        owner=place[panels.whose[probes]],
    )


@functools.lru_cache(maxsize=1)
def panels(data: Data) -> Panels:
    """Return the panels.

    Raises:
        SpecError: the real ones are not there.
    """
    return _real() if data == "real" else _made()


def _real() -> Panels:
    folder = Path(os.environ.get("FEDGENOME_DATA", HERE)) / "genotypes"
    if not (folder / "people.tsv").exists():
        raise SpecError(f"{folder}: expected array_panel.vcf.gz, sequence_panel.vcf.gz and people.tsv, got none")
    (ids, array, variants), (others, sequence, same) = (
        _read(folder / f"{name}_panel.vcf.gz") for name in ("array", "sequence")
    )
    if [one.name for one in variants] != [one.name for one in same]:
        raise SpecError(f"{folder}: expected the same variants in both panels")
    with (folder / "people.tsv").open(encoding="utf-8") as file:
        listed = {
            row["id"]: row["population"] for row in csv.DictReader(file, delimiter="\t") if row["panel"] == "array"
        }
    place = {person: at for at, person in enumerate(others)}
    return _joined(
        array=array,
        sequence=sequence,
        whose=np.array([place.get(person, -1) for person in ids]),
        family=_kin(array, sequence),
        population=np.array([listed[person] for person in ids]),
        contig=np.array([one.contig for one in variants]),
        position=np.array([one.position for one in variants]),
        names=tuple(one.name for one in variants),
    )


def _read(path: Path) -> tuple[tuple[str, ...], Array, list[Variant]]:
    file = open_vcf(str(path))
    every = list(blocks(file, GenotypeSpec(), Counter()))
    return (
        file.samples,
        np.concatenate([one.dosage for one in every]).T.copy(),
        [v for one in every for v in one.variants],
    )


def _joined(
    *,
    array: Array,
    sequence: Array,
    whose: Array,
    family: Array,
    population: Array,
    contig: Array,
    position: Array,
    names: Sequence[str],
) -> Panels:
    ancestries = tuple(ANCESTRY)
    code = {name: at for at, group in enumerate(ancestries) for name in (group, *ANCESTRY[group])}
    return Panels(
        array=array,
        sequence=sequence,
        whose=whose,
        population=population,
        ancestry=np.array([code[name] for name in population]),
        ancestries=ancestries,
        folds=_folds(family, len(array)),
        contig=contig,
        position=position,
        names=tuple(names),
    )


def _kin(array: Array, sequence: Array) -> Array:
    """Return the family of every record, the array's first: kin to the second degree, both looks of a person too."""
    thin = np.concatenate([array, sequence])[:, ::_THIN]
    return kinship.families(kinship.kinship(thin, thin), kinship.SECOND)


def _folds(family: Array, people: int) -> tuple[Array, Array]:
    """Return the folds of the first ``people`` records, and of the others; families whole."""
    drawn = Root.simulation(0, "afml").stream("folds").generator().permutation(family.max() + 1) % FOLDS
    return drawn[family[:people]], drawn[family[people:]]


def _made() -> Panels:
    """Return made people of four ancestries whose frequencies drifted apart, each variant by itself."""
    rng = Root.simulation(0, "afml").stream("made").generator()
    groups = ("AFR", "AMR", "EAS", "EUR")
    people, linked, variants = _MADE["people"], _MADE["linked"], _MADE["variants"]
    everywhere = rng.uniform(0.05, 0.95, int(variants))
    spread = (1 - _MADE["drift"]) / _MADE["drift"]
    frequency = rng.beta(everywhere * spread, (1 - everywhere) * spread, (len(groups), int(variants)))
    ancestry = rng.integers(0, len(groups), int(people))
    array = rng.binomial(2, frequency[ancestry]).astype(np.int8)
    both = np.concatenate([array[: int(linked)], rng.binomial(2, frequency[rng.integers(0, len(groups), 80)])])
    wrong = rng.random(both.shape) < _MADE["error"]
    return _joined(
        array=array,
        sequence=np.where(wrong, rng.integers(0, 3, both.shape), both).astype(np.int8),
        whose=np.where(np.arange(people) < linked, np.arange(people), -1).astype(np.int64),
        family=np.concatenate([np.arange(people), np.arange(linked), people + np.arange(80)]).astype(np.int64),
        population=np.array(groups)[ancestry],
        contig=np.repeat([str(at) for at in range(1, 5)], int(variants) // 4),
        position=np.tile(np.arange(1, int(variants) // 4 + 1) * 100_000, 4),
        names=tuple(f"{at // 100 + 1}:{(at % 100 + 1) * 100_000}:A:G" for at in range(int(variants))),
    )
