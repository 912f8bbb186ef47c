"""The audit of any table or release, from files: what ``fedgenome audit`` does before it prints."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedgenome import planted, release, sampling
from fedgenome.audit import gate, results
from fedgenome.audit.language.canaries import Canaries
from fedgenome.audit.language.score import Score
from fedgenome.audit.run import EVERY, GATE, ON_MODEL, audit, named
from fedgenome.audit.strata import stratified
from fedgenome.audit.targets import Records
from fedgenome.audit.worst_case import scored
from fedgenome.cohort.table import Table
from fedgenome.errors import SpecError, require
from fedgenome.methods import registry
from fedgenome.methods.base import Generator, Scored, Speaking
from fedgenome.models.language.base import LanguageModel
from fedgenome.query import Array
from fedgenome.sampling import Wish
from fedgenome.strict import Strict, from_toml
from fedgenome.study import Schema, Vocabulary
from fedgenome.tables import SYNTHETIC_LABEL, Fitted, Reading, fit

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Target:
    """A table; of a release also its Study's schema, what each generator draws, and what each model loses.

    Attributes:
        drawn: By method; the one that made the table is the first.
        losses: By method: of rows (n, genes) of these labels (n,).
        models: Of methods that train a language model, with the released weights.
    """

    table: Table
    drawn: Mapping[str, Table] = field(default_factory=dict)
    losses: Mapping[str, Callable[[Array, Array], Array]] = field(default_factory=dict)
    models: Mapping[str, LanguageModel] = field(default_factory=dict)
    schema: Schema | None = None
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> Vocabulary:
        """What codes stand for.

        Raises:
            SpecError: nothing is coded.
        """
        if self.schema is None or self.schema.tokens is None:
            raise SpecError("expected a release of sequences")
        return self.schema.tokens

    @property
    def window(self) -> int:
        """Tokens of a training window; 0 of a table."""
        return len(self.schema.genes) if self.schema else 0

    @property
    def methods(self) -> tuple[str, ...]:
        """All that is attacked of a release, the table's own generator first."""
        return tuple(dict.fromkeys((*self.drawn, *self.losses)))


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
    target = _release(asked) if asked.target.is_dir() else _Target(table=asked.how.open(asked.target, real=False))
    if target.schema is not None and target.schema.unit == "donor" and asked.how.donor is None:
        raise SpecError("--donor: expected the obs column of donors, the release's unit; got none")
    made = {TABLE: target.table} | {_role(name): table for name, table in target.drawn.items()}
    made |= {REFERENCE: asked.how.open(asked.reference, real=False)} if asked.reference else {}
    real = {role: asked.how.open(path, real=True) for role, path in asked.people.items()}
    fitted = fit(made, real, asked.how, first=TABLE, wider=True, schema=target.schema)
    if asked.how.donor is not None:
        _check_apart(fitted.owners, asked.people)
    coded = fitted.tokens is not None
    low, high, notes = (0.0, 1.0, ()) if coded else _range(asked, target.schema, fitted.records[TABLE].x)
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
        memorization={
            name: planted.score(model, target.tokens, target.window, canaries, planted.of_model(audit, name))
            for name, model in target.models.items()
            if canaries is not None
        },
    )


def _canaries(asked: Asked, target: _Target) -> Canaries | None:
    """Return the canaries that are given, which want a language model to be looked for in."""
    if asked.canaries is None:
        return None
    if target.schema is None or not target.models:
        raise SpecError(f"--canaries {asked.canaries}: expected a release with a language model, got {asked.target}")
    return planted.read(asked.canaries, target.tokens, target.window)


def _role(method: str) -> str:
    return f"drawn by {method}"  # no other role, whatever a method is called


def _attacked(asked: Asked, target: _Target, fitted: Fitted, low: float, high: float) -> results.Audit:
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
            low=low,
            high=high,
            vocabulary=fitted.tokens.size if fitted.tokens else None,
            rng=np.random.default_rng(asked.seed),  # the same for every method: one control base for all
            unit="row" if asked.how.donor is None else "donor",
        )

    if not target.drawn:
        return attack(rows[TABLE], None)
    drawn = {name: rows[_role(name)] for name in target.drawn}
    tables = drawn | {next(iter(drawn)): rows[TABLE]}
    able = [name for name in target.methods if name in drawn or any(one in ON_MODEL for one in asked.attacks)]
    return results.merge({name: attack(tables.get(name), drawn.get(name), name) for name in able})


def _release(asked: Asked) -> _Target:
    found = release.load(asked.target)
    require(len(found.synthetic) == 1, f"{asked.target}: one synthetic table", methods=", ".join(found.synthetic))
    ((own, rows),) = found.synthetic.items()
    study = sampling.study_of(asked.target, found.card)
    built = {name: method for name, method in registry.build_all(study).items() if name in found.arrays}
    schema = study.schema_
    methods = (own, *(n for n, method in built.items() if n != own and isinstance(method, Generator)))
    count = max(asked.samples, len(rows.label))
    wishes = {name: Wish(rows=count, labels={}, seed=asked.seed, method=name) for name in methods}
    losses = {
        name: functools.partial(method.losses, found.arrays[name])
        for name, method in built.items()
        if isinstance(method, Scored)
    }
    return _Target(
        table=_made(asked.target / release.SYNTHETIC, rows, schema),
        drawn={
            name: _made(asked.target / name, sampling.sample(asked.target, wish).rows, schema)
            for name, wish in wishes.items()
        },
        losses=losses,
        models={n: method.released(found.arrays[n]) for n, method in built.items() if isinstance(method, Speaking)},
        schema=schema,
        notes=(
            "the release is whole and unaltered, by the digests on its card",
            f"{count:,} rows drawn by {' and by '.join(methods)} for an attacker who holds the model",
            *(
                f"{name} tells no loss of a row: its model is not attacked by one"
                for name in built
                if name not in losses
            ),
        ),
    )


def _made(source: Path, rows: release.Synthetic, schema: Schema) -> Table:
    return Table(
        source=str(source),
        x=rows.x,
        genes=schema.genes,
        rows=tuple(map(str, range(len(rows.label)))),
        columns={SYNTHETIC_LABEL: [schema.labels[code] for code in rows.label]},
    )


def _check_apart(owners: Mapping[str, frozenset[str]], people: Mapping[str, Path]) -> None:
    roles = list(people)
    for k, role in enumerate(roles):
        for other in roles[k + 1 :]:
            if both := owners[role] & owners[other]:
                where = f"--{role} {people[role]}, --{other} {people[other]}"
                raise SpecError(f"{where}: expected nobody in both, got {len(both)} donors who are")


def _range(asked: Asked, schema: Schema | None, table: Array) -> tuple[float, float, tuple[str, ...]]:
    """Return the range to scale by, and a warning where it was read off the table."""
    own = (float(table.min()), float(table.max())) if schema is None and len(table) else (0.0, 1.0)
    low, high = own if schema is None else (schema.low, schema.high)
    ends = {"--low": asked.low, "--high": asked.high}
    low, high = (given if given is not None else end for given, end in zip(ends.values(), (low, high), strict=True))
    require(low < high, "--low below --high", low=low, high=high)
    absent = [name for name, given in ends.items() if given is None]
    if schema is not None or not absent:
        return low, high, ()
    told = f"warning: the range {low:g} to {high:g} was read off the table; give {' and '.join(absent)} if it is public"
    return low, high, (told,)
