"""A public list of variants (:class:`VariantPanel`) and which allele of a file's line is the panel's ALT.

Files of two laboratories may count the other allele, or have the other strand's letters. What is counted is always
the panel's ALT: where the file has REF and ALT swapped these are its REFs, so that a dosage d becomes 2 − d.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedgenome.cohort.intervals import bare
from fedgenome.errors import SpecError

Ambiguous = Literal["drop", "refuse", "keep"]
_COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}
_COLUMNS = {"contig": ("contig", "chrom", "#chrom", "chr"), "position": ("position", "pos"), "ref": ("ref",)}
_COLUMNS |= {"alt": ("alt",), "id": ("id",), "af": ("af", "maf")}
_NEEDED = ("contig", "position", "ref", "alt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A variant of a panel.

    Attributes:
        contig: Its contig, as the panel spells it.
        position: 1-based.
        ref: The panel's REF.
        alt: The panel's ALT, whose copies are counted.
        id: Its name, or "".
        frequency: Public frequency of one of its alleles; NaN where none is told.
    """

    contig: str
    position: int
    ref: str
    alt: str
    id: str = ""
    frequency: float = math.nan

    @property
    def ambiguous(self) -> bool:
        """Whether both strands have the same two letters: A/T and C/G."""
        return _COMPLEMENT.get(self.ref) == self.alt


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantPanel:
    """A public list of variants.

    Attributes:
        source: The file.
        at: Of each contig (without ``chr``) and position the variants there.
        size: Number of variants.
        frequencies: Whether every variant has a public frequency.
    """

    source: str
    at: Mapping[tuple[str, int], tuple[Listed, ...]]
    size: int
    frequencies: bool

    def frequency(self, contig: str, position: int, ref: str, alt: str) -> float:
        """Return the public frequency of a variant of the panel."""
        here = self.at[bare(contig), position]
        return next(one.frequency for one in here if (one.ref, one.alt) == (ref, alt))

    def matches(
        self, contig: str, position: int, alleles: Sequence[str], ambiguous: Ambiguous, counts: Counter[str]
    ) -> list[tuple[Listed, int]]:
        """Return the panel's variants that a line is about, each with the index of the allele that is its ALT.

        Args:
            contig: The line's.
            position: The line's.
            alleles: Its REF and ALTs.
            ambiguous: What becomes of A/T and C/G; ``keep``: the file has the panel's strand.
            counts: Where it is counted what was ``swapped``, ``complemented``, ``ambiguous`` and of ``other alleles``.

        Raises:
            SpecError: an A/T or C/G variant, where they are refused.
        """
        found = []
        for one in self.at.get((bare(contig), position), ()):
            if one.ambiguous and ambiguous != "keep":
                if ambiguous == "refuse":
                    rule = "expected a variant whose strand its alleles tell, got"
                    raise SpecError(f"{self.source}: {contig}:{position}: {rule} {one.ref}/{one.alt}")
                counts["ambiguous"] += 1
                continue
            index, how = _index(one, alleles)
            counts.update(how)
            if index is not None:
                found.append((one, index))
        return found


def _index(one: Listed, alleles: Sequence[str]) -> tuple[int | None, tuple[str, ...]]:
    """Return which of the alleles is a variant's ALT, and how they differ from the panel's."""
    turned = (_COMPLEMENT.get(one.ref, ""), _COMPLEMENT.get(one.alt, ""))
    for (ref, alt), how in (((one.ref, one.alt), ()), (turned, ("complemented",))):
        if ref in alleles and alt in alleles and alleles[0] in (ref, alt):
            index = alleles.index(alt)
            return index, (*how, *(("swapped",) if index == 0 else ()))
    return None, ("other alleles",)


