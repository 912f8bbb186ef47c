"""Public lists of genes. A panel is chosen before the data are seen, so that it costs no ε (DESIGN §7.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from fedgenome.errors import SpecError
from fedgenome.strict import Strict


class GeneChoice(Strict):
    """How many genes of a public list, and which: the first, or some drawn by a public seed."""

    first: int | None = Field(default=None, ge=1, description="the first so many of the panel, in its order")
    random: int | None = Field(default=None, ge=1, description="so many of the list, drawn by seed, in its order")
    seed: int | None = Field(default=None, ge=0, description="of random; public")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.first is None) == (self.random is None):
            raise ValueError("expected either first or random")
        if (self.random is None) != (self.seed is None):
            raise ValueError("expected seed with random, and only then")
        return self

    def of(self, genes: Sequence[str]) -> tuple[str, ...]:
        """Return the chosen genes of a list, in its order.

        A draw orders all names by their digests under the seed: it depends on the set of names alone, and that
        of more genes holds that of fewer.

        Raises:
            SpecError: the list is shorter.

        >>> GeneChoice(first=2).of(["CD3D", "CD8A", "LYZ"])
        ('CD3D', 'CD8A')
        >>> GeneChoice(random=2, seed=1).of(["CD3D", "CD8A", "LYZ"])
        ('CD8A', 'LYZ')
        """
        wanted = self.first or self.random or 0
        if wanted > len(genes):
            raise SpecError(f"cohort.genes: expected at most the {len(genes)} genes of the list, got {wanted}")
        if self.first is not None:
            return tuple(genes[:wanted])
        drawn = set(sorted(genes, key=self._coin)[:wanted])
        return tuple(gene for gene in genes if gene in drawn)

    def text(self, genes: str) -> str:
        """Say in words which of ``genes`` they are."""
        return f"the first {self.first} of {genes}" if self.first else f"{self.random} of {genes}, by seed {self.seed}"

    def _coin(self, gene: str) -> bytes:
        return hashlib.sha256(f"{self.seed}\n{gene}".encode()).digest()


def panels() -> tuple[str, ...]:
    """Return the names of the panels that come with fedgenome.

    >>> panels()
    ('blood_markers',)
    """
    folder = resources.files("fedgenome.cohort") / "panels"
    return tuple(sorted(entry.name[:-4] for entry in folder.iterdir() if entry.name.endswith(".tsv")))


def told(name_path_or_genes: object, n_genes: int) -> str:
    """Return in words, for a Study, how genes were chosen: the packaged panel's name, or how many were listed.

    >>> told("blood_markers", 765), told(("CD3D", "LYZ"), 2)
    ('blood_markers', 'a list of 2 genes')
    """
    return str(name_path_or_genes) if name_path_or_genes in panels() else f"a list of {n_genes} genes"


def panel(name_or_path: str) -> tuple[str, ...]:
    """Return the genes of a packaged panel, or of a file of one gene a line, in file order.

    A file's first tab-separated column counts; lines that start with ``#`` and a first line ``gene``
    do not.

    Raises:
        SpecError: no such panel or file, not UTF-8, a gene listed twice or left empty (with the line), no gene.

    >>> panel("blood_markers")[:3]
    ('PTPRC', 'CD3D', 'CD3E')
    """
    if name_or_path in panels():
        packaged = resources.files("fedgenome.cohort") / "panels" / f"{name_or_path}.tsv"
        return _parse(name_or_path, packaged.read_text("utf-8"))
    try:
        return _parse(name_or_path, Path(name_or_path).read_text("utf-8"))
    except OSError as fault:
        rule = f"expected a file of one gene a line, or one of {', '.join(panels())}"
        raise SpecError(f"panel {name_or_path!r}: {rule}, got {fault.strerror or 'no file'}") from None
    except UnicodeDecodeError:
        raise SpecError(f"panel {name_or_path!r}: expected a text file in UTF-8") from None


def _parse(name: str, text: str) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        gene = line.split("\t")[0].strip()
        if line.startswith("#") or not line.strip() or (gene == "gene" and not first):
            continue
        if not gene:
            raise SpecError(f"panel {name!r}: line {number}: expected a gene in the first column, got none")
        if gene in first:
            rule = f"expected every gene once, {gene!r} is also on line {first[gene]}"
            raise SpecError(f"panel {name!r}: line {number}: {rule}")
        first[gene] = number
    if not first:
        raise SpecError(f"panel {name!r}: expected at least one gene, got none")
    return tuple(first)
