"""What a table says of the samples of a file of sequences: whose they are, of which class, and what else to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from fedgenome.cohort.camda import read_annotation
from fedgenome.errors import SpecError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Who the samples of a file are.

    Attributes:
        source: The table, for messages; "" without one: a sample is a donor, of class ``all``.
        lines: Of each sample: donor, label, and the columns to keep.
        kept: Names of the columns to keep.
    """

    source: str = ""
    lines: Mapping[str, tuple[str, str, tuple[str, ...]]] = field(default_factory=lambda: MappingProxyType({}))
    kept: tuple[str, ...] = ()

    def of(self, sample: str, where: str) -> tuple[str, str, tuple[str, ...]]:
        """Return donor, label and kept columns of a sample.

        Raises:
            SpecError: the table has no line for it, or one without a donor.
        """
        if not self.source:
            return sample, "all", ()
        if sample not in self.lines:
            raise SpecError(f"{where}: expected a line for sample {sample!r} in {self.source}, got none")
        if not (found := self.lines[sample])[0]:
            raise SpecError(f"{where}: expected a donor for sample {sample!r} in {self.source}, got none")
        return found


def read_samples(
    table: str | None,
    *,
    join: str | None = None,
    donor: str | None = None,
    label: str | None = None,
    keep: Sequence[str] = (),
) -> Samples:
    """Read who the samples are.

    Args:
        table: A table of text (.csv, .tsv, either .gz) with a line for each sample; None: there is none.
        join: Its column of samples' names; None: ``samplesID``, or the first column.
        donor: Its column of donors; None: a sample is a donor.
        label: Its column of classes; None: all are of one class, ``all``.
        keep: Further columns to keep, such as hospitals.

    Raises:
        SpecError: no such table or column, a sample with two lines, or columns asked for without a table.
    """
    if table is None:
        if asked := [column for column in (join, donor, label, *keep) if column is not None]:
            raise SpecError(f"expected a table of samples (--meta) that has the column {asked[0]!r}, got none")
        return Samples()
    named, samples, others = read_annotation(table, join)
    columns = {**others, named: samples}
    for column in (donor, label, *keep):
        if column is not None and column not in columns:
            near = did_you_mean(column, columns, f"it has {', '.join(columns)}")
            raise SpecError(f"{table}: expected a column {column!r}, got none of that name ({near})")
    lines = {
        sample: (
            samples[i] if donor is None else columns[donor][i],
            "all" if label is None else columns[label][i],
            tuple(columns[column][i] for column in keep),
        )
        for i, sample in enumerate(samples)
    }
    return Samples(source=table, lines=MappingProxyType(lines), kept=tuple(keep))
