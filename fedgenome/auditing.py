"""The audit of any table or release, from files: what ``fedgenome audit`` does before it prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedgenome import exposed
from fedgenome.audit import gate, results
from fedgenome.audit.run import EVERY, GATE, ON_MODEL, audit, named
from fedgenome.audit.scales import Codes, Values
from fedgenome.audit.strata import stratified
from fedgenome.audit.targets import Records
from fedgenome.audit.worst_case import scored
from fedgenome.errors import SpecError, require
from fedgenome.exposed import Exposed, Model
from fedgenome.strict import Strict, from_toml
from fedgenome.study import Schema
from fedgenome.tables import Fitted, Reading, fit

if TYPE_CHECKING:
    from fedgenome.audit.language.canaries import Canaries
    from fedgenome.audit.language.score import Score

TABLE, REFERENCE = "table", "reference"  # the roles of the table that is audited, and of one to calibrate by


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to audit, with whose rows, and how.

    Attributes:
        target: A table (h5ad, csv, tsv) or a release folder.
        members: Rows that the table's generator was trained on.
        controls: Rows of people like them that it never saw, drawn from the same cohort by chance.
        base: Real rows that are neither; None: a third of the controls.
        reference: Rows of a generator that never saw the members, to calibrate GAN-leaks.
        canaries: Made-up windows that were planted in a language model's training data, and others that were not.
        attacks: Which attacks to run.
        how: How to read files.
        low: Lowest expression value; None: the release's, or the table's own.
        high: Highest.
        samples: Rows drawn from each generator of a release, for the attacker who can ask it.
        seed: The same seed gives the same audit.
    """

    target: Path
    members: Path
    controls: Path
    base: Path | None = None
    reference: Path | None = None
    canaries: Path | None = None
    attacks: tuple[str, ...] = GATE
    how: Reading = field(default_factory=Reading)
    low: float | None = None
    high: float | None = None
    samples: int = 5000
    seed: int = 0

    @property
    def people(self) -> dict[str, Path]:
        """Each role's file of real rows."""
        found = {"members": self.members, "controls": self.controls}
        return found if self.base is None else found | {"base": self.base}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What was found.

    Attributes:
        audit: The attacks and their controls.
        files: Role → file name.
        genes: How many genes were compared.
        labels: Names of the classes.
        low: Lower end of the range.
        high: Upper end.
        notes: What a reader must know of how it was read.
        memorization: Of language models whose canaries were looked for: score by method.
    """

    audit: results.Audit
    files: Mapping[str, str]
    genes: int
    labels: tuple[str, ...]
    low: float
    high: float
    notes: tuple[str, ...]
    memorization: Mapping[str, Score] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "files": dict(self.files),
            "genes": self.genes,
            "labels": list(self.labels),
            "range": [self.low, self.high],
            "notes": list(self.notes),
            "audit": self.audit.to_json(),
            "memorization": {name: score.to_json() for name, score in self.memorization.items()},
        }


def attacks(text: str) -> tuple[str, ...]:
    """Return the attacks that ``standard``, ``all`` or names divided by commas mean.

    Raises:
        SpecError: a name that is no attack's.
    """
    whole = {"standard": GATE, "all": tuple(EVERY)}
    return whole.get(text) or named([name.strip() for name in text.split(",")])


def policy(path: Path | None) -> gate.Policy:
    """Return the policy in the table ``[audit]`` of a TOML file, such as an experiment's; None: the default.

    Raises:
        SpecError: there is no such file or table, or it breaks a rule.
    """
    if path is None:
        return gate.Policy()

    def only(told: dict[str, Any]) -> dict[str, Any]:
        require("audit" in told, f"{path}: a table [audit]", tables=", ".join(told) or "none")
        return {"audit": told["audit"]}

    return from_toml(path, _PolicyFile, "a policy in TOML", only).audit


class _PolicyFile(Strict):
    audit: gate.Policy


def run(asked: Asked) -> Audited:
    """Read, check and attack.

    Raises:
        SpecError: a file does not fit, a donor is in two cohorts, the release was altered, or there are too few donors.
    """
    if asked.target.is_dir():
        target = exposed.of_release(asked.target, asked.samples, asked.seed)
    else:
        target = Exposed(table=asked.how.open(asked.target, real=False))
    if target.schema is not None and target.schema.unit == "donor" and asked.how.donor is None:
        raise SpecError("--donor: expected the obs column of donors, the release's unit; got none")
    made = {TABLE: target.table} if target.table else {}
    made |= {_role(name): table for name, table in target.drawn.items()}
    made |= {REFERENCE: asked.how.open(asked.reference, real=False)} if asked.reference else {}
    real = {role: asked.how.open(path, real=True) for role, path in asked.people.items()}
    fitted = fit(made, real, asked.how, first=TABLE if target.table else "members", wider=True, schema=target.schema)
    if asked.how.donor is not None:
        _check_apart(fitted.owners, asked.people)
    coded = fitted.tokens is not None
    low, high, notes = (0.0, 1.0, ()) if coded else _range(asked, target.schema, fitted.records.get(TABLE))
    if target.schema is not None and fitted.genes != target.schema.genes:
        target = replace(target, losses={})
        notes = (*notes, "no model is attacked by its loss: the files lack genes that it reads")
    if coded:
        notes = (*notes, "rows are sequences, compared token by token")
    canaries = _canaries(asked, target)
    audit = stratified(scored(_attacked(asked, target, fitted, low, high)))
    return Audited(
        audit=audit,
        files={TABLE: asked.target.name}
        | ({REFERENCE: asked.reference.name} if asked.reference else {})
        | {role: path.name for role, path in asked.people.items()},
        genes=len(fitted.genes),
        labels=fitted.labels,
        low=low,
        high=high,
        notes=(*target.notes, *notes),
        memorization=_recited(target.models, target.schema, canaries, audit)
        if canaries is not None and target.schema
        else {},
    )


def _canaries(asked: Asked, target: Exposed) -> Canaries | None:
    """Return the canaries that are given, which want a language model to be looked for in."""
    if asked.canaries is None:
        return None
    if target.schema is None or not target.models:
        raise SpecError(f"--canaries {asked.canaries}: expected a release with a language model, got {asked.target}")
    from fedgenome import planted  # loads torch

    return planted.read(asked.canaries, target.schema)


def _recited(models: Mapping[str, Model], schema: Schema, canaries: Canaries, audit: results.Audit) -> dict[str, Score]:
    """Return the memorization score of each language model."""
    from fedgenome import planted

    return {n: planted.score(model(), schema, canaries, planted.of_model(audit, n)) for n, model in models.items()}


def _role(method: str) -> str:
    return f"drawn by {method}"  # no other role, whatever a method is called


def _attacked(asked: Asked, target: Exposed, fitted: Fitted, low: float, high: float) -> results.Audit:
    """Attack the table, and of a release every method: the first made the table, the others' draws are theirs."""
    rows = fitted.records

    def attack(table: Records | None, samples: Records | None, method: str | None = None) -> results.Audit:
        return audit(
            members=rows["members"],
            controls=rows["controls"],
            base=rows.get("base"),
            generator_reference=rows.get(REFERENCE),
            attacks=asked.attacks,
            synthetic=table,
            samples=samples,
            losses=target.losses.get(method) if method else None,
            scale=Codes(fitted.tokens.size) if fitted.tokens else Values(low, high),
            rng=np.random.default_rng(asked.seed),  # the same for every method: one control base for all
            unit="row" if asked.how.donor is None else "donor",
        )

    if not target.methods:
        return attack(rows[TABLE], None)
    drawn = {name: rows[_role(name)] for name in target.drawn}
    tables = drawn | ({next(iter(drawn)): rows[TABLE]} if target.table else {})
    able = [name for name in target.methods if name in drawn or any(one in ON_MODEL for one in asked.attacks)]
    require(bool(able), f"attacks of {', '.join(ON_MODEL)} on a release of models alone", attacks=asked.attacks)
    return results.merge({name: attack(tables.get(name), drawn.get(name), name) for name in able})


def _check_apart(owners: Mapping[str, frozenset[str]], people: Mapping[str, Path]) -> None:
    roles = list(people)
    for k, role in enumerate(roles):
        for other in roles[k + 1 :]:
            if both := owners[role] & owners[other]:
                where = f"--{role} {people[role]}, --{other} {people[other]}"
                raise SpecError(f"{where}: expected nobody in both, got {len(both)} donors who are")


def _range(asked: Asked, schema: Schema | None, table: Records | None) -> tuple[float, float, tuple[str, ...]]:
    """Return the range to scale by, and a warning where it was read off the table."""
    own = (float(table.x.min()), float(table.x.max())) if schema is None and table else (0.0, 1.0)
    low, high = own if schema is None else (schema.low, schema.high)
    ends = {"--low": asked.low, "--high": asked.high}
    low, high = (given if given is not None else end for given, end in zip(ends.values(), (low, high), strict=True))
    require(low < high, "--low below --high", low=low, high=high)
    absent = [name for name, given in ends.items() if given is None]
    if schema is not None or not absent:
        return low, high, ()
    told = f"warning: the range {low:g} to {high:g} was read off the table; give {' and '.join(absent)} if it is public"
    return low, high, (told,)
