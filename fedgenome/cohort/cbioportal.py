"""Expression as cBioPortal hands it out, METABRIC's among it (Curtis et al. 2012; Cerami et al. 2012).

A study is a folder. *Expression* (``data_mrna….txt``, or with ``.gz``; tabs): a line ``Hugo_Symbol``,
``Entrez_Gene_Id`` (either may lack) and samples, then a line a gene. *Clinical* (``data_clinical_sample.txt``, and
``data_clinical_patient.txt`` if it is there, beside the expression): lines that begin with ``#``, a line of names,
then a line a sample, or a patient. A sample's obs columns are those of its own line and, by ``PATIENT_ID``, of its
patient's; where both have a name, the sample's is kept.

A gene that stands twice is read once, where it stands first: a rule about the file, that reads no value.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedgenome.cohort.lines import read_lines, read_numbers
from fedgenome.cohort.shard import Array, repeated
from fedgenome.cohort.table import Table
from fedgenome.errors import SpecError

_SYMBOL, _NUMBER = "Hugo_Symbol", "Entrez_Gene_Id"
_SAMPLE, _PATIENT = "SAMPLE_ID", "PATIENT_ID"
_CLINICAL = "data_clinical_sample.txt", "data_clinical_patient.txt"

Lines = Mapping[str, Mapping[str, str]]  # a line of a clinical file, by its key, as column → cell


def is_cbioportal(source: str) -> bool:
    """Return whether a source is an expression file of cBioPortal, by its name.

    >>> is_cbioportal("brca_metabric/data_mrna_illumina_microarray.txt"), is_cbioportal("brca.tsv")
    (True, False)
    """
    return Path(source).name.startswith("data_mrna") and source.endswith((".txt", ".txt.gz"))


def open_cbioportal(path: str) -> Table:
    """Open an expression file, with the clinical files that lie beside it.

    Returns:
        A table of float32 (samples, genes), NaN where a value is empty or ``NA``.

    Raises:
        SpecError: a file is absent or no such table, a sample has no line in the clinical file; names which.
    """
    samples, genes, x = _expression(path)
    folder = Path(path).parent
    clinical = _clinical(folder / _CLINICAL[0], _SAMPLE)
    patients = _clinical(folder / _CLINICAL[1], _PATIENT) if (folder / _CLINICAL[1]).is_file() else {}
    if lacking := [sample for sample in samples if sample not in clinical]:
        rule = f"expected a line of {_CLINICAL[0]} for every sample"
        raise SpecError(f"{path}: {rule}, got none for {lacking[0]!r} (and {len(lacking) - 1} more)")
    told = [{**patients.get(clinical[name].get(_PATIENT, ""), {}), **clinical[name]} for name in samples]
    names = dict.fromkeys(itertools.chain.from_iterable(told))
    columns = {name: [line.get(name, "") for line in told] for name in names}
    return Table(source=path, x=x, genes=genes, rows=samples, columns=columns)


def _expression(path: str) -> tuple[tuple[str, ...], tuple[str, ...], Array]:
    """Return samples, genes, and the numbers, (samples, genes)."""
    lines = read_lines(path, "\t")
    header = next(lines, [])
    ids = len([name for name in header[:2] if name in (_SYMBOL, _NUMBER)])
    if not ids or len(header) == ids:
        raise SpecError(f"{path}: expected a first line of {_SYMBOL} or {_NUMBER}, then samples; got {header[:3]}")
    if twice := repeated(tuple(header[ids:])):
        raise SpecError(f"{path}: expected every sample once, got {twice[0]!r} again")
    found = {}
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(header):
            raise SpecError(f"{path}: line {number}: expected {len(header)} cells, as the first has; got {len(cells)}")
        name = next((cell for cell in cells[:ids] if cell.strip()), "")
        if not name:
            raise SpecError(f"{path}: line {number}: expected a name of a gene, got none")
        if name not in found:
            found[name] = read_numbers(path, number, cells[ids:], header[ids:])
    if not found:
        raise SpecError(f"{path}: expected a line a gene, got none")
    return tuple(header[ids:]), tuple(found), np.stack(list(found.values()), axis=1)


def _clinical(path: Path, key: str) -> Lines:
    """Return the lines of a clinical file by the column ``key``."""
    lines = (cells for cells in read_lines(str(path), "\t") if not cells[0].startswith("#"))
    header = next(lines, [])
    if key not in header:
        raise SpecError(f"{path}: expected a column {key}, got {', '.join(header[:5]) or 'no line of names'}")
    found: dict[str, dict[str, str]] = {}
    for cells in lines:
        if len(cells) > len(header):
            raise SpecError(f"{path}: {cells[0]!r}: expected at most {len(header)} cells, got {len(cells)}")
        line = dict(zip(header, cells, strict=False))  # empty cells at the end are left out
        name = line.get(key, "")
        if not name or name in found:
            raise SpecError(f"{path}: expected every {key} once, got {name!r}{' again' if name else ''}")
        found[name] = line
    return found
