"""Lists that no masking method of the library made: every variant in the order in which a rule would tell it.

A list of k variants is an order's first k. Rules see the people on whom lists are chosen, and nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedgenome.audit.linkage.dosages import GENOTYPES, frequencies
from fedgenome.cohort.intervals import read_bed
from fedgenome.query import Array

REGIONS = Path(__file__).with_name("regions.bed")
_GREEDY, _AMONG = 50, 1500  # variants chosen one by one, among so many of the highest F_ST


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """On whom a list is chosen.

    Attributes:
        dosages: int8 (people, variants).
        label: Case or control, int64 (people,).
        ancestry: int64 (people,).
        contig: Of each variant, text (variants,).
        position: Base pairs, int64 (variants,).
    """

    dosages: Array
    label: Array
    ancestry: Array
    contig: Array
    position: Array


def chance(people: People, rng: np.random.Generator) -> Array:
    """Return all variants in any order."""
    return rng.permutation(people.dosages.shape[1])


def common(people: People, rng: np.random.Generator) -> Array:
    """Return variants whose rarer allele is most frequent first."""
    return _first(_rarer(people), rng)


def rare(people: People, rng: np.random.Generator) -> Array:
    """Return variants whose rarer allele is least frequent first; those that nobody has come last."""
    rarer = _rarer(people)
    seen = np.array([len(np.unique(column[column >= 0])) > 1 for column in people.dosages.T])
    return _first(np.where(seen, -rarer, -1.0), rng)


def differing(people: People, rng: np.random.Generator) -> Array:
    """Return variants of the highest F_ST first: variance of frequencies between ancestries over p(1 − p)."""
    return _first(_apart(people), rng)


def outside(people: People, rng: np.random.Generator) -> Array:
    """Return variants outside the known regions in any order, then those within."""
    known = read_bed(str(REGIONS))
    within = [known.holds(str(contig), int(at)) for contig, at in zip(people.contig, people.position, strict=True)]
    return _first(-np.array(within, np.float64), rng)


def n_outside(people: People) -> int:
    """Return how many variants lie outside the known regions."""
    known = read_bed(str(REGIONS))
    places = zip(people.contig, people.position, strict=True)
    return sum(not known.holds(str(contig), int(at)) for contig, at in places)


def associated(people: People, rng: np.random.Generator) -> Array:
    """Return variants by the squared correlation of dosage and label: the Cochran–Armitage trend."""
    told = people.dosages >= 0
    centred = np.where(told, people.dosages - 2 * frequencies(people.dosages), 0.0)
    label = people.label - people.label.mean()
    return _first((label @ centred) ** 2 / np.maximum((centred**2).sum(0), 1e-12), rng)


def informative(people: People, rng: np.random.Generator) -> Array:
    """Return variants in the order in which each adds most to what is known of ancestry; after so many, by F_ST.

    What is known is the mean log probability of a person's own ancestry under independent variants given ancestry.
    """
    after = differing(people, rng)
    among = after[:_AMONG]
    said = _said(people, among)  # (people, among, ancestries)
    own = people.ancestry
    posterior = np.log(np.bincount(own) / len(own))[None].repeat(len(own), axis=0)
    left = np.ones(len(among), np.bool_)
    chosen: list[int] = []
    for _ in range(min(_GREEDY, len(among))):
        joint = posterior[:, None] + said
        gain = np.take_along_axis(joint, own[:, None, None], axis=2)[..., 0] - np.logaddexp.reduce(joint, axis=2)
        best = int(np.argmax(np.where(left, gain.mean(0), -np.inf)))
        chosen.append(int(among[best]))
        left[best] = False
        posterior = joint[:, best]
    return np.concatenate([chosen, after[~np.isin(after, chosen)]]).astype(np.int64)


ORDERS: Mapping[str, Callable[[People, np.random.Generator], Array]] = {
    "random": chance,
    "high MAF": common,
    "low MAF": rare,
    "high F_ST": differing,
    "known regions masked": outside,
    "association": associated,
    "information on ancestry": informative,
}
BLIND = tuple(ORDERS)[:5]  # to the phenotype, whatever it is


def _first(value: Array, rng: np.random.Generator) -> Array:
    """Return columns of the largest value first, those alike in any order."""
    shuffled = rng.permutation(len(value))
    order: Array = shuffled[np.argsort(-value[shuffled], kind="stable")]
    return order


def _rarer(people: People) -> Array:
    alt = frequencies(people.dosages)
    return np.asarray(np.minimum(alt, 1 - alt))


def _apart(people: People) -> Array:
    groups = [people.dosages[people.ancestry == group] for group in np.unique(people.ancestry)]
    each = np.stack([frequencies(group) for group in groups])
    overall = each.mean(0)
    return np.asarray(each.var(0) / (overall * (1 - overall)))


def _said(people: People, among: Array) -> Array:
    """Return log P(a person's dosage | ancestry), float32 (people, among, ancestries); 0 where it is not called."""
    dosages = people.dosages[:, among]
    groups = [dosages[people.ancestry == group] for group in range(people.ancestry.max() + 1)]
    alt = np.stack([frequencies(group) for group in groups], axis=1)  # (among, ancestries)
    table = np.stack([(1 - alt) ** 2, 2 * alt * (1 - alt), alt**2, np.ones_like(alt)], axis=1)
    shown = np.where(dosages < 0, GENOTYPES, dosages)
    return np.asarray(np.log(table)[np.arange(len(among)), shown], np.float32)
