"""Which cohort to read and how: :class:`CohortSpec`, the ``[cohort]`` table of an experiment."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fedgenome.cohort.matlab import Variables, is_matlab
from fedgenome.cohort.panel import GeneChoice
from fedgenome.cohort.shard import repeated
from fedgenome.strict import Strict
from fedgenome.study import Batch, Vocabulary, check_coded, check_dosages, coded


class CohortSpec(Strict):
    """Which cohort to read and how. Ranges, classes and genes are public choices, never read off the data."""

    source: str = Field(
        min_length=1,
        description="name of a public dataset (pbmc68k), or an .h5ad, .tsv, .mat or cBioPortal's data_mrna….txt",
    )
    annotation: str | None = Field(default=None, description="table of the rows' obs columns, for a .tsv source")
    matlab: Variables | None = Field(default=None, description="names of a .mat's variables; absent: DeepType's")
    label: str = Field(description="obs column that holds the class of a row")
    labels: tuple[str, ...] = Field(min_length=1, description="the public list of classes")
    donor: str | None = Field(default=None, description="obs column of donor ids; absent: every row is a unit")
    rows_per_donor: int | None = Field(
        default=None, ge=1, description="most rows of one donor; which, keyed coins say, whatever the rows hold"
    )
    site: str | None = Field(default=None, description="obs column of hospitals, for split.by = 'column' and for only")
    only: tuple[str, ...] | None = Field(default=None, description="values of the site column; other rows stay unread")
    layer: str = Field(default="X", description="X, raw, or the name of a layer")
    scale: Literal["log", "counts", "codes", "dosage"] = Field(
        description="log: used as it is; counts: to 1e4 a row, then log1p; codes: tokens; dosage: copies of ALT"
    )
    tokens: Vocabulary | None = Field(default=None, description="with scale = 'codes': what a code stands for")
    panel: str | tuple[str, ...] | None = Field(
        default=None, description="public panel of genes: its name, a path, or a list; absent: every gene of the file"
    )
    genes: GeneChoice | None = Field(default=None, description="how many of these genes, and which")
    low: float = Field(default=0.0, description="smallest value, public; values below are clipped")
    high: float = Field(description="largest value, public; values above are clipped")
    fill: float | None = Field(
        default=None, description="public value in place of one that was not measured; absent: refused"
    )
    lacking: float = Field(default=0.1, ge=0, le=1, description="most of the genes that a site may lack, as a share")
    batch: Batch = Field(default="none", description="ranks: each row by itself to normal scores of its ranks")
    drop_unlabelled: bool = Field(default=False, description="leave out rows whose label is empty")
    public: bool = Field(default=False, description="declare a file's data public: only then a run may be seeded")

    @model_validator(mode="before")
    @classmethod
    def _codes(cls, told: object) -> object:
        if isinstance(told, dict) and told.get("scale") == "dosage":
            return {"low": 0.0, "high": 2.0} | told
        return coded(told, isinstance(told, dict) and told.get("scale") == "codes")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tokens is not None:
            self._check_codes(self.tokens)
        if self.scale == "dosage":
            check_dosages(self.low, self.high, self.batch)
        if self.low >= self.high:
            raise ValueError(f"expected low < high, got low={self.low}, high={self.high}")
        if self.matlab is not None and not is_matlab(self.source):
            raise ValueError(f"expected matlab only with a .mat source, got {self.source}")
        if self.fill is not None and not self.low <= self.fill <= self.high:
            raise ValueError(f"expected low <= fill <= high, got fill={self.fill}")
        if self.only is not None and self.site is None:
            raise ValueError("expected site to name the obs column that only is about, got none")
        if self.rows_per_donor is not None and self.donor is None:
            raise ValueError("expected rows_per_donor only with a donor column")
        if self.genes is not None and self.genes.first is not None and self.panel is None:
            raise ValueError("expected panel with genes.first: the order of a file's genes may come from its data")
        genes = self.panel if isinstance(self.panel, tuple) else None
        if genes == ():
            raise ValueError("expected at least one gene in panel, got none")
        for what, names in (("class in labels", self.labels), ("gene in panel", genes or ())):
            if "" in names:
                raise ValueError(f"expected a name for every {what}, got ''")
            if twice := repeated(names):
                raise ValueError(f"expected every {what} once, got {twice[0]!r} twice")
        return self

    def _check_codes(self, tokens: Vocabulary) -> None:
        if self.scale != "codes":
            raise ValueError(f"expected tokens only with scale = 'codes', got scale = {self.scale!r}")
        if self.genes is not None:
            raise ValueError("expected no genes with scale = 'codes': a window is read whole, or by panel")
        check_coded(tokens, self.low, self.high, self.fill, self.batch)
