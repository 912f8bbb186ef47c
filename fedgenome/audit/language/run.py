"""A language model's audit by canaries: what it says of each, and how bad that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedgenome.audit.language import enumeration, extraction, perplexity
from fedgenome.audit.language.canaries import Canaries
from fedgenome.audit.language.score import Seen
from fedgenome.cohort.tokens import Tokens
from fedgenome.errors import require
from fedgenome.models.language.base import Causal, LanguageModel
from fedgenome.query import Array

_CAUSAL, _MASKED = 4**10, 4**7  # strings that are enumerated: a masked model reads each L times


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """What the canaries of a model are looked at with, fixed before it is.

    Attributes:
        alphabet: What tokens are.
        given: Tokens of a canary that a causal model is shown when it is to complete the rest.
        reference: A model that saw no canary, to compare perplexities with; None: chance.
        law: log-probability of every string under the canaries' law, (V^L,); None: uniform. Of canaries like the data
            ``enumeration.table`` of the chain that they were drawn from, of mosaics that of ``Copying`` at their
            rate and without errors.
        window: Tokens of a training window, for masked models.
        exposure: Whether exposure is enumerated, where there are few enough strings.
    """

    alphabet: Tokens
    given: int
    reference: LanguageModel | None = None
    law: Array | None = None
    window: int | None = None
    exposure: bool = True


def look(model: LanguageModel, canaries: Canaries, by: Instruments) -> Seen:
    """Return what ``model`` says of every canary."""
    tokens, v = canaries.tokens, model.vocabulary
    require(by.alphabet.size == v, "an alphabet of the model's size", alphabet=by.alphabet.size, model=v)
    require(bool((tokens < v).all()), "canaries of known tokens")
    read = [perplexity.bits_per_base(each, tokens, by.alphabet) for each in (model, by.reference) if each is not None]
    chance = np.full(len(tokens), np.log2(v) / by.alphabet.k)
    return Seen(
        bits=read[0],
        reference=read[1] if by.reference is not None else chance,
        exposure=_exposures(model, tokens, by) if by.exposure else None,
        extracted=extraction.discoverable(model, tokens, by.given) if isinstance(model, Causal) else None,
    )


def _exposures(model: LanguageModel, tokens: Array, by: Instruments) -> Array | None:
    """Return exact exposures, or None where the strings are too many to enumerate."""
    strings, length = model.vocabulary ** tokens.shape[1], tokens.shape[1]
    if isinstance(model, Causal):
        every = enumeration.table(model, length) if strings <= _CAUSAL else None
    else:
        every = enumeration.pseudo_table(model, length, by.window) if strings <= _MASKED else None
    return None if every is None else enumeration.exposures(every, tokens, model.vocabulary, by.law)
