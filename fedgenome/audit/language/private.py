"""Private variants: does a model know what only one person has?

The reference is public and most of a genome is everybody's; what identifies a person are alleles that nobody else of
the cohort has. Of each the model is asked two things. Does it prefer the person's window to its *neighbour*, the same
window with the common allele in place of the private one? And does it name the allele, given what stands before (or,
if it is masked, around)? People who were held out have private variants too: they say what chance does.

It reads real people, members and controls: what it says is internal.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.distance import per_donor
from fedgenome.audit.language.copying import Copying
from fedgenome.audit.language.perplexity import log_likelihood
from fedgenome.audit.language.steps import as_tensor
from fedgenome.errors import require
from fedgenome.models.language.base import Causal, LanguageModel
from fedgenome.query import Array

_ROWS = 256  # windows that a model reads together
_COMMON = 2  # donors that the common allele has at least: with one it would be private too


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variants:
    """Alleles that one person has, each int64 (variants,).

    Attributes:
        row: The window it is in; of several of the person the first.
        position: Where, tokens from the window's start.
        allele: What the person has.
        common: What most donors have.
        donor: Whose.
    """

    row: Array
    position: Array
    allele: Array
    common: Array
    donor: Array

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, chosen: Array) -> Variants:
        """Return the variants that an index or mask picks."""
        return Variants(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def variants(windows: Array, donor: Array, vocabulary: int) -> Variants:
    """Return the private variants of all people of aligned windows, by position and allele.

    Args:
        windows: int (rows, window), all of one start, members' and held-out people's together: who is a member must
            have no part in which variants are private.
        donor: Whose each is, int (rows,); several rows of a person (haplotypes) are one.
        vocabulary: V; an unknown token is no allele.
    """
    require(len(donor) == len(windows), "a donor for every window", windows=len(windows), donors=len(donor))
    people, whose = np.unique(donor, return_inverse=True)
    carriers = np.zeros((vocabulary, windows.shape[1]), np.int64)
    last = np.zeros_like(carriers)  # one of the allele's carriers: the only one, if it is private
    for one in range(len(people)):
        has = (windows[whose == one][:, :, None] == np.arange(vocabulary)).any(0).T
        carriers += has
        last[has] = one
    common, counts = carriers.argmax(0), carriers.max(0)
    allele, position = np.nonzero((carriers == 1) & (counts >= _COMMON))
    person = last[allele, position]
    here = (whose == person[:, None]) & (allele[:, None] == windows[:, position].T)
    return Variants(
        row=here.argmax(1),
        position=position,
        allele=allele,
        common=common[position],
        donor=people[person],
    )


def neighbours(windows: Array, found: Variants) -> Array:
    """Return each variant's window with the common allele in the private one's place, (variants, window)."""
    out = windows[found.row].copy()
    out[np.arange(len(found)), found.position] = found.common
    return out


def preference(model: LanguageModel, windows: Array, found: Variants) -> Array:
    """Return log p(window) − log p(its neighbour), nats, float64 (variants,): above 0 where the private one is liked.

    Of a masked model pseudo-log-likelihoods.
    """
    return log_likelihood(model, windows[found.row]) - log_likelihood(model, neighbours(windows, found))


def baseline(panel: Copying, whose: Array, windows: Array, found: Variants) -> Array:
    """Return the preference of an imputation panel without the person, nats, float64 (variants,).

    Args:
        panel: Haplotypes of other people too, of the windows' start.
        whose: Donor of each of its haplotypes, int (haplotypes,), numbered as the variants'.
        windows: As in :func:`variants`.
        found: The variants.
    """
    out = np.empty(len(found))
    for donor in np.unique(found.donor):
        mine = found.donor == donor
        out[mine] = preference(panel.without(whose == donor), windows, found[mine])
    return out


def named(model: LanguageModel, windows: Array, found: Variants) -> Array:
    """Return whether the model's likeliest token is the private one, bool (variants,).

    A causal model is given the window before the variant, a masked one all of the window but it.
    """
    said = [np.empty(0, np.int64)]
    with torch.no_grad():
        for start in range(0, len(found), _ROWS):
            some = slice(start, start + _ROWS)
            tokens, at = as_tensor(windows[found.row[some]]), as_tensor(found.position[some])
            if isinstance(model, Causal):
                logits = model(tokens)
            else:
                logits = model(tokens, torch.arange(tokens.shape[1]) == at[:, None])
            said.append(logits[torch.arange(len(at)), at].argmax(1).numpy())
    return np.asarray(np.concatenate(said) == found.allele)


def by_donor(scores: Array, found: Variants, member: Array) -> tuple[Array, Array]:
    """Return mean scores of the members and of the held-out people who have private variants, (people,) each.

    Args:
        scores: Of the variants, (variants,), such as preference − baseline.
        found: The variants.
        member: Whether a variant's donor was in training, bool (variants,).
    """
    return per_donor(scores[member], found.donor[member]), per_donor(scores[~member], found.donor[~member])


def extracted(hit: Array, found: Variants, member: Array) -> Counts:
    """Return how many people have a private variant that the model names: members, beside held-out people.

    One variant of each person counts, the one that stands first: with all of them those who have many would have
    more chances, and variants of a person are not independent.
    """
    order = np.lexsort((found.position, found.donor))
    first = order[np.unique(found.donor[order], return_index=True)[1]]
    hits, inside = hit[first], member[first]
    return Counts(
        hits=int(hits[inside].sum()),
        members=int(inside.sum()),
        false_alarms=int(hits[~inside].sum()),
        controls=int((~inside).sum()),
    )
