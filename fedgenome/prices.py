"""What a run would cost, before anything runs: ε, noise, queries, bytes, time, and what of the budget remains."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedgenome import trust
from fedgenome.cohort.shard import Shard
from fedgenome.errors import BudgetRefused
from fedgenome.federation import home
from fedgenome.methods import auto, registry
from fedgenome.methods.base import DonorStreams, Method
from fedgenome.prepare import Prepared, steps, walk
from fedgenome.privacy import accounting
from fedgenome.privacy.books import Books, Budget, Cost, Run, total
from fedgenome.privacy.coins import DonorNormals
from fedgenome.privacy.replay import verify
from fedgenome.query import Mechanism, Query, Question, choose_scale
from fedgenome.secure import bundle
from fedgenome.streams import Root
from fedgenome.study import Plan

# Seconds beside the sites' own computing, of ``experiments/benchmarks/rounds.py`` on two cores: the order of
# magnitude is meant. What a site computes is timed on its own shard.
_START, _QUERY, _SITE = 4.0, 0.02, 0.008
_PARTIES_ELEMENT, _SITE_ELEMENT = 150e-9, 40e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One form of query of a run, priced.

    Attributes:
        kind: gaussian or exponential; none without protection.
        queries: How many the plan holds, retries included.
        asked: How many are asked if none fails.
        steps: Noised steps at home that one query answers for; 1 but in local training.
        epsilon: What they cost alone, retries included; None without protection. The whole costs less than their sum.
        noise_multiplier: Standard deviation / sensitivity; None but for sums with noise.
        deviation: Standard deviation of the noise in a sum, once t parties took theirs off where they add it, in
            the units of the answer; None where the sum itself is not noised.
        bound: How far one unit can move the answer, in the same units.
        elements: Numbers in a site's answer.
        bits: Ring width.
        site_bytes: Bytes that one site uploads for all that are asked: sealed parts and stamp.
        seconds: About how long they take.
    """

    method: str
    kind: str
    queries: int
    asked: int
    steps: int
    epsilon: float | None
    noise_multiplier: float | None
    deviation: float | None
    bound: float
    sampling: float
    elements: int
    bits: int
    site_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a site's budget says to a run.

    Attributes:
        budget: (ε, δ) of all its plans; None: no limit.
        reserved: What earlier plans hold of it.
        after: What is left once this run is reserved; None: no limit.
        refused: Why the site would refuse the run; empty if it would not.
    """

    budget: Cost | None
    reserved: Cost
    after: Cost | None
    refused: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a run would cost: internal, as its times are measured on real rows.

    Attributes:
        seeded: The run would be a simulation, which claims no ε and reserves none; prices are those without the seed.
        unit: What ε is about: donor, row or site; ``adjacency`` says it in full.
        protects: Whom from whom, in one line.
        warnings: What an operator should hear before a run.
        choices: What methods of kind auto became, and why.
        epsilon: ε of the whole plan at δ: what the card will print, unless the run is seeded.
        reserves: (ε, δ) that every site's ledger will hold and spend: the Study's, at least ``epsilon``; None: nothing.
        by_method: ε of each method's part alone.
        site_bytes: Bytes that one site uploads.
        seconds: About how long the queries take, the parties' start included.
        accounts: By site, where ledgers are kept over runs or there is a budget.
    """

    study: str
    seeded: bool
    trust: str
    unit: str
    adjacency: str
    protects: str
    warnings: tuple[str, ...]
    choices: tuple[str, ...] = ()
    sites: int
    epsilon: float | None
    delta: float | None
    reserves: Cost | None
    colluders: int
    epsilon_colluding: float | None
    by_method: Mapping[str, float]
    parts: tuple[Part, ...]
    site_bytes: int
    seconds: float
    accounts: Mapping[str, Account]

    @property
    def refused(self) -> str:
        """Why a site's budget refuses the run; empty if none does."""
        return next((f"{site}: {account.refused}" for site, account in self.accounts.items() if account.refused), "")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"refused": self.refused}


def prices(prepared: Prepared) -> Prices:
    """Price what :func:`fedgenome.prepare.prepare` decided; one answer of each form is computed and timed."""
    study, privacy = prepared.study, prepared.study.privacy
    parts = tuple(part for label in prepared.methods for part in _parts(prepared, label))
    seeded = prepared.experiment.seed is not None
    reserves: Cost | None = None
    if privacy.epsilon is not None and privacy.delta is not None and not seeded:
        reserves = privacy.epsilon, privacy.delta
    return Prices(
        study=study.name,
        seeded=seeded,
        trust=privacy.trust,
        unit=trust.unit(study),
        adjacency=trust.adjacency(study),
        protects=trust.protects(study),
        warnings=prepared.warnings,
        choices=auto.told(prepared.choices),
        sites=len(study.roster),
        epsilon=prepared.epsilon,
        delta=privacy.delta,
        reserves=reserves,
        colluders=privacy.colluders,
        epsilon_colluding=prepared.epsilon_colluding,
        by_method=prepared.by_method,
        parts=parts,
        site_bytes=sum(part.site_bytes for part in parts),
        seconds=_START + sum(part.seconds for part in parts),
        accounts=_accounts(prepared, reserves),
    )


