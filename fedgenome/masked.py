"""A run whose release is rows of real people with all but a list withheld: rows, their audit, what the card says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedgenome import linking
from fedgenome.audit.linkage.judge import ROWS
from fedgenome.audit.linkage.results import Linkage
from fedgenome.card import guarantee_line
from fedgenome.cohort.masked_file import LIST, MASKED, list_text, masked_h5ad
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.linking import People
from fedgenome.methods.base import Generator, Masker
from fedgenome.prepare import Prepared
from fedgenome.query import Array
from fedgenome.release import marks
from fedgenome.streams import Root

LISTED = "told"  # the array of a list method: 1 where a column is told of everybody
_BESIDE = "beside it leave rows of real people, which no differential privacy covers"
_MEMBERS = "not attacked: who is in the release, its rows say"
_UNCOVERED = {"what": "the people whose rows are in it", "covered": "no", "why": ROWS}
_ATTRIBUTE = {"what": "attribute inference", "covered": "not assessed", "why": "only linkage is attacked so far"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Masked:
    """What leaves of a masked release beside the card, and what attackers made of it.

    Attributes:
        people: Whose rows, whole and as they are released.
        told: Which columns are told of anybody, bool (variants,).
        label: Whether their classes leave too.
        root: Draws the order of rows.
        linkage: None where nobody could be looked for.
    """

    people: People
    told: Array
    label: bool
    root: Root
    linkage: Linkage | None

    def files(self, card: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the rows' file and the list of what they tell."""
        people = self.people
        label = [name for name, leaves in zip(people.label, people.leaves, strict=True) if leaves]
        said = marks(card) | {"synthetic": False, "rows": ROWS}
        rng = self.root.stream("order").generator()
        rows = masked_h5ad(
            people.shown[people.leaves], people.variants, self.told, label if self.label else None, said, rng
        )
        return {MASKED: rows, LIST: list_text(people.variants, self.told)}


def masker_of(prepared: Prepared) -> str | None:
    """Return the label of the method whose list masks the rows that leave; None: the run generates rows.

    Raises:
        SpecError: several methods mask, or others generate: their rows would leave too.
    """
    masking = [label for label, method in prepared.methods.items() if isinstance(method, Masker)]
    making = [label for label, method in prepared.methods.items() if isinstance(method, Generator)]
    if len(masking) > 1 or (masking and making):
        found = ", ".join((*masking, *making))
        raise SpecError(f"methods: expected one method that masks rows, or methods that generate some, got {found}")
    return masking[0] if masking else None


def check(prepared: Prepared, root: Root) -> None:
    """Read the panel and deal people out, so that nothing is spent on a release that cannot be judged.

    Raises:
        SpecError: the panel cannot be read or joined, too few people are in both, or one has several rows.
    """
    if len(prepared.split.members.x):
        whole = _rows(prepared)
        people = _people(prepared, linking.codes(whole, prepared.study.schema_.dosages))
        linking.meet(people, prepared.experiment.linkage, root.stream("linkage").generator())


def masked(prepared: Prepared, label: str, arrays: Mapping[str, Array], root: Root) -> Masked:
    """Return the masked rows of those who were trained on, and what attackers make of them.

    Args:
        prepared: The run.
        label: The method that masks.
        arrays: What it released.
        root: Randomness of the driver.
    """
    method, spec = prepared.methods[label], prepared.experiment.linkage
    if not isinstance(method, Masker):
        raise SpecError(f"methods.{label}: expected a method that masks rows")
    values = method.masked(arrays, _rows(prepared))
    people = _people(prepared, linking.codes(values, prepared.study.schema_.dosages))
    told = np.asarray(arrays[LISTED]) > 0 if LISTED in arrays else linking.told(people.shown[people.leaves])
    found = linking.audit(people, spec, root.stream("linkage").generator()) if people.leaves.any() else None
    return Masked(people=people, told=told, label=spec.label, root=root, linkage=found)


def on_card(card: Mapping[str, Any], made: Masked) -> dict[str, Any]:
    """Return the card of a release that tells of real people row by row."""
    linkage = f"yes, among {made.linkage.among}" if made.linkage else "not assessed"
    beside = " but their class" if made.label else ""
    told = {
        **card,
        "alerts": [ROWS, *card["alerts"]],
        "about": {**card["about"], "product": f"a public list, and rows of real people with all else withheld{beside}"},
        "guarantee": {**card["guarantee"], "rows": _BESIDE},
        "composition": {**card["composition"], "post_processing": "of the list alone; masked rows are read off people"},
        "not_covered": [
            _UNCOVERED,
            *(row if "linkage" not in row["what"] else _ATTRIBUTE for row in card["not_covered"]),
        ],
        "risk": {**card["risk"], "assessed": {**card["risk"]["assessed"], "membership": _MEMBERS, "linkage": linkage}},
    }
    told["guarantee"]["statement"] = guarantee_line(told)
    return told


def _rows(prepared: Prepared) -> Array:
    """Return everybody's values, members' first, float32 (people, variants)."""
    return np.concatenate([shard.x[shard.mask] for shard in _shards(prepared)])


def _people(prepared: Prepared, shown: Array) -> People:
    """Return members, whose rows leave, and controls, whose rows do not."""
    schema, shards = prepared.study.schema_, _shards(prepared)
    whole, names = _rows(prepared), prepared.split.labels
    return People(
        ids=tuple(shard.donors[one] for shard in shards for one in shard.donor[shard.mask]),
        x=linking.codes(whole, schema.dosages),
        shown=shown,
        leaves=np.repeat([True, False], [int(shard.mask.sum()) for shard in shards]),
        variants=schema.genes,
        label=tuple(names[code] for shard in shards for code in shard.label[shard.mask]),
        column=prepared.experiment.cohort.label if prepared.experiment.cohort else "label",
    )


def _shards(prepared: Prepared) -> tuple[Shard, Shard]:
    return prepared.split.members, prepared.split.controls
