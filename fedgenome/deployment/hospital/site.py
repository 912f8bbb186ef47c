"""``site.toml`` and what it opens: a hospital's data, keys, ledger and memory, and the agent over them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fedgenome.cohort import expression
from fedgenome.cohort.datasets import DATASETS
from fedgenome.cohort.expression import CohortSpec
from fedgenome.cohort.shard import Shard
from fedgenome.cohort.split import undealt
from fedgenome.deployment.hospital import withdrawn
from fedgenome.deployment.hospital.policy import Policy
from fedgenome.deployment.hospital.withdrawn import Present
from fedgenome.deployment.roles import RoleConfig
from fedgenome.errors import Refused, SpecError
from fedgenome.federation.site import Admit, Load, SiteAgent
from fedgenome.privacy import accounts
from fedgenome.privacy.ledger import Budget, Ledger
from fedgenome.secure.identity import Identity
from fedgenome.secure.once import Once
from fedgenome.secure.party import ANSWERS, IDENTITY
from fedgenome.streams import Root
from fedgenome.strict import Strict
from fedgenome.study import Name, Schema, Study

LEDGER = "ledger.jsonl"  # in the state folder


class Data(Strict):
    """The ``[cohort]`` table: where the site's data lie. Genes, classes and range are the Study's."""

    source: str = Field(min_length=1, description="path of an .h5ad, .tsv or .mat file, or a public dataset (pbmc68k)")
    annotation: str | None = Field(default=None, description="table of the rows' obs columns, for a .tsv source")
    label: str = Field(min_length=1, description="obs column that holds the class of a row")
    donor: str | None = Field(default=None, description="obs column of donor ids; absent: every row is a unit")
    site: str | None = Field(default=None, description="obs column of hospitals, where the file is of several")
    only: tuple[str, ...] | None = Field(default=None, description="values of that column; other rows stay unread")
    layer: str = Field(default="X", description="X, raw, or the name of a layer")
    scale: Literal["log", "counts", "codes", "dosage"] = Field(
        description="log: used as it is; counts: to 1e4 a row, then log1p; codes: tokens; dosage: copies of ALT"
    )


class SiteConfig(RoleConfig):
    """One ``site.toml``."""

    name: Name = Field(description="the site's name in the roster")
    public: bool = Field(default=False, description="the data are declared public: simulations may use them")
    seed: int | None = Field(default=None, ge=0, description="a simulation's seed; only with public = true")
    schedule_seconds: float = Field(default=1.0, gt=0, le=300, description="answers leave so long after the question")
    cohort: Data
    policy: Policy

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.seed is not None and not self.public:
            raise ValueError("seed: expected none, or public = true")
        if "none" in self.policy.trust and (not self.public or self.policy.budget_epsilon is not None):
            raise ValueError("policy.trust: expected 'none' only with public = true and without budget_epsilon")
        if self.policy.budget_epsilon is None and not self.public:
            raise ValueError("policy.budget_epsilon: expected a number, unless public = true")
        return self

    @classmethod
    def _rooted(cls, told: dict[str, Any], home: Path) -> dict[str, Any]:
        cohort = told.get("cohort")
        if isinstance(cohort, dict):
            named = {key: cohort.get(key) for key in ("source", "annotation")}
            paths = {key: path for key, path in named.items() if isinstance(path, str) and path not in ("", *DATASETS)}
            told = told | {"cohort": cohort | {key: str(home / path) for key, path in paths.items()}}
        return super()._rooted(told, home)

    @property
    def budget(self) -> Budget | None:
        """What all studies together may cost."""
        most = self.policy.budget_epsilon
        return None if most is None else Budget(epsilon=most, delta=self.policy.budget_delta)


def shard_of(config: SiteConfig, schema: Schema) -> Shard:
    """Read the site's data with the Study's genes, classes and range, without the rows of those who withdrew.

    Raises:
        SpecError: they do not fit the Study, or break a rule of their own. It may quote a record: for the
            hospital's eyes only.
    """
    scales, rows = _scales(schema)
    if config.cohort.scale not in scales:
        rule = " or ".join(map(repr, scales))
        raise SpecError(f"cohort.scale: expected {rule}, as the study is of {rows}, got {config.cohort.scale!r}")
    spec = CohortSpec(
        **config.cohort.model_dump(),
        labels=schema.labels,
        panel=schema.genes,
        tokens=schema.tokens,
        low=schema.low,
        high=schema.high,
        fill=schema.fill,
        batch=schema.batch,
        rows_per_donor=schema.rows_per_donor if config.cohort.donor else None,
        public=config.public,
    )
    marks = withdrawn.load(config.state)
    return withdrawn.without(undealt(expression.align(expression.read(spec), schema)), marks)


def _scales(schema: Schema) -> tuple[tuple[str, ...], str]:
    """Return which scales of a cohort fit a study, and what its rows are."""
    if schema.tokens is not None:
        return ("codes",), "sequences"
    return (("dosage",), "genotypes") if schema.dosages else (("log", "counts"), "expression")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Site:
    """An open site.

    Attributes:
        agent: Answers calls.
        ledger: Its ledger, which the agent charges.
        load: Gives its data for a Study, and keeps those it gave last.
        once: What it answered.
    """

    agent: SiteAgent
    ledger: Ledger
    load: Load
    once: Once

    @property
    def intact(self) -> bool:
        """False once its ledger or memory could not be written: until both are opened again nothing is answered."""
        return self.ledger.is_open and self.once.is_open


@contextlib.contextmanager
def opened(config: SiteConfig, admit: Admit) -> Iterator[Site]:
    """Open a site's ledger and memory and yield its agent, which reads the data when it first joins a Study.

    Args:
        admit: Refuses Studies that the hospital did not agree to.

    Raises:
        SpecError: a file of the state folder is missing or damaged, or another process has it open.
        Refused: ``ledger-busy``: another agent runs on this folder.
    """
    identity = Identity.load(config.state / IDENTITY)
    read = functools.lru_cache(maxsize=1)(functools.partial(shard_of, config))
    present = Present(config.state)

    account = accounts.kept(config.state)

    def aligned(study: Study) -> Shard:
        try:
            shard = present(read(study.schema_))
        except SpecError:
            rule = "the site's data do not fit the study; at the hospital `fedgenome site approve` says why"
            raise Refused("cohort", rule) from None
        try:
            accounts.admit(config.state, account, shard.donors, study.schema_.unit)
        except SpecError:
            raise Refused("account", "a donor is, or could be, of another account of this site") from None
        return shard

    with (
        Ledger(config.state / LEDGER, account, config.budget, signer=identity) as ledger,
        Once(config.state / ANSWERS) as once,
    ):
        agent = SiteAgent(
            config.name,
            aligned,
            root=Root.of(config.seed, "site", config.name),
            ledger=ledger,
            identity=identity,
            once=once,
            admit=admit,
            public=config.public,
            present=present,
        )
        yield Site(agent=agent, ledger=ledger, load=aligned, once=once)
