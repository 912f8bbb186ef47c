"""What whoever holds a table, or a release, has in hand: rows, generators to draw from, models to ask."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fedgenome import release, sampling
from fedgenome.audit.scales import Told
from fedgenome.cohort.table import Table
from fedgenome.errors import require
from fedgenome.methods import registry
from fedgenome.methods.base import Generator, Scored, Speaking
from fedgenome.sampling import Wish
from fedgenome.study import Schema
from fedgenome.tables import SYNTHETIC_LABEL

if TYPE_CHECKING:
    from fedgenome.models.language.base import LanguageModel  # loads torch


Model = Callable[[], "LanguageModel"]  # read once it is asked for: most audits want none, and it loads torch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exposed:
    """A table; of a release also its Study's schema, what each generator draws, and what each model says.

    Attributes:
        table: The rows; None where a release holds models alone.
        drawn: By method; the one that made the table is the first.
        losses: By method.
        models: Of methods that train a language model, with the released weights.
        schema: Of the release.
        notes: What a reader must know of how it was read.
    """

    table: Table | None
    drawn: Mapping[str, Table] = field(default_factory=dict)
    losses: Mapping[str, Told] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    schema: Schema | None = None
    notes: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """All that is attacked of a release, the table's own generator first."""
        return tuple(dict.fromkeys((*self.drawn, *self.losses)))


def of_release(folder: Path, samples: int, seed: int) -> Exposed:
    """Return what a release exposes, after its digests were checked.

    Args:
        folder: The release.
        samples: Rows drawn from each generator, or as many as its table has if that is more.
        seed: The same seed draws the same rows.

    Raises:
        SpecError: the release is not whole or was altered, holds several tables, or nothing that attacks could ask.
    """
    found = release.load(folder)
    require(len(found.synthetic) <= 1, f"{folder}: one synthetic table at most", methods=", ".join(found.synthetic))
    study = sampling.study_of(folder, found.card)
    built = {name: method for name, method in registry.build_all(study).items() if name in found.arrays}
    schema, arrays = study.schema_, found.arrays
    rows = next(iter(found.synthetic.values()), None)
    able = tuple(dict.fromkeys((*found.synthetic, *(n for n, m in built.items() if isinstance(m, Generator)))))
    count = max(samples, len(rows.label) if rows else 0)
    wishes = {name: Wish(rows=count, labels={}, seed=seed, method=name) for name in able}
    losses = {n: functools.partial(m.losses, arrays[n]) for n, m in built.items() if isinstance(m, Scored)}
    silent = [name for name in built if name not in losses]
    require(bool(able or losses), f"{folder}: a method that generates rows or tells losses", methods=", ".join(built))
    return Exposed(
        table=_made(folder / release.SYNTHETIC, rows, schema) if rows else None,
        drawn={name: _made(folder / name, sampling.sample(folder, wish).rows, schema) for name, wish in wishes.items()},
        losses=losses,
        models={n: functools.partial(m.released, arrays[n]) for n, m in built.items() if isinstance(m, Speaking)},
        schema=schema,
        notes=(
            "the release is whole and unaltered, by the digests on its card",
            *([f"{count:,} rows drawn by {' and by '.join(able)} for an attacker who holds the model"] if able else []),
            *(f"{name} tells no loss of a row: its model is not attacked by one" for name in silent),
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