def read_variant_panel(path: str) -> VariantPanel:
    """Read a panel: a table of text (.tsv, .tsv.gz) or the ``var`` of a cohort (.h5ad).

    Columns by name: contig (or chrom), position (or pos), ref, alt; id, and af or maf, may be there.

    Raises:
        SpecError: no such file or column, a position or frequency that is no number, or a variant twice.
    """
    rows = _of_h5ad(path) if path.endswith(".h5ad") else _of_text(path)
    at: dict[tuple[str, int], list[Listed]] = defaultdict(list)
    size, frequencies = 0, True
    for where, row in rows:
        one = _listed(path, where, row)
        place = at[bare(one.contig), one.position]
        if any({one.ref, one.alt} == {other.ref, other.alt} for other in place):
            raise SpecError(
                f"{path}: {where}: expected every variant once, got {one.contig}:{one.position}:{one.ref}:{one.alt}"
            )
        place.append(one)
        size, frequencies = size + 1, frequencies and not math.isnan(one.frequency)
    if not size:
        raise SpecError(f"{path}: expected a panel with variants, got none")
    every = {place: tuple(some) for place, some in at.items()}
    return VariantPanel(source=path, at=every, size=size, frequencies=frequencies)


def _listed(path: str, where: str, row: Mapping[str, Any]) -> Listed:
    told = {name: str(row[name]).strip() for name in ("contig", "ref", "alt")}
    try:
        position, frequency = int(row["position"]), float(row.get("af") or math.nan)
    except ValueError:
        seen = f"{row['position']!r} and {row.get('af')!r}"
        raise SpecError(f"{path}: {where}: expected a whole position and a frequency, got {seen}") from None
    if position < 0 or not all(told.values()) or not (math.isnan(frequency) or 0 <= frequency <= 1):
        raise SpecError(f"{path}: {where}: expected contig, position, ref, alt and a frequency of 0 to 1, got {row}")
    ref, alt, name = told["ref"].upper(), told["alt"].upper(), str(row.get("id") or "")
    return Listed(
        contig=told["contig"],
        position=position,
        ref=ref,
        alt=alt,
        id="" if name == "." else name,
        frequency=frequency,
    )


def _named(path: str, header: Sequence[str]) -> dict[str, str]:
    """Return our names of the columns, by theirs."""
    lower = {name.strip().lower(): name for name in header}
    found = {ours: lower[name] for ours, names in _COLUMNS.items() for name in reversed(names) if name in lower}
    if lacking := [name for name in _NEEDED if name not in found]:
        rule = f"expected columns {', '.join(_NEEDED)}"
        raise SpecError(f"{path}: {rule}, got none that says {lacking[0]} among {', '.join(header[:9])}")
    return found


def _of_text(path: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    opened = gzip.open if path.endswith(".gz") else open
    try:
        with opened(Path(path), "rt", encoding="utf-8", newline="") as file:
            lines = csv.reader(file, delimiter="\t")
            header = next(lines, [])
            named = _named(path, header)
            where = {ours: header.index(theirs) for ours, theirs in named.items()}
            for number, cells in enumerate(lines, start=2):
                if len(cells) != len(header):
                    raise SpecError(f"{path}: line {number}: expected {len(header)} cells, got {len(cells)}")
                yield f"line {number}", {ours: cells[i] for ours, i in where.items()}
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as fault:
        raise SpecError(
            f"{path}: expected a table of variants, got {getattr(fault, 'strerror', None) or fault}"
        ) from None


def _of_h5ad(path: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    import h5py  # both are slow to import, and only this function needs them
    from anndata.io import read_elem

    try:
        with h5py.File(path) as file:
            var = read_elem(file["var"])
    except (OSError, KeyError) as fault:
        raise SpecError(f"{path}: expected a cohort of genotypes, got {fault}") from None
    named = _named(path, list(map(str, var.columns)))
    columns = [var[theirs].tolist() for theirs in named.values()]
    for name, cells in zip(map(str, var.index), zip(*columns, strict=True), strict=True):
        yield name, dict(zip(named, cells, strict=True))
