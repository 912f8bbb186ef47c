"""Cohort → one shard a site and a control set. Donors are dealt out, never rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from fedgenome.cohort.homes import by_class, by_power, dirichlet, majority
from fedgenome.cohort.shard import Array, Cohort, Shard, repeated
from fedgenome.errors import SpecError, require
from fedgenome.strict import Strict

_CONTROL = -1  # in place of a site's index


class SplitSpec(Strict):
    """How a cohort is dealt out to sites."""

    by: Literal["dirichlet", "column", "even", "power", "class"] = Field(
        default="dirichlet",
        description="label skew; the site column; sizes alike; sizes by a power law; as few classes a site as can be",
    )
    sites: int = Field(default=5, ge=1, description="number of sites, but for column")
    alpha: float = Field(
        default=1.0, ge=1e-3, le=1e6, description="for dirichlet: small, few classes a site; large, all alike"
    )
    exponent: float = Field(default=1.5, ge=0, le=10, description="for power: site i has a share ∝ i^−exponent")
    least: int = Field(default=1, ge=1, description="for power: donors that every site has")
    lone: str | None = Field(default=None, description="for even and power: a class that only the first site has")
    controls: float = Field(default=0.2, ge=0, le=0.9, description="share of donors kept apart, in no site")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lone is not None and self.by not in ("even", "power"):
            raise ValueError(f"expected lone only with by = 'even' or 'power', got by={self.by!r}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """A cohort dealt out. Every donor is in exactly one shard.

    Attributes:
        sites: Shard of each site, in roster order; each has at least one donor.
        controls: Donors certainly in no site.
        genes: Names of the columns of every shard's ``x``.
        labels: The public classes that every shard's ``label`` counts.
        unit_text: What one "donor" of these shards is, in the words to print.
    """

    sites: Mapping[str, Shard]
    controls: Shard
    genes: tuple[str, ...]
    labels: tuple[str, ...]
    unit_text: str

    @property
    def members(self) -> Shard:
        """All sites' rows in one shard, in roster order."""
        shards = tuple(self.sites.values())
        before = np.cumsum([0, *(shard.n_donors for shard in shards)])
        return Shard(
            x=np.concatenate([shard.x for shard in shards]),
            label=np.concatenate([shard.label for shard in shards]),
            donor=np.concatenate([shard.donor + n for shard, n in zip(shards, before, strict=False)]),
            donors=tuple(name for shard in shards for name in shard.donors),
            mask=np.concatenate([shard.mask for shard in shards]),
        )


def split(cohort: Cohort, spec: SplitSpec, rng: np.random.Generator) -> Split:
    """Deal a cohort's donors out to sites, controls first.

    Controls are drawn uniformly from all donors, except that a hospital (``by = "column"``) keeps its
    last donor. The outcome depends on ``rng`` and on who has which rows, not on the order of the rows.

    Args:
        cohort: Aligned to the study (:func:`fedgenome.cohort.expression.align`): values in the public range.
        spec: How.
        rng: Draws the controls, then the sites. Nothing here is secret: it is the operator's own set-up.

    Raises:
        SpecError: fewer donors than sites, no site column, or a donor with rows at two hospitals.
    """
    donors, donor = np.unique(np.array(cohort.owners, dtype=object), return_inverse=True)
    home, names = _homes(cohort, spec, donor, rng)
    controls, *shards = _deal(cohort, donors, donor, home, len(names))
    return Split(
        sites=MappingProxyType(dict(zip(names, shards, strict=True))),
        controls=controls,
        genes=cohort.genes,
        labels=cohort.labels,
        unit_text=cohort.unit_text,
    )


def undealt(cohort: Cohort) -> Shard:
    """Return all donors of a cohort as the shard of one site: what a hospital that reads its own file holds.

    The same donors dealt to a site by :func:`split` give the same shard, byte for byte.
    """
    donors, donor = np.unique(np.array(cohort.owners, dtype=object), return_inverse=True)
    _, shard = _deal(cohort, donors, donor, np.zeros(len(donors), np.int64), 1)
    return shard


def site_name(value: str) -> str:
    """Return a hospital's name as rosters spell it: lower case, digits, '-' and '_'.

    Raises:
        SpecError: nothing is left of it.

    >>> site_name("Memorial Sloan-Kettering (NY)")
    'memorial-sloan-kettering-ny'
    """
    name = re.sub(r"[^a-z0-9_]+", "-", value.lower()).strip("-_")[:63]
    require(bool(name), "a site with a letter or digit of a-z, 0-9 in its name", site=value)
    return name


