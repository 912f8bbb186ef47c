"""From an experiment file to what a run needs: shards, Study, methods, and a calibrated, priced plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydantic

from fedgenome import trust
from fedgenome.cohort import expression
from fedgenome.cohort.expression import CohortSpec
from fedgenome.cohort.shard import Cohort, Shard
from fedgenome.cohort.split import Split, split
from fedgenome.errors import SpecError
from fedgenome.experiment import Experiment
from fedgenome.methods import auto, registry
from fedgenome.methods.base import Method
from fedgenome.privacy import accounting
from fedgenome.query import PARTIES, Mechanism, Question, State
from fedgenome.sanitize import statement
from fedgenome.study import Plan, Schema, SiteEntry, Study, TrustModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Everything decided before the first process is asked anything.

    Attributes:
        noise: What the methods and the plan are calibrated to; None under trust none.
        base: The plan's mechanisms without the reserve for retries.
        epsilon: ε of the whole plan at the study's δ; None under trust none.
        epsilon_colluding: ε if two parties collude; None under trust none.
        by_method: ε of each method's part alone.
        queries: Queries that each method will ask, retries not counted; without a plan, not known.
        choices: What each method that asked for ``auto`` got, by its label.
    """

    experiment: Experiment
    cohort: Cohort
    split: Split
    study: Study
    plan: Plan
    noise: float | None
    base: tuple[Mechanism, ...]
    methods: Mapping[str, Method]
    epsilon: float | None
    epsilon_colluding: float | None
    by_method: Mapping[str, float]
    queries: Mapping[str, int]
    choices: Mapping[str, auto.Choice] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should hear before a run."""
        told = (*trust.warnings(self.study, sum(self.queries.values())), *auto.warnings(self.choices))
        return (*told, *statement.for_operator(self.study, self.cohort.x))


def prepare(spec: Experiment, rng: np.random.Generator) -> Prepared:
    """Read the cohort, deal it out, and calibrate the plan.

    Args:
        rng: Deals the cohort out to sites and controls.

    Raises:
        SpecError: the file, the cohort or the numbers do not fit; names which and what would be right.
    """
    named = cohort_of(spec)
    _check_populations(spec)
    cohort = expression.read(named)
    dealt = split(cohort, spec.split, rng)
    _check_caps(spec, dealt)
    caps = dict.fromkeys(dealt.sites, spec.caps.site_cap)
    return _prepared(spec, cohort, dealt, _study(spec, expression.schema_of(cohort, named), caps))


def cohort_of(spec: Experiment) -> CohortSpec:
    """Return the cohort that an experiment names.

    Raises:
        SpecError: it has a ``[schema]`` in its place: nobody's data are at hand.
    """
    if spec.cohort is None:
        raise SpecError(
            "cohort: expected a [cohort], got a [schema] alone, which tells of hospitals' data: make its Study with "
            "`fedgenome study make --nodes`, run it with --on"
        )
    return spec.cohort


def without_cohort(spec: Experiment, caps: Mapping[str, int]) -> Prepared:
    """Calibrate the plan of a ``[schema]``, where nobody's data are at hand: every shard is empty.

    Args:
        spec: An experiment with a ``[schema]``.
        caps: The study's sites, and the most donors that each may hold.

    Raises:
        SpecError: a site's cap is above ``caps.site_cap``, or as :func:`prepare`.
    """
    if spec.schema_ is None:
        raise SpecError("schema: expected a [schema] in the experiment where nobody's data are at hand, got a [cohort]")
    for site, cap in caps.items():
        if cap > spec.caps.site_cap:
            raise SpecError(f"caps.site_cap: expected at least the {cap} donors of {site}, got {spec.caps.site_cap}")
    study = _study(spec, spec.schema_, caps)
    cohort, dealt = _nobody(study)
    return _prepared(spec, cohort, dealt, study)


def _nobody(study: Study) -> tuple[Cohort, Split]:
    """Return a cohort of no rows with the study's names, and its deal: nothing to anybody."""
    schema, none = study.schema_, np.zeros(0, np.int64)
    cohort = Cohort(
        name="no cohort",
        x=np.zeros((0, len(schema.genes)), np.float32),
        genes=schema.genes,
        label=none,
        labels=schema.labels,
        rows=(),
        donor=None if schema.unit == "row" else (),
        panel=schema.panel,
    )
    empty = Shard(x=cohort.x, label=none, donor=none, donors=(), mask=np.zeros(0, np.bool_))
    sites = dict.fromkeys((site.name for site in study.roster), empty)
    return cohort, Split(
        sites=sites, controls=empty, genes=schema.genes, labels=schema.labels, unit_text=cohort.unit_text
    )


def _prepared(spec: Experiment, cohort: Cohort, dealt: Split, study: Study) -> Prepared:
    methods = registry.build_all(study)
    decided = _Decided(methods=methods) if spec.privacy.epsilon is None else _decide(study, methods)
    choices = _choices(spec, study.schema_, len(study.roster))
    return Prepared(experiment=spec, cohort=cohort, split=dealt, study=study, choices=choices, **vars(decided))


def _choices(spec: Experiment, schema: Schema, sites: int) -> dict[str, auto.Choice]:
    bound = spec.caps.donors_bound
    return auto.chosen(spec.methods, spec.privacy, len(schema.genes), bound, sites, dosages=schema.dosages)


def _check_populations(spec: Experiment) -> None:
    """Refuse ledgers that outlive the populations they are about."""
    if spec.engine.ledgers is not None and spec.seed is None and spec.split.by != "column":
        raise SpecError(
            f"engine.ledgers: expected split.by = 'column', got {spec.split.by!r}, which deals donors anew in every "
            "run: a site's lasting account would be about other donors each time; leave engine.ledgers out, or name "
            "the hospitals' obs column"
        )


