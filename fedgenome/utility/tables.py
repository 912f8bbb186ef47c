"""What ``fedgenome evaluate`` compares: a table and real rows in their roles, from files that fit each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fedgenome.audit.targets import Records
from fedgenome.errors import SpecError
from fedgenome.tables import Reading, fit
from fedgenome.utility.run import Real


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What to read, and how.

    Attributes:
        real: Real rows.
        synthetic: The table to be judged.
        train: What its generator was trained on; None: ``real``, if there is a ``holdout``, else not at hand.
        holdout: Real rows that it never saw. With ``train`` they are for distances to the closest record alone;
            without it ``real`` is what it was trained on, and these rows are what it is tested on.
        how: How to read them.
    """

    real: Path
    synthetic: Path
    train: Path | None = None
    holdout: Path | None = None
    how: Reading = field(default_factory=Reading)

    @property
    def roles(self) -> dict[str, Path]:
        """Each role's file: ``synthetic``, ``truth``, and what there is of ``train`` and ``holdout``."""
        found = {"synthetic": self.synthetic, "truth": self.real}
        if self.train is not None:
            found["train"] = self.train
            return found | ({} if self.holdout is None else {"holdout": self.holdout})
        return found if self.holdout is None else found | {"truth": self.holdout, "train": self.real}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Given:
    """Tables that fit each other.

    Attributes:
        synthetic: The table to be judged.
        real: The real rows.
        genes: Columns of all.
        labels: Names of the label codes.
        dosages: Whether rows are of dosages.
    """

    synthetic: Records
    real: Real
    genes: tuple[str, ...]
    labels: tuple[str, ...]
    dosages: bool = False


def read(files: Files) -> Given:
    """Read and check all files.

    Raises:
        SpecError: a file, column, gene, label or scale does not fit; one line says which, and what would.
    """
    opened = {role: files.how.open(path, real=role != "synthetic") for role, path in files.roles.items()}
    made = {"synthetic": opened.pop("synthetic")}
    found = fit(made, opened, files.how, first="truth")
    if found.tokens is not None:
        raise SpecError("evaluate: expected expression, got codes of tokens; fedgenome audit reads sequences")
    rows = found.records
    real = Real(truth=rows["truth"], train=rows.get("train"), holdout=rows.get("holdout"))
    return Given(synthetic=rows["synthetic"], real=real, genes=found.genes, labels=found.labels, dosages=found.dosages)
