"""The protocol's arithmetic without its cryptography: the same integers, nothing shared, sealed or sent.

A seeded federation of sites and parties and its replay give the same bytes; experiments that need hundreds
of runs replay them, and check one of each kind against the whole federation.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from fedgenome import federate, trust
from fedgenome.federation import home
from fedgenome.methods.base import Method
from fedgenome.prepare import Prepared
from fedgenome.privacy.coins import DonorNormals, chosen
from fedgenome.query import PARTIES, Array, Query, choose_scale
from fedgenome.secure import noise, ring
from fedgenome.streams import Root


def federated(prepared: Prepared, seed: int) -> dict[str, dict[str, Array]]:
    """Return each method's released arrays from a simulation with every role, parties in processes of their own."""
    with tempfile.TemporaryDirectory() as name, federate.parties(seed) as running:
        home = Path(name)
        place = federate.Place(
            state=home / "state", ledgers=home / "sites", parties=home / "parties", run="replay", seed=seed
        )
        return dict(federate.federate(prepared, place, running, lambda _, __: None).arrays)


def replayed(prepared: Prepared, seed: int) -> dict[str, dict[str, Array]]:
    """Return what :func:`federated` does, from sums of encoded answers and noise; for sums over donors only."""
    return {label: _conduct(prepared, label, method, seed) for label, method in prepared.methods.items()}


def _conduct(prepared: Prepared, label: str, method: Method, seed: int) -> dict[str, Array]:
    terms = prepared.study.terms(prepared.plan)
    state, step = method.start(Root.simulation(seed, "coordinator").stream("start", label).generator()), 0
    while (asked := method.ask(state)) is not None:
        question = trust.asked(asked, prepared.study.privacy.trust)
        scale = choose_scale(question, terms)
        query = Query(question=question, study="", run="", method=label, step=step, attempt=0, scale=scale, terms=terms)
        total = _opened(prepared, method, query, seed)
        state, step = method.learn(state, question, ring.decode(total, scale, query.width)), step + 1
    return method.release(state)


def _opened(prepared: Prepared, method: Method, query: Query, seed: int) -> Array:
    """Return what a query opens: ring words (length,)."""
    question, moment = query.question, (query.method, query.step, query.attempt)
    total: Array = np.zeros(question.length, ring.dtype_of(query.width))
    for site, shard in prepared.split.sites.items():
        root = Root.simulation(seed, "site", site)
        rate = question.mechanism.sampling if question.mechanism else 1.0
        sample = shard if rate == 1 else shard.take(chosen(root, moment, shard.donors, rate))
        answer = method.answer(question, sample, DonorNormals(root, moment))
        words = ring.encode(answer.value, query.scale, query.width)
        drawn = home.begin_noise(query, root, moment)
        if drawn:
            drawn.add_to(words)
        total += words
    if query.sigma_party:
        for index in range(PARTIES):
            stream = Root.simulation(seed, "party", index).stream("noise", *moment)
            noise.sampler(query.sigma_party).add_to(total, stream)
    return total
