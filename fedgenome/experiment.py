"""``experiment.toml``: a Study plus what is private or local (paths, engine, audit policy)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fedgenome.audit.gate import Policy
from fedgenome.audit.linkage.spec import LinkageSpec
from fedgenome.cohort import panel as panels
from fedgenome.cohort.expression import CohortSpec
from fedgenome.cohort.panel import panel
from fedgenome.cohort.split import SplitSpec
from fedgenome.cohort.tokens import positions
from fedgenome.strict import Strict, from_toml
from fedgenome.study import PLAIN, Holdout, MethodSpec, Name, Privacy, Sanitize, Schema


class Caps(Strict):
    """Public numbers that stand in for private sizes."""

    site_cap: int = Field(ge=1, description="most donors a site may hold; set with slack, it is public")
    donors_bound: int = Field(ge=1, description="public bound on the donors of all sites, for δ and for means")
    quorum: int | None = Field(default=None, ge=1, description="fewest sites whose sum is opened; default: all")


class EngineSpec(Strict):
    """Where it runs."""

    kind: Literal["local", "ray"] = Field(default="local", description="this process, or Flower's simulation engine")
    secure: Literal["on", "off"] = Field(default="on", description="off: plain sums, only under trust local or none")
    timeout_seconds: float = Field(default=600.0, gt=0, description="what a site may take for one answer")
    ledgers: Path | None = Field(default=None, description="folder of site ledgers kept over runs; default: in the run")
    budget_epsilon: float | None = Field(default=None, gt=0, description="most ε that a site's ledger may ever hold")
    budget_delta: float = Field(default=1e-2, gt=0, lt=1, description="most δ that a site's ledger may ever hold")


class ReleaseSpec(Strict):
    """What is generated from the trained models."""

    generator: Name | None = Field(default=None, description="makes synthetic.h5ad; default: the first method that can")
    rows: int = Field(default=1000, ge=1, le=10_000_000, description="synthetic rows; a public number")
    why_epsilon: str = Field(default="", description="justification of ε for the card")


class Experiment(Strict):
    """One experiment file."""

    name: Name
    seed: int | None = Field(default=None, ge=0, description="a simulation without ε; absent: real randomness")
    out: Path = Field(default=Path("runs"), description="folder for run folders, relative to the working directory")
    cohort: CohortSpec | None = Field(default=None, description="whose rows are at hand: a simulation's, or a deal's")
    schema_: Schema | None = Field(
        default=None,
        alias="schema",
        description="or what is public of hospitals' data; genes as a panel or, with tokens, a number of positions",
    )
    split: SplitSpec = SplitSpec()
    caps: Caps
    privacy: Privacy
    methods: tuple[MethodSpec, ...] = Field(min_length=1)
    engine: EngineSpec = EngineSpec()
    release: ReleaseSpec = ReleaseSpec()
    audit: Policy = Policy()
    linkage: LinkageSpec = LinkageSpec()
    holdout: Holdout | None = Field(default=None, description="whom sites keep from training, for a membership method")
    sanitize: Sanitize | None = Field(default=None, description="how sites perturb rows before anything is asked")

    @field_validator("schema_", mode="before")
    @classmethod
    def _listed(cls, told: object) -> object:
        if not isinstance(told, dict) or not isinstance(chosen := told.get("genes"), str | list | int):
            return told
        if isinstance(chosen, int):  # of a window, where there are tokens
            every = {"genes": positions(chosen), "panel": "every position of a window"}
            return told if told.get("tokens") is None else told | every
        genes = panel(chosen) if isinstance(chosen, str) else chosen
        return {"panel": panels.told(chosen, len(genes))} | told | {"genes": genes}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.cohort is None) == (self.schema_ is None):
            raise ValueError("expected one of [cohort], with data at hand, and [schema], with hospitals' data alone")
        if self.schema_ is not None and "split" in self.model_fields_set:
            raise ValueError("split: expected none beside [schema]; the sites are the roster's")
        labels = [method.label for method in self.methods]
        if len(set(labels)) < len(labels):
            raise ValueError(f"methods: expected a name of its own for every method, got {', '.join(labels)}")
        if self.release.generator is not None and self.release.generator not in labels:
            raise ValueError(f"release.generator: expected one of {labels}, got {self.release.generator!r}")
        if self.engine.secure == "off" and self.privacy.trust not in PLAIN:
            raise ValueError(
                "engine.secure: expected 'on' with trust 'distributed' or 'site'; 'off' is for 'local', 'none'"
            )
        if self.privacy.delta is not None and self.privacy.delta > 1 / (10 * self.caps.donors_bound):
            limit = 1 / (10 * self.caps.donors_bound)
            raise ValueError(f"privacy.delta: expected at most 1 / (10 · donors_bound) = {limit:.3g}")
        return self


def load(path: Path) -> Experiment:
    """Read and check an experiment file.

    Raises:
        SpecError: one line naming file, field, what was found and what would be right.
    """
    return from_toml(path, Experiment, "an experiment file")