def _homes(cohort: Cohort, spec: SplitSpec, donor: Array, rng: np.random.Generator) -> tuple[Array, tuple[str, ...]]:
    """Return each donor's site as an index, or ``_CONTROL``, and the sites' names."""
    n = int(donor.max(initial=-1)) + 1
    if spec.by == "column":
        home, names = _hospitals(cohort, donor, n)
        home[_controls(n, spec, home, rng)] = _CONTROL
        return home, names
    home = np.full(n, _CONTROL)
    members = np.flatnonzero(~_controls(n, spec, None, rng))
    wanted = spec.sites * (spec.least if spec.by == "power" else 1)
    if len(members) < wanted:
        each = f"{spec.least} donors" if spec.by == "power" and spec.least > 1 else "a donor"
        seen = f"{len(members)} of {n} after controls = {spec.controls:g}"
        raise SpecError(f"{cohort.name}: expected {each} for each of {spec.sites} sites, got {seen}")
    home[members] = _drawn(cohort, spec, majority(donor, cohort.label)[members], rng)
    empty = np.flatnonzero(np.bincount(home[members], minlength=spec.sites) == 0)
    if empty.size:
        which = cohort.labels[int(empty[0]) % len(cohort.labels)]
        raise SpecError(f"{cohort.name}: expected donors for site-{empty[0] + 1}, got too few of class {which!r}")
    return home, tuple(f"site-{i + 1}" for i in range(spec.sites))


def _drawn(cohort: Cohort, spec: SplitSpec, classes: Array, rng: np.random.Generator) -> Array:
    """Return the site of each member, by the members' classes."""
    if spec.by == "dirichlet":
        return dirichlet(classes, spec.sites, spec.alpha, rng)
    if spec.by == "class":
        return by_class(classes, len(cohort.labels), spec.sites, rng)
    exponent, least = (spec.exponent, spec.least) if spec.by == "power" else (0.0, 1)
    home = np.zeros(len(classes), np.int64)
    rest = np.ones(len(classes), np.bool_)
    if spec.lone is not None:
        require(spec.lone in cohort.labels, f"split.lone to be one of {', '.join(cohort.labels)}", lone=spec.lone)
        rest = classes != cohort.labels.index(spec.lone)
    if rest.sum() < spec.sites * least:
        seen = f"{rest.sum()} of other classes than {spec.lone!r}"
        raise SpecError(f"{cohort.name}: expected {least} or more donors for each of {spec.sites} sites, got {seen}")
    home[rest] = by_power(int(rest.sum()), spec.sites, exponent, least, rng)
    return home


def _controls(n: int, spec: SplitSpec, home: Array | None, rng: np.random.Generator) -> Array:
    """Return which donors are controls: the first of a random order, but for a hospital's last donor."""
    wanted = int(np.floor(spec.controls * n + 0.5))
    left = np.bincount(home) if home is not None else None
    chosen = np.zeros(n, np.bool_)
    for donor in rng.permutation(n):
        if wanted == 0:
            break
        if left is not None and home is not None:
            if left[home[donor]] == 1:
                continue
            left[home[donor]] -= 1
        chosen[donor] = True
        wanted -= 1
    return chosen


def _hospitals(cohort: Cohort, donor: Array, n: int) -> tuple[Array, tuple[str, ...]]:
    """Return each donor's hospital as an index, and the hospitals' names."""
    if cohort.site is None:
        raise SpecError(f"{cohort.name}: expected cohort.site to name an obs column, as split.by = 'column'; got none")
    values, code = np.unique(np.array(cohort.site, dtype=object), return_inverse=True)
    names = tuple(site_name(value) for value in values)
    if twice := repeated(names):
        both = ", ".join(repr(value) for value, name in zip(values, names, strict=True) if name == twice[0])
        raise SpecError(f"{cohort.name}: expected different site names, {both} are all {twice[0]!r} in a roster")
    home = np.full(n, _CONTROL)
    home[donor] = code
    astray = np.flatnonzero(home[donor] != code)
    if astray.size:
        row = astray[0]
        rule = f"expected every donor at one site, donor {cohort.owners[row]!r} has rows at"
        raise SpecError(f"{cohort.name}: {rule} {values[code[row]]!r} and {values[home[donor[row]]]!r}")
    return home, names


def _deal(cohort: Cohort, donors: Array, donor: Array, home: Array, n_sites: int) -> list[Shard]:
    """Return the controls' shard, then each site's. Sorted once: sites may be many."""
    whose = np.argsort(home, kind="stable")
    # By site, donor and row name, so that shards do not depend on the order of the file.
    rows = np.lexsort((np.array(cohort.rows), donor, home[donor]))
    cuts = np.arange(_CONTROL, n_sites + 1)
    donor_cuts, row_cuts = np.searchsorted(home[whose], cuts), np.searchsorted(home[donor[rows]], cuts)
    shards = []
    for i in range(n_sites + 1):
        own = whose[donor_cuts[i] : donor_cuts[i + 1]]
        mine = rows[row_cuts[i] : row_cuts[i + 1]]
        shards.append(
            Shard(
                x=cohort.x[mine],
                label=cohort.label[mine],
                donor=np.searchsorted(own, donor[mine]),
                donors=tuple(map(str, donors[own])),
                mask=np.ones(len(mine), np.bool_),
            )
        )
    return shards
