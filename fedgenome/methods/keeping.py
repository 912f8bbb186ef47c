"""The coordinator's side of masking: a masker that learns by what sites' sums say of its lists. All post-processing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from fedgenome.methods.by_label import People
from fedgenome.models.masking.masker import Masker, start
from fedgenome.models.parameters import flatten, load_flat
from fedgenome.query import Array, State

DEAREST = 100.0  # price of being found, at most
_STEP = 0.2  # of the price and the list's length, a round and nat beyond the advantage that is allowed
_LEAST = 1e-9


class Keeper:
    """A masker of variants by their features: association with the label, spread, and what is public.

    State: ``mask`` (Q,) float32, its weights.
    """

    def __init__(self, variants: int, features: Mapping[str, Sequence[float]], rate: float) -> None:
        self._public = [np.array(values) for values in features.values()]
        self._masker = Masker(2 + len(self._public), variants)
        self._rate = rate

    def start(self, rng: np.random.Generator) -> State:
        """Return a masker that ranks variants by association alone."""
        start(self._masker, 0, rng)
        return {"mask": flatten(self._masker)}

    def score(self, state: State, people: People) -> npt.NDArray[np.float32]:
        """Return the keep logits (variants,), finite."""
        load_flat(self._masker, state["mask"])
        with torch.no_grad():
            logits: npt.NDArray[np.float32] = np.nan_to_num(self._masker(self._features(people)).numpy())
        return logits

    def stepped(self, state: State, people: People, gates: npt.NDArray[np.float32]) -> State:
        """Return the masker after a round, straight through its list: a step down the gates' gradient (variants,).

        In units of its own size, as only the order of logits counts. Steps are not Adam's, of one size for all: what
        is gained little by little must stay little.
        """
        load_flat(self._masker, state["mask"])
        size = np.sqrt(np.mean(gates.astype(np.float64) ** 2))
        told = torch.from_numpy((np.nan_to_num(gates) / max(float(size), _LEAST)).astype(np.float32))
        found = torch.autograd.grad(self._masker(self._features(people)).dot(told), list(self._masker.parameters()))
        steps = [each.numpy().ravel() / (1 if k == 0 else len(told)) for k, each in enumerate(found)]
        # The free numbers, a module's own, come first; what variants share steps by the mean over them.
        return {"mask": state["mask"] - np.float32(self._rate) * np.concatenate(steps)}

    def _features(self, people: People) -> torch.Tensor:
        """Return features (variants, F), each of mean 0 and deviation 1."""
        rows = np.stack([people.association, people.spread, *self._public], axis=1).astype(np.float64)
        rows -= rows.mean(0)
        rows /= np.maximum(rows.std(0), _LEAST)
        return torch.from_numpy(rows.astype(np.float32))


def priced(state: State, beyond: float, most: int) -> State:
    """Return ``price`` of being found and ``length`` of the list after identifiers knew so many nats more than allowed.

    Dual ascent: dearer and shorter; cheaper and longer, up to ``most``, where they knew less.
    """
    price = np.clip(float(state["price"]) * math.exp(_STEP * beyond), 0, DEAREST)
    length = np.clip(float(state["length"]) * math.exp(-_STEP * beyond), 1, most)
    return {"price": np.array(price), "length": np.array(length)}


def top(score: Array, length: int) -> npt.NDArray[np.float32]:
    """Return 1 at the ``length`` largest scores, the first of equal ones, and 0 elsewhere.

    >>> top(np.array([0.5, 2.0, 0.5]), 2).tolist()
    [1.0, 1.0, 0.0]
    """
    out = np.zeros(len(score), np.float32)
    out[np.argsort(-score, kind="stable")[:length]] = 1
    return out