@dataclass(kw_only=True)
class _Decided:
    """What calibration decides; the defaults are trust model none."""

    methods: Mapping[str, Method]
    plan: Plan = field(default_factory=Plan)
    noise: float | None = None
    base: tuple[Mechanism, ...] = ()
    epsilon: float | None = None
    epsilon_colluding: float | None = None
    by_method: Mapping[str, float] = field(default_factory=dict)
    queries: Mapping[str, int] = field(default_factory=dict)


def _decide(study: Study, methods: Mapping[str, Method]) -> _Decided:
    """Set the least noise at which the plan, retries included, costs the study's ε."""
    privacy = study.privacy
    if privacy.epsilon is None or privacy.delta is None:
        raise SpecError(f"privacy: expected epsilon and delta with trust {privacy.trust!r}")

    def base_at(noise: float) -> tuple[Mechanism, ...]:
        return tuple(trust.placed(m, privacy.trust) for method in methods.values() for m in method.plan(noise))

    each = {label: _steps(method.at(1.0), base_at(1.0), privacy.trust) for label, method in methods.items()}

    def plan_at(noise: float) -> Plan:
        return Plan.with_reserve(base_at(noise), privacy.retries, tuple(n for own in each.values() for n in own))

    delta = accounting.usable(plan_at(1.0), privacy.epsilon, privacy.delta)
    noise = accounting.calibrate(plan_at, privacy.epsilon, delta)
    plan, ready = plan_at(noise), {label: method.at(noise) for label, method in methods.items()}
    cost = accounting.epsilon(plan, delta)
    lessened = accounting.colluded(plan, privacy.colluders, PARTIES - 1) != plan
    return _Decided(
        methods=ready,
        queries={
            label: sum(m.count // n for m, n in zip(method.plan(noise), each[label], strict=True))
            for label, method in ready.items()
        },
        plan=plan,
        noise=noise,
        base=base_at(noise),
        epsilon=cost,
        epsilon_colluding=(
            accounting.collusion(plan, privacy.delta, privacy.colluders, PARTIES - 1) if lessened else cost
        ),
        by_method=accounting.by_scope(plan, delta),
    )


def _steps(method: Method, base: Sequence[Mechanism], where: TrustModel) -> tuple[int, ...]:
    """Return as how many of its count a query of each mechanism of ``method`` is charged, in the order of its plan."""
    own = [m for m in base if m.scope == method.name]
    asked = {id(mechanism): steps(question) for mechanism, question, _ in walk(method, own, where)}
    return tuple(asked.get(id(m), 1) for m in own)


def steps(question: Question) -> int:
    """Return as how many of the plan's queries ``question`` is charged."""
    return question.mechanism.count if question.mechanism else 1


def walk(
    method: Method, planned: Sequence[Mechanism], where: TrustModel
) -> Iterator[tuple[Mechanism, Question, State]]:
    """Yield each of the ``planned`` mechanisms, the first question that it protects, and the state that asks it.

    What is learned on the way there is learned from zero sums.
    """
    wanted = list(planned)
    state = method.start(np.random.default_rng(0))  # what is priced does not depend on the starting weights
    while wanted and (asked := method.ask(state)) is not None:
        question = trust.asked(asked, where)
        form = question.mechanism.form if question.mechanism else None
        if (mechanism := next((m for m in wanted if m.form == form), None)) is not None:
            wanted.remove(mechanism)
            yield mechanism, question, state
        sums = question.reduce == "sum"
        reply = np.zeros(question.reply_length) if sums else np.arange(question.reply_length)
        state = method.learn(state, question, reply)


def _check_caps(spec: Experiment, dealt: Split) -> None:
    made = spec.holdout.canaries if spec.holdout else 0
    what = f"donors and {made} canaries" if made else "donors"
    for site, shard in dealt.sites.items():
        if shard.n_donors + made > spec.caps.site_cap:
            raise SpecError(
                f"caps.site_cap: expected at least the {shard.n_donors} {what} that {site} trains on, "
                f"got {spec.caps.site_cap}; raise the cap or deal out more sites"
            )
    trained = sum(shard.n_donors + made for shard in dealt.sites.values())
    if trained > spec.caps.donors_bound:
        raise SpecError(
            f"caps.donors_bound: expected at least the {trained} donors that all sites train on, "
            f"got {spec.caps.donors_bound}; δ and means rest on it"
        )


def _study(spec: Experiment, schema: Schema, caps: Mapping[str, int]) -> Study:
    choices = _choices(spec, schema, len(caps))
    told: dict[str, Any] = {
        "name": spec.name,
        "schema": schema.model_dump(),
        "methods": [m.model_dump() for m in auto.resolved(spec.methods, choices)],
        "privacy": spec.privacy.model_dump(),
        "donors_bound": spec.caps.donors_bound,
        "quorum": spec.caps.quorum or len(caps),
        "roster": [SiteEntry(name=site, cap=cap).model_dump() for site, cap in caps.items()],
        "secure": spec.engine.secure,
        "holdout": spec.holdout.model_dump() if spec.holdout else None,
        "sanitize": spec.sanitize.model_dump() if spec.sanitize else None,
    }
    try:
        return Study.model_validate(told)
    except pydantic.ValidationError as fault:
        raise SpecError(f"{spec.name}: {fault.errors()[0]['msg'].removeprefix('Value error, ')}") from None
