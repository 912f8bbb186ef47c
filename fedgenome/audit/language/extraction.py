"""Extraction: making a causal model say what it was trained on, given the beginning or nothing.

Only causal models: what a masked one fills in is no string that it was asked for.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.language.perplexity import nats
from fedgenome.audit.language.steps import after, picked
from fedgenome.errors import require
from fedgenome.models.language.base import Causal
from fedgenome.query import Array


def greedy(model: Causal, prefix: Array, length: int) -> Array:
    """Return the continuation of each prefix by its likeliest token at every step, int64 (rows, length).

    Of tokens that tie the first is taken.

    Args:
        model: The model.
        prefix: int (rows, tokens), of no token to begin at the start.
        length: Tokens to say.
    """
    out = np.empty((len(prefix), length), np.int64)
    with torch.no_grad():
        logits, state = after(model, prefix)
        for t in range(length):
            tokens = logits.argmax(1)
            out[:, t] = tokens.numpy()
            if t + 1 < length:
                logits, state = model.step(tokens, state)
    return out


def beam(model: Causal, prefix: Array, length: int, width: int) -> tuple[Array, Array]:
    """Return the ``width`` continuations that beam search ends with, int64 (width, length), and their log p, (width,).

    Likeliest first; fewer where there are fewer strings. Wide enough it sees all of them; in between it may miss the
    likeliest, which :func:`fedgenome.audit.language.search.likeliest` does not.

    Args:
        model: The model.
        prefix: int (tokens,).
        length: Tokens to say.
        width: Strings kept at every step.
    """
    require(length >= 1 and width >= 1, "length >= 1 and width >= 1", length=length, width=width)
    said, log_p = torch.empty((1, 0), dtype=torch.int64), torch.zeros(1, dtype=torch.float64)
    with torch.no_grad():
        logits, state = after(model, np.asarray(prefix)[None])
        for t in range(length):
            every = (log_p[:, None] + logits.double().log_softmax(1)).flatten()
            log_p, best = every.topk(min(width, len(every)))
            parents, tokens = best // model.vocabulary, best % model.vocabulary
            said = torch.cat([said[parents], tokens[:, None]], 1)
            if t + 1 < length:
                logits, state = model.step(tokens, picked(state, parents))
    return said.numpy(), log_p.numpy()


def discoverable(model: Causal, strings: Array, given: int) -> Array:
    """Return which strings the model completes by its likeliest tokens, bool (strings,): all of the rest, exactly.

    Source: Carlini et al. 2023 (arXiv 2202.07646), Definition 3.1.

    Args:
        model: The model.
        strings: int (strings, length).
        given: Tokens that the model is shown; 0: it begins from the start, where it has one string to say.
    """
    _require_given(strings, given)
    said = greedy(model, strings[:, :given], strings.shape[1] - given)
    return np.asarray((said == strings[:, given:]).all(1))


def rest_log_p(model: Causal, strings: Array, given: int) -> Array:
    """Return log p of what follows the first ``given`` tokens of each string, nats, float64 (strings,)."""
    _require_given(strings, given)
    return np.asarray(-nats(model, strings)[:, given:].sum(1))


def attempts(log_p: Array, chance: float) -> Array:
    """Return how many samples have a string among them with probability ``chance``, float64 (strings,), not rounded.

    n = log(1 − chance)/log(1 − p_z), of samples at temperature 1, none of whose tokens is left out.

    Source: Hayes et al. 2025 (arXiv 2410.19482), (n, p)-discoverable extraction, solved for n.

    Args:
        log_p: log p_z of each string, exact, (strings,).
        chance: p, within (0, 1).
    """
    require(0 < chance < 1, "0 < chance < 1", chance=chance)
    p = np.exp(np.minimum(log_p, 0.0))
    with np.errstate(divide="ignore"):  # p_z = 1 wants one sample, p_z = 0 infinitely many
        needed = math.log1p(-chance) / np.log1p(-p)
    return np.maximum(1.0, np.where(p > 0, needed, np.inf))


def probably_discoverable(log_p: Array, samples: int, chance: float) -> Array:
    """Return which strings are (n, p)-discoverable, bool (strings,): 1 − (1 − p_z)^n ≥ p.

    Source: Hayes et al. 2025 (arXiv 2410.19482), (n, p)-discoverable extraction.

    Args:
        log_p: log p_z of each string, exact, (strings,).
        samples: n.
        chance: p.
    """
    require(samples >= 1, "samples >= 1", samples=samples)
    return np.asarray(attempts(log_p, chance) <= samples)


def planted_against_controls(extracted: Array, planted: Array, control: Array) -> Counts:
    """Return how many of what was planted is extracted, beside what was not planted, for ``effects.residual``.

    Args:
        extracted: bool (canaries,).
        planted: Indices of those that were planted, or of one rung, int (n,).
        control: Indices of those that were not, drawn alike, int (m,).
    """
    hits, alarms = extracted[planted], extracted[control]
    return Counts(hits=int(hits.sum()), members=len(hits), false_alarms=int(alarms.sum()), controls=len(alarms))


def against_counterfactual(extracted: Array, without: Array) -> Counts:
    """Return how many strings a model extracts, beside one that was trained without them, for ``effects.residual``.

    What is near the rest of the data is said by either, and is no memory of a person. Each rate's bound holds; the
    p-value takes the two for independent, and errs to the safe side where the models agree.

    Source: Zhang et al. 2023 (arXiv 2112.12938), counterfactual memorization.

    Args:
        extracted: By the model, bool (strings,).
        without: By the model that never saw them, bool (strings,), the same strings.
    """
    require(extracted.shape == without.shape, "the same strings under both models", shape=extracted.shape)
    return Counts(
        hits=int(extracted.sum()), members=len(extracted), false_alarms=int(without.sum()), controls=len(without)
    )


def _require_given(strings: Array, given: int) -> None:
    require(0 <= given < strings.shape[1], "0 <= given < length", given=given, length=strings.shape[1])