def _parts(prepared: Prepared, label: str) -> Iterator[Part]:
    """Price each mechanism of a method; without protection what it asks where its private twin would be noised."""
    method, base = _planned(prepared, label)
    where = prepared.study.privacy.trust
    for mechanism, question, state in walk(method, base, "distributed" if where == "none" else where):
        held = prepared.methods[label].ask(state) if where == "none" else question
        if held is not None:
            yield _part(prepared, mechanism, held, steps(question))


def _planned(prepared: Prepared, label: str) -> tuple[Method, tuple[Mechanism, ...]]:
    """Return a method and what it asks; under trust none those of its private twin, which asks as much."""
    base = tuple(m for m in prepared.base if m.scope == label)
    if base:
        return prepared.methods[label], base
    study = prepared.study
    (spec,) = (spec for spec in study.methods if spec.label == label)
    sites = len(study.roster)
    twin = registry.build(spec, study.schema_, study.donors_bound, True, trust="local", sites=sites).at(1.0)
    return twin, twin.plan(1.0)


def _part(prepared: Prepared, planned: Mechanism, question: Question, each: int) -> Part:
    study = prepared.study
    held = Plan.with_reserve((planned,), 0.0 if study.privacy.trust == "none" else study.privacy.retries, (each,))
    asked = planned.count // each
    mechanism, terms = question.mechanism, study.terms(prepared.plan)
    scale = choose_scale(question, terms)
    query = Query(
        question=question, study="", run="", method=planned.scope, step=0, attempt=0, scale=scale, terms=terms
    )
    own, sites, n = _seconds(prepared, query), len(study.roster), question.length
    query_seconds = _QUERY + sites * (_SITE + own + _SITE_ELEMENT * n) + _PARTIES_ELEMENT * n
    sealed = study.secure == "on"
    return Part(
        method=planned.scope,
        kind=mechanism.kind if mechanism else "none",
        queries=held.mechanisms[0].count // each,
        asked=asked,
        steps=each,
        epsilon=_alone(prepared, held),
        noise_multiplier=mechanism.level if mechanism and mechanism.kind == "gaussian" else None,
        deviation=(query.sigma_home * math.sqrt(sites) or query.sigma_ring) / scale or None,
        bound=question.bound,
        sampling=mechanism.sampling if mechanism else 1.0,
        elements=n,
        bits=query.width,
        site_bytes=asked * (bundle.upload_bytes(query) if sealed else n * query.width // 8),
        seconds=asked * query_seconds,
    )


def _alone(prepared: Prepared, held: Plan) -> float | None:
    privacy = prepared.study.privacy
    if privacy.epsilon is None or privacy.delta is None:
        return None
    return accounting.epsilon(held, accounting.usable(prepared.plan, privacy.epsilon, privacy.delta))


def _seconds(prepared: Prepared, query: Query) -> float:
    """Time one answer of the largest site, on about as many donors as a sample holds: for its operator's eyes."""
    method, question = prepared.methods[query.method], query.question
    shard: Shard = max(prepared.split.sites.values(), key=lambda shard: len(shard.x))
    q = question.mechanism.sampling if question.mechanism else 1.0
    sample = shard.take(np.arange(shard.n_donors) < q * shard.n_donors) if q < 1 and question.unit == "donor" else shard
    method.answer(question, sample, _draws(query, shard))  # the first call loads what later ones find loaded
    begin = time.perf_counter()
    method.answer(question, sample, _draws(query, shard))
    return time.perf_counter() - begin


def _draws(query: Query, shard: Shard) -> DonorStreams:
    root, moment = Root.secret(), ("prices",)
    return home.Steps(query, shard, root, moment) if query.question.unit == "site" else DonorNormals(root, moment)


def _accounts(prepared: Prepared, reserves: Cost | None) -> dict[str, Account]:
    engine = prepared.experiment.engine
    if engine.ledgers is None and engine.budget_epsilon is None:
        return {}
    budget = Budget(epsilon=engine.budget_epsilon, delta=engine.budget_delta) if engine.budget_epsilon else None
    return {site: _account(engine.ledgers, site, budget, reserves, prepared) for site in prepared.split.sites}


def _account(folder: Path | None, site: str, budget: Budget | None, cost: Cost | None, prepared: Prepared) -> Account:
    """Say what a site's ledger would answer to a reservation of ``cost``; None: nothing is claimed."""
    path = folder / site / "ledger.jsonl" if folder else None
    books = verify(path).books if path and path.exists() else Books()
    study, refused = prepared.study, ""
    kind = "none" if study.privacy.trust == "none" else "private" if cost else "simulation"
    epsilon, delta = cost or (None, None)
    asked = Run(study=study.digest, plan=prepared.plan, kind=kind, epsilon=epsilon, delta=delta, unit=trust.unit(study))
    try:
        books.check_reserve(asked, budget)
    except BudgetRefused as fault:
        refused = str(fault)
    after = total([books.reserved(), asked.price])
    most, left = ((budget.epsilon, budget.delta), budget.left(after)) if budget else (None, None)
    return Account(budget=most, reserved=books.reserved(), after=left, refused=refused)
