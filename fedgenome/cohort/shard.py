"""The two records of this layer: a :class:`Cohort` (a study population) and a :class:`Shard` (a site's part of it)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedgenome.errors import require

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shard:
    """A site's rows, ready for a method. Arrays are copied and read-only.

    Attributes:
        x: float32 (slots, genes), expression within the schema's public range; NaN contributes zero.
        label: int64 (slots,), index into the schema's labels.
        donor: int64 (slots,), index into ``donors``.
        donors: The donors' ids, each once.
        mask: bool (slots,); False marks an empty slot, which must contribute nothing.
        held: bool (donors,); True for donors kept from training, for the audit. By default nobody is.
        canary: int64 (donors,); the number of a made-up donor (``cohort.canaries``), -1 for people. By default all are.

    Raises:
        SpecError: shapes, kinds of numbers or indices do not fit together.
    """

    x: Array
    label: Array
    donor: Array
    donors: tuple[str, ...]
    mask: Array
    held: Array = field(default_factory=lambda: np.zeros(0, np.bool_))
    canary: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        set_array(self, "x", np.float32, "f")
        set_array(self, "label", np.int64, "iu")
        set_array(self, "donor", np.int64, "iu")
        set_array(self, "mask", np.bool_, "b")
        for name, dtype, kinds, usual in (("held", np.bool_, "b", 0), ("canary", np.int64, "iu", -1)):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.full(self.n_donors, usual, dtype))
            set_array(self, name, dtype, kinds)
            shape = getattr(self, name).shape
            require(shape == (self.n_donors,), f"{name} of shape (donors,) = ({self.n_donors},)", shape=shape)
        require(self.x.ndim == 2, "x of shape (slots, genes)", shape=self.x.shape)
        for name in ("label", "donor", "mask"):
            shape = getattr(self, name).shape
            require(shape == self.x.shape[:1], f"{name} of shape (slots,) = {self.x.shape[:1]}", shape=shape)
        require(bool((self.label >= 0).all()), "every label an index >= 0")
        inside = bool(((self.donor >= 0) & (self.donor < len(self.donors))).all())
        require(inside, "every donor an index into donors", donors=len(self.donors))
        require(len(set(self.donors)) == len(self.donors), "every donor id once in donors")

    @property
    def n_donors(self) -> int:
        """Number of donors, those whose slots are all masked included."""
        return len(self.donors)

    def take(self, chosen: Array) -> Shard:
        """Return the slots of the chosen donors only, in their order, with ``donors`` re-indexed.

        Masked slots of a chosen donor stay masked slots, so that a removed donor shifts nobody.

        Args:
            chosen: bool (donors,).

        Raises:
            SpecError: ``chosen`` is not one bool a donor.
        """
        chosen = np.asarray(chosen)
        fits = chosen.dtype == np.bool_ and chosen.shape == (len(self.donors),)
        require(fits, "one bool a donor", dtype=str(chosen.dtype), shape=chosen.shape, donors=len(self.donors))
        slots = chosen[self.donor]
        index = np.cumsum(chosen) - 1
        return Shard(
            x=self.x[slots],
            label=self.label[slots],
            donor=index[self.donor[slots]],
            donors=tuple(name for name, kept in zip(self.donors, chosen, strict=True) if kept),
            mask=self.mask[slots],
            held=self.held[chosen],
            canary=self.canary[chosen],
        )

    @property
    def trained_on(self) -> Shard:
        """The shard without the donors who are held."""
        return self.take(~self.held) if self.held.any() else self

    def without(self, donor: int) -> Shard:
        """Return the same slots with the rows of donor ``donor`` masked: the neighbour in add-or-remove.

        Raises:
            SpecError: there is no such donor.
        """
        require(0 <= donor < len(self.donors), f"0 <= donor < {len(self.donors)}", donor=donor)
        return replace(self, mask=self.mask & (self.donor != donor))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """A study population: expression, a label a row, and who each row belongs to.

    Attributes:
        name: Where it was read from, for messages.
        x: float32 (rows, genes), finite; read-only, as is ``label``.
        genes: Gene names, each once.
        label: int64 (rows,), index into ``labels``.
        labels: The public classes; a class may have no row.
        rows: Names of the rows (``obs_names``).
        donor: Donor id of every row; None: every row is a unit of its own, named by ``rows``.
        site: Value of the site column of every row; None: no such column.
        row: What a row is ("cell", "sample"), or "".
        public: The data are declared public, so that a seeded run may use them.
        provenance: One line on where they come from.
        panel: How the genes were chosen, in words that say nothing of the data.
        missing: Genes of the panel that the file does not have, by name.
        clipped: Share of values that lay beyond the public range and were clipped.
        filled: Share of values that were not measured and are a public constant instead.

    Raises:
        SpecError: shapes do not fit, a gene is there twice, or, without donors, a row name is.
    """

    name: str
    x: Array
    genes: tuple[str, ...]
    label: Array
    labels: tuple[str, ...]
    rows: tuple[str, ...]
    donor: tuple[str, ...] | None = None
    site: tuple[str, ...] | None = None
    row: str = ""
    public: bool = False
    provenance: str = ""
    panel: str = ""
    missing: tuple[str, ...] = ()
    clipped: float = 0.0
    filled: float = 0.0

    def __post_init__(self) -> None:
        set_array(self, "x", np.float32, "f")
        set_array(self, "label", np.int64, "iu")
        shape = (len(self.rows), len(self.genes))
        require(self.x.shape == shape, f"{self.name}: x of shape (rows, genes) = {shape}", shape=self.x.shape)
        for what, values in (("label", self.label), ("donor", self.donor), ("site", self.site)):
            n = shape[0] if values is None else len(values)
            require(n == shape[0], f"{self.name}: one {what} a row ({shape[0]})", found=n)
        inside = bool(((self.label >= 0) & (self.label < len(self.labels))).all())
        require(inside, f"{self.name}: every label an index into labels", labels=len(self.labels))
        twice = repeated(self.genes)
        require(not twice, f"{self.name}: every gene once", repeated=twice[:1])
        twice = repeated(self.rows) if self.donor is None else []
        require(not twice, f"{self.name}: every row name once, as there is no donor column", repeated=twice[:1])

    @property
    def unit(self) -> Literal["donor", "row"]:
        """What one privacy unit is: a donor, or, without a donor column, a row."""
        return "row" if self.donor is None else "donor"

    @property
    def unit_text(self) -> str:
        """The unit in the words that every page prints.

        >>> nothing = np.zeros(0, int)
        >>> Cohort(name="", x=np.zeros((0, 0)), genes=(), label=nothing, labels=(), rows=(), row="cell").unit_text
        'row (cell), not a person'
        """
        if self.unit == "donor":
            return "donor (person)"
        return f"row ({self.row}), not a person" if self.row else "row, not a person"

    @property
    def owners(self) -> tuple[str, ...]:
        """The privacy unit that every row belongs to: its donor, or the row itself."""
        return self.rows if self.donor is None else self.donor


def repeated(names: tuple[str, ...]) -> list[str]:
    """Return the names that occur more than once, in order of their second occurrence.

    >>> repeated(("a", "b", "a", "c", "b", "a"))
    ['a', 'b']
    """
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for name in names:
        if name in seen:
            twice[name] = None
        seen.add(name)
    return list(twice)


def set_array(record: object, name: str, dtype: type[np.generic], kinds: str) -> None:
    """Replace a frozen record's array by a read-only copy of ``dtype``.

    Raises:
        SpecError: its numbers are of another kind (NumPy's letters), which a cast would hide.
    """
    array = np.asarray(getattr(record, name))
    require(array.dtype.kind in kinds, f"{name} castable to {dtype.__name__} without loss", dtype=str(array.dtype))
    copy = np.array(array, dtype)
    copy.setflags(write=False)
    object.__setattr__(record, name, copy)
