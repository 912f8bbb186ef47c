"""Rows as they leave, and a second panel of the same people → whose they are: the linkage audit from names to rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fedgenome.audit.linkage import sides
from fedgenome.audit.linkage.attackers import Others
from fedgenome.audit.linkage.dosages import MASK, MISSING
from fedgenome.audit.linkage.results import Linkage
from fedgenome.audit.linkage.run import linked
from fedgenome.audit.linkage.spec import LinkageSpec
from fedgenome.cohort.reference import Reference, place, read_reference
from fedgenome.cohort.shard import repeated
from fedgenome.errors import SpecError
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """Whose rows are released, and who else's are at hand.

    Attributes:
        ids: Who they are, each once.
        x: What they hold, whole: int8 dosages or float32 (people, variants).
        shown: The same as it is released: ``MASK`` where withheld, or numbers, NaN where withheld.
        leaves: bool (people,): whose row is released.
        variants: Names of the columns.
        label: The class of each.
        column: What the cohort calls it.
    """

    ids: Sequence[str]
    x: Array
    shown: Array
    leaves: Array
    variants: Sequence[str]
    label: Sequence[str]
    column: str

    def __post_init__(self) -> None:
        if twice := repeated(tuple(self.ids)):
            raise SpecError(f"linkage: expected one row a person, as an attack is on a record, got {twice[0]!r} twice")


def codes(values: Array, dosages: bool) -> Array:
    """Return released values as a file has them: int8 with ``MASK`` where all that is told are dosages, else float32.

    Args:
        values: Of :meth:`Masker.masked`, NaN where withheld.
        dosages: Whether rows are of dosages.
    """
    told = ~np.isnan(values)
    whole = dosages and bool(np.isin(values[told], (MISSING, 0, 1, 2)).all())
    return np.where(told, values, MASK).astype(np.int8) if whole else np.asarray(values, np.float32)


def told(shown: Array) -> Array:
    """Return which variants released rows tell of anybody, bool (variants,)."""
    seen = shown > MASK if np.issubdtype(shown.dtype, np.integer) else ~np.isnan(shown)
    return np.asarray(seen.any(0))


class Met(NamedTuple):
    """A release's people and a panel's.

    Attributes:
        reference: The panel.
        words: What it is, in words.
        whose: int (people,): which person of the panel each is; −1 for none.
        dealt: Who fits attackers, who is judged.
    """

    reference: Reference
    words: str
    whose: Array
    dealt: sides.Sides


def meet(people: People, spec: LinkageSpec, rng: np.random.Generator) -> Met:
    """Read the panel and deal people out: all that can be refused, before anything is masked.

    Raises:
        SpecError: the panel cannot be read or joined, or too few people are in both.
    """
    reference, words = _reference(people, spec, rng)
    at = {who: i for i, who in enumerate(reference.ids)}
    whose = np.array([at.get(who, -1) for who in people.ids])
    family = sides.families(reference.x)
    dealt = sides.deal(whose, people.leaves, family, rng, share=spec.share, decoys=spec.decoys)
    return Met(reference, words, whose, dealt)


def audit(people: People, spec: LinkageSpec, rng: np.random.Generator, *, steps: int | None = None) -> Linkage:
    """Attack the rows that leave.

    Args:
        people: Whose.
        spec: Among whom they are looked for.
        rng: Deals people out, and draws what attackers draw.
        steps: Of each network; None: as many as is usual.

    Raises:
        SpecError: the panel cannot be read or joined, or too few people are in both.
    """
    reference, words, whose, dealt = meet(people, spec, rng)
    shown, whole, panel, more = people.shown, people.x, reference.x, 0
    if spec.label and (classes := sorted({*people.label})) and len(classes) > 1:
        shown, whole = (np.hstack([each, _columns(people.label, classes, each)]) for each in (shown, whole))
        panel = np.hstack([panel, _columns(reference.label, classes, panel)])
        more, known = len(classes), any(reference.label)
        words += ", who tell their class" if known else ", of whom no class is known"
    pairs, own = (shown[dealt.fit], panel[whose[dealt.fit]]), (whole[dealt.probes], whole[dealt.fit])
    found = linked(
        shown[dealt.probes],
        panel[dealt.candidates],
        dealt.owner,
        Others(base=panel[dealt.base], pairs=pairs, **_places(people.variants, more)),
        rng,
        whole=own,
        strata=np.array(people.label)[dealt.probes] if len({*people.label}) > 1 else None,
        steps=steps,
    )
    among = words if spec.panel is None else "a second panel of named people"
    return replace(found, told=found.told - more, variants=found.variants - more, among=among, panel=words)


def _reference(people: People, spec: LinkageSpec, rng: np.random.Generator) -> tuple[Reference, str]:
    """Return the panel, and what it is in words."""
    if spec.panel is None:
        look = sides.second_look(people.x, spec.error, rng)
        of = "genotypes wrong" if np.issubdtype(look.dtype, np.integer) else "standard deviations of noise"
        words = f"a second look simulated from the rows themselves, {spec.error:.2%} of {of}: no panel was given"
        joined = {"joined": look.shape[1]}
        return Reference(ids=tuple(people.ids), x=look, label=tuple(people.label), joined=joined), words
    whole = bool(np.issubdtype(people.x.dtype, np.integer))
    found = read_reference(str(spec.panel), people.variants, dosages=whole, id=spec.id, label=people.column)
    more = "".join(f", {how} {n:,}" for how, n in found.joined.items() if how != "joined")
    words = f"{spec.panel.name}: {found.joined['joined']:,} of {len(people.variants):,} variants{more}"
    return found, f"{words}, {len(found.ids):,} people"


def _columns(label: Sequence[str], classes: Sequence[str], like: Array) -> Array:
    """Return a column a class, 1 where it is the person's: a release tells it as it tells a variant."""
    of = np.array(label)[:, None] == np.array(classes)
    known = np.array([bool(name) for name in label])[:, None]
    whole = np.issubdtype(like.dtype, np.integer)
    return np.where(known, of, MISSING if whole else np.nan).astype(like.dtype)


def _places(variants: Sequence[str], more: int) -> dict[str, Any]:
    """Return contigs and positions, of classes too; none where names tell none."""
    found = [place(variant) for variant in variants]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return {}
    contig = np.array([one[0] for one in known] + ["class"] * more)
    return {"contig": contig, "position": np.array([one[1] for one in known] + list(range(more)))}
