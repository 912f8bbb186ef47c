"""What is looked at in a model: every canary, planted or not, and people, members or not.

A masked model has no probability of a string: what stands for it hides every fourth letter, as many as in training, in
four turns, and adds up what is said of the hidden ones. Its exposures are by rank among as many strings of the
canaries' law as ``REFERENCES``; it extracts a canary if it fills in one letter in four, all of them right.
"""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
import torch

from experiments.memorization.worlds import ALPHABET, HEAD, WINDOW, People, World
from fedgenome.audit.bounds import exposure
from fedgenome.audit.language import enumeration, extraction, perplexity, search
from fedgenome.audit.language.steps import as_tensor
from fedgenome.models.language.base import Causal, LanguageModel, Masked
from fedgenome.query import Array

GIVEN = 12  # letters that a causal model is shown, to complete the other 36
REFERENCES = 1023  # strings that a masked model's canaries are ranked among: 10 bits
_TURNS = 4
_NODES = 2000  # beginnings that are looked at for the likeliest string of all

Numbers = list[float]


class Looked(TypedDict):
    """What was seen.

    Attributes:
        bits: Of each canary's window, bits a base.
        exposure: Of each canary, bits.
        extracted: Of each canary, 1 or 0.
        rest: log p of what a canary goes on with after 12 letters, nats; none of a masked model.
        members: Of each member who is asked for, bits a base.
        others: Likewise of those who are none.
        off: By how much the probabilities of all beginnings miss 1; 0 of a masked model.
    """

    bits: Numbers
    exposure: Numbers
    extracted: list[int]
    rest: Numbers
    members: Numbers
    others: Numbers
    off: float


def look(model: LanguageModel, world: World, asked: int, references: np.random.Generator) -> Looked:
    """Return what ``model`` shows of canaries and people.

    Args:
        model: The model.
        world: Canaries and people.
        asked: Members, and others, who are looked at.
        references: Draws the strings that a masked model's canaries are ranked among.
    """
    if isinstance(model, Causal):
        bits, bases, extracted, rest, off = _causal(model, world)
    else:
        bits, bases, extracted = _masked(model, world, references)
        rest, off = np.zeros(0), 0.0
    return Looked(
        bits=_plain(bits),
        exposure=_plain(bases),
        extracted=extracted.astype(int).tolist(),
        rest=_plain(rest),
        members=_plain(bits_of(model, world.members.first(asked))),
        others=_plain(bits_of(model, world.others.first(asked))),
        off=off,
    )


def bits_of(model: LanguageModel, people: People) -> Array:
    """Return the bits a base of each donor, float64 (donors,)."""
    if isinstance(model, Causal):
        return perplexity.bits_per_base(model, people.rows, ALPHABET, people.donor)
    log_p, known = _in_turns(model, people.rows)[0], (people.rows < ALPHABET.size).sum(1)
    totals, bases = (np.bincount(people.donor, weights=each) for each in (log_p, known))
    return np.asarray(-totals / bases / math.log(2))


def recited(model: Causal, world: World) -> tuple[int, bool]:
    """Return the copies of the canary that is the likeliest of all windows, −1 if none is, and whether it is proven."""
    found = search.likeliest(model, np.zeros(0, np.int64), WINDOW, nodes=_NODES)
    if found.tokens is None:
        return -1, False
    same = np.flatnonzero((world.planting.rows == found.tokens).all(1))
    return (int(world.canaries.repeats[same[0]]) if len(same) else -1), found.proven


def _causal(model: Causal, world: World) -> tuple[Array, Array, Array, Array, float]:
    rows = world.planting.rows
    every = enumeration.table(model, HEAD)
    exposures = enumeration.exposures(every, world.canaries.tokens, ALPHABET.size)
    bits = perplexity.nats(model, rows).mean(1) / math.log(2)
    extracted = extraction.discoverable(model, rows, GIVEN)
    rest = extraction.rest_log_p(model, rows, GIVEN)
    return bits, exposures, extracted, rest, abs(float(np.exp(every).sum()) - 1)


def _masked(model: Masked, world: World, references: np.random.Generator) -> tuple[Array, Array, Array]:
    log_p, filled = _in_turns(model, world.planting.rows)
    drawn = references.integers(0, ALPHABET.size, (REFERENCES, WINDOW))
    exposures = exposure.sampled(-log_p, -_in_turns(model, drawn)[0])
    return -log_p / WINDOW / math.log(2), exposures, filled


def _in_turns(model: Masked, rows: Array) -> tuple[Array, Array]:
    """Return Σ log p of the letters of rows, a fourth hidden in each turn, and whether the last turn's are all right.

    Unknown letters count nothing.
    """
    tokens, v = as_tensor(rows), model.vocabulary
    total, right = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.bool)
    known, place = tokens < v, torch.arange(tokens.shape[1]) % _TURNS
    with torch.no_grad():
        for turn in range(_TURNS):
            hidden = (place == turn).expand(tokens.shape)
            parts = zip(torch.split(tokens, 256), torch.split(hidden, 256), strict=True)
            logits = torch.cat([model(*part) for part in parts])
            logs = logits.double().log_softmax(2).gather(2, tokens.clamp(max=v - 1)[..., None])[..., 0]
            total += (logs * (hidden & known)).sum(1)
            right = ((logits.argmax(2) == tokens) | ~hidden).all(1)
    return total.numpy(), right.numpy()


def _plain(numbers: Array) -> Numbers:
    return [round(float(number), 5) for number in numbers]
