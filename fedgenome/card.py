"""The release card: what a release guarantees, to whom, and what it does not (DESIGN §8).

Everything here is public: specs, public caps, planned mechanisms. A *seeded* release must be the same
bytes in every engine, so its card holds no time, host, engine, run or roster digest, and no ε at all.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fedgenome import trust
from fedgenome.errors import require
from fedgenome.query import PARTIES, Mechanism
from fedgenome.study import Plan, Study

FORMAT = "fedgenome card 1"
UNITS = {"row": "row (cell), not a person", "donor": "donor (person)", "site": "site (all data of a hospital)"}
DECISION = "ε covers the model, not the decision to publish it"
SIMULATION = "simulation: no privacy guarantee"
NO_PRIVACY = "no privacy: trust model none releases exact sums"
_SCHEDULE = "each hospital's answers leave on a schedule of its own; one that misses a tick shows it"
_WHEN_READY = "in a simulation answers leave when they are ready"
SIMULATED_ROLES = "simulated roles: ε holds for recipients of the release, not against the operator"
SECURE_OFF = "secure aggregation off: the coordinator saw every site's vector in the clear"
DEALT = "in select the dealer plus any one party learns everything: it is a fourth operator who colludes with nobody"
NOISED_AT_HOME = "secure aggregation off: the coordinator saw every site's vector, noised at home"
SIGNED = "keys and answers are signed and given once only: it can spoil or stop a run, not look inside a sum"
_MULTIPLIED = "ε is multiplied by their number, and δ by more"
_LIBRARIES = ("fedgenome", "numpy", "torch", "crypten", "cryptography", "dp-accounting", "flwr", "safetensors", "h5py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What only people can say; empty fields are shown as empty.

    Attributes:
        intended_use: For what and for whom the release is meant.
        justification: Why this ε was chosen.
        contact: Whom to tell of an incident.
        review: When the release is to be looked at again.
        sector: Sector and region.
        licence: Licence or DUO terms of the release.
        tuning: How the hyper-parameters were chosen, and whether that was paid for.
    """

    intended_use: str = ""
    justification: str = ""
    contact: str = ""
    review: str = ""
    sector: str = ""
    licence: str = ""
    tuning: str = "not assessed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a run knows when it writes its card.

    Attributes:
        study: The pinned Study.
        plan: The priced plan, retry reserve included; empty under trust ``none``.
        queries: Queries answered, by method.
        engine: Which engine ran; left out of a seeded card.
        seeded: True in a simulation: the card then claims no ε, whatever the plan costs.
        gate_reads_people: The decision to publish was taken by looking at members or controls.
        audited: Membership was attacked; False where there were too few donors to say anything.
        withheld: Earlier runs of this name that were withheld; left out of a seeded card.
        epsilon: The plan's ε at the Study's δ with at most t parties colluding; None under ``none``.
        epsilon_two: The same if two parties collude; None under ``none``.
        by_method: ε of each method's part alone: the split of the budget.
        earlier: ε of earlier releases of the same accounts; None: not known.
        unit_note: What the unit leaves out, e.g. that all rows come from one person.
        versions: Library versions (:func:`library_versions`).
        texts: What only people can say.
        run: The run's id; left out of a seeded card.
        created: When, as text; left out of a seeded card.
        command: The command that reproduces the release; left out of a seeded card.
    """

    study: Study
    plan: Plan
    queries: Mapping[str, int]
    engine: Literal["local", "ray", "deployment"]
    seeded: bool
    gate_reads_people: bool
    audited: bool = True
    withheld: int = 0
    epsilon: float | None = None
    epsilon_two: float | None = None
    by_method: Mapping[str, float] = field(default_factory=dict)
    earlier: float | None = None
    unit_note: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    texts: Texts = field(default_factory=Texts)
    run: str = ""
    created: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        private = self.study.privacy.trust != "none"
        for name, value in (("epsilon", self.epsilon), ("epsilon_two", self.epsilon_two)):
            require((value is not None) == private, f"{name} under every trust model but none", seen=value)
            require(value is None or 0 < value < math.inf, f"0 < {name} < inf", seen=value)
        require(bool(self.plan.mechanisms) == private, "a plan under every trust model but none")

    @property
    def claims(self) -> bool:
        """True if the card may print an ε."""
        return self.epsilon is not None and not self.seeded


def library_versions(names: tuple[str, ...] = _LIBRARIES) -> dict[str, str]:
    """Return Python's version and that of every named library that is installed."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def build_card(facts: Facts) -> dict[str, Any]:
    """Return the card of a run as plain JSON values.

    Under trust ``none`` and in a seeded run ``guarantee.epsilon`` is None and ``alerts`` says why.
    ``record.files`` is added by :func:`fedgenome.release.write_candidate`.
    """
    card: dict[str, Any] = {
        "format": FORMAT,
        "alerts": _alerts(facts),
        "study": _study(facts),
        "about": _about(facts),
        "guarantee": _guarantee(facts),
        "sanitized": _sanitized(facts),
        "trust": {
            "model": facts.study.privacy.trust,
            "protects": trust.protects(facts.study) if facts.claims else "nobody",
            "secure": facts.study.secure,
            "actors": _actors(facts),
        },
        "mechanisms": [_mechanism(m, facts.claims) for m in facts.plan.mechanisms],
        "composition": _composition(facts),
        "not_covered": [{"what": what, "covered": covered, "why": why} for what, covered, why in _not_covered(facts)],
        "risk": _risk(facts),
        "record": _record(facts),
        "sign_off": {"name": "", "role": "", "date": ""},
    }
    card["guarantee"]["statement"] = guarantee_line(card)
    return card


def guarantee_line(card: Mapping[str, Any]) -> str:
    """Return the guarantee in one line, unit and adjacency included, and what leaves without one, for every page."""
    rows = card["guarantee"].get("rows")
    return f"{_line(card)}; {rows}" if rows else _line(card)


def _line(card: Mapping[str, Any]) -> str:
    guarantee = card["guarantee"]
    if guarantee["epsilon"] is None:
        return str(guarantee["absent"])
    collude = (
        f"with at most {guarantee['colluders']} of {PARTIES} parties colluding; "
        f"ε = {epsilon_text(guarantee['epsilon_two_colluders'])} if two collude"
    )
    if card["trust"]["model"] == "local":
        collude = "whichever parties collude: every site adds all of its noise at home"
    line = (
        f"ε = {epsilon_text(guarantee['epsilon'])}, δ = {guarantee['delta']:g} per {guarantee['unit']} "
        f"({guarantee['adjacency']}), {collude}"
    )
    return f"{line}; {DECISION}" if card["risk"]["gate_reads_people"] else line


def epsilon_text(epsilon: float) -> str:
    """Return ε with three decimals, never rounded down.

    >>> epsilon_text(9.99931), epsilon_text(2.0)
    ('10', '2')
    """
    return f"{math.ceil(epsilon * 1000 - 1e-9) / 1000:.10g}"


def odds_text(epsilon: float) -> str:
    """Return e^ε as people read it, never rounded down.

    >>> odds_text(1.0), odds_text(10.0), odds_text(30.0)
    ('2.8', '22,027', '1.1e+13')
    """
    if epsilon > 700:
        return "more than 1e+304"
    odds = math.exp(epsilon)
    if odds < 100:
        return f"{math.ceil(odds * 10) / 10:g}"
    return f"{math.ceil(odds):,}" if odds < 1e6 else f"{odds * 1.05:.1e}"


def _sanitized(facts: Facts) -> dict[str, Any] | None:
    if facts.study.sanitize is None:
        return None
    from fedgenome.sanitize import statement  # loads SciPy

    return statement.told(facts.study, seeded=facts.seeded)


def _alerts(facts: Facts) -> list[str]:
    """What must be read first: printed in red on every page."""
    plain = facts.study.secure == "off"
    noised = facts.study.privacy.trust == "local" and not facts.seeded
    lines = _absent(facts) + [NOISED_AT_HOME if noised else SECURE_OFF] * plain
    lines += trust.warnings(facts.study, sum(facts.queries.values()))
    lines += [SIMULATED_ROLES] * (facts.claims and facts.engine != "deployment")
    lines += [DEALT] * (facts.claims and facts.plan.selects)
    if facts.study.sanitize is not None:
        from fedgenome.sanitize import statement

        lines += statement.warnings(facts.study)
    return lines + [DECISION] * (facts.claims and facts.gate_reads_people)


def _study(facts: Facts) -> dict[str, Any]:
    study = facts.study.without_keys() if facts.seeded else facts.study  # other keys, the same release
    spec = study.model_dump(mode="json", by_alias=True)
    if facts.seeded:  # a seeded release prints no ε, not even the one that was asked for
        spec["privacy"] = {name: spec["privacy"][name] for name in ("trust", "colluders", "retries")}
        spec["roster"] = [{name: site[name] for name in ("name", "cap")} for site in spec["roster"]]
        if study.sanitize is not None:
            spec["sanitize"] = study.sanitize.model_dump(mode="json", include={"kind", "keep", "basis"})
    return {"name": study.name, "digest": study.digest, "plan_digest": facts.plan.digest, "spec": spec}


def _about(facts: Facts) -> dict[str, Any]:
    texts = facts.texts
    sites = [{"site": site.name, "cap": site.cap, "role": "holds its donors' data"} for site in facts.study.roster]
    return {
        "product": "generative models, and synthetic data made from them",
        "curators": sites,
        "intended_use": texts.intended_use,
        "sector": texts.sector,
        "licence": texts.licence,
        "contact": texts.contact,
        "review": texts.review,
    }


def _guarantee(facts: Facts) -> dict[str, Any]:
    privacy, claims = facts.study.privacy, facts.claims
    return {
        "variant": "approximate differential privacy" if claims else "none",
        "absent": "; ".join(_absent(facts)),
        "epsilon": facts.epsilon if claims else None,
        "delta": privacy.delta if claims else None,
        "epsilon_two_colluders": facts.epsilon_two if claims else None,
        "odds": odds_text(facts.epsilon) if claims and facts.epsilon is not None else None,
        "justification": facts.texts.justification if claims else "",
        "unit": UNITS[trust.unit(facts.study)],
        "unit_note": facts.unit_note,
        "adjacency": trust.adjacency(facts.study),
        "colluders": privacy.colluders,
        "donors_bound": facts.study.donors_bound,
    }


def _mechanism(mechanism: Mechanism, claims: bool) -> dict[str, Any]:
    if mechanism.kind == "gaussian":
        level: dict[str, Any] = {"noise_multiplier": mechanism.level}
    else:  # what it costs is an ε, of which a simulation prints none
        level = {"winners": mechanism.winners} | ({"epsilon": mechanism.level} if claims else {})
    return {
        "scope": mechanism.scope,
        "kind": mechanism.kind,
        **level,
        "sampling": mechanism.sampling,
        "count": mechanism.count,
        "where": mechanism.where,
    }


def _composition(facts: Facts) -> dict[str, Any]:
    texts: dict[str, Any] = {
        "queries_answered": dict(sorted(facts.queries.items())),
        "post_processing": "synthetic data are drawn from the released arrays alone, labels included",
        "tuning": facts.texts.tuning,
    }
    if facts.study.privacy.trust == "none":
        return texts
    texts |= {
        "retry_reserve": facts.study.privacy.retries,
        "arithmetic": "noise on integers (discrete Gaussian, AES-256-CTR); rounding is part of the sensitivity",
        "sampling": _sampling(facts),
    }
    if facts.study.privacy.trust == "local":
        texts["sites"] = (
            "every site has the same plan and rates; a donor is at one site, so the whole costs what a site's part does"
        )
    if not facts.claims:
        return texts
    return texts | {
        "price": "the plan's ε, retry reserve included; never that of the steps used",
        "within_the_plan": "privacy loss distributions (dp-accounting)",
        "epsilon_by_method": dict(sorted(facts.by_method.items())),
        "across_releases": "ε and δ of all releases from the same accounts add up",
        "earlier_releases": "not known to this card: a site's ledger adds them up where it is kept over runs"
        if facts.earlier is None
        else f"ε = {epsilon_text(facts.earlier)} was spent before, on the same accounts",
    }


def _sampling(facts: Facts) -> str:
    unit = trust.unit(facts.study)
    if all(m.sampling == 1 for m in facts.plan.mechanisms):
        return f"none: every {unit} takes part in every query"
    return f"Poisson by {unit}, with coins that " + ("only the site knows" if facts.claims else "follow from the seed")


def _actors(facts: Facts) -> list[dict[str, str]]:
    """Who takes part, for what each is trusted, and why."""
    t, private = facts.study.privacy.colluders, facts.study.privacy.trust != "none"
    local = facts.study.privacy.trust == "local"
    rows = [
        ("site", "with its own donors' data only", "it holds them already; it sees the same sums as the coordinator")
    ]
    if facts.study.secure == "on":
        collude = (
            f"at most {t} of {PARTIES} may collude: each adds its own noise, and the rest is enough without theirs"
        )
        if local or not facts.claims:
            collude = "one honest party of three hides single sites" + "; none is needed for ε" * facts.claims
        rows += [
            ("party", "to follow the protocol", collude),
            *([("dealer", "to collude with nobody", DEALT)] if facts.plan.selects else []),
            ("network", "with nothing but delivery", "seeds travel sealed (HPKE), vectors encrypted (AES-GCM)"),
        ]
    rows.append(("coordinator", *_coordinator(facts)))
    if facts.claims:
        rows.append(("recipient", "with nothing", "ε holds against whoever reads the release, whatever else they know"))
    else:
        why = "its noise can be recomputed from the seed" if private else "no noise was added"
        rows.append(("recipient", "with everything the release tells", why))
    return [{"actor": actor, "trusted": trusted, "why": why} for actor, trusted, why in rows]


def _coordinator(facts: Facts) -> tuple[str, str]:
    """Return with what the coordinator is trusted, and why."""
    summed, noised = facts.study.secure == "on", facts.study.privacy.trust != "none"
    if facts.claims:
        seen = f"sees noisy sums only; {SIGNED}" if summed else "sees every site's vector, each noised at home in full"
        return "for the result, not for privacy", seen
    exact = "and can take its noise off, which follows from the seed" if noised else "without noise"
    what = "sum" if summed else "site's vector"
    return "fully", f"sees every {what} {exact}; crafted weights could single out one person"


def _not_covered(facts: Facts) -> list[tuple[str, str, str]]:
    """(what, covered: no | not assessed, why)."""
    summed = facts.study.secure == "on"
    sent = "a sum hides who sent what, not who sent" if summed else "every site sends under its own name"
    scheduled = facts.engine == "deployment" and not facts.seeded  # a seeded card is the same in every engine
    rows = [
        ("names of sites, public caps, genes, labels and ranges", "no", "declared public by the operator"),
        ("which sites took part, and when they answered", "no", sent),
        ("what is true of the population", "no", "that is what the release is for"),
        ("how long answers took", "not assessed", _SCHEDULE if scheduled else _WHEN_READY),
        ("choice of hyper-parameters", "not assessed", "see tuning, under composition"),
        ("attribute inference and linkage to other data", "not assessed", "only membership is attacked so far"),
    ]
    if not facts.claims:
        return [("everybody", "no", "; ".join(_absent(facts))), *rows]
    rows += [*_not_covered_by(facts), ("later releases from the same data", "no", "their ε is added to this one")]
    if facts.plan.selects:
        rows.append(("the dealer and a party together", "no", DEALT))
    if facts.gate_reads_people:
        rows.append(("the decision to publish", "no", "it was taken by looking at real members and controls"))
    return rows


def _not_covered_by(facts: Facts) -> list[tuple[str, str, str]]:
    """What the unit and the trust model leave out."""
    unit, model = facts.study.schema_.unit, facts.study.privacy.trust
    opened = ("three colluding parties", "no", "together they can open every site's vector")
    if model == "site":
        return [
            ("the presence of a site", "no", "ε is about a site's data: that it took part is not hidden"),
            (f"a single {unit}", "no", f"no ε for a {unit} is stated; other data of a site are two replacements away"),
            ("a person at several sites", "no", _MULTIPLIED),
            opened,
        ]
    own = ("the own site", "no", "it holds its donors' data, and adds the noise that hides them")
    return [
        ("relatives", "no", f"the unit is one {unit}; a relative's data stay in when that one is removed"),
        (f"one person behind several {unit}s or at several sites", "no", _MULTIPLIED),
        own if model == "local" else opened,
    ]


def _absent(facts: Facts) -> list[str]:
    """Why there is no ε."""
    return [NO_PRIVACY] * (facts.study.privacy.trust == "none") + [SIMULATION] * facts.seeded


def _risk(facts: Facts) -> dict[str, Any]:
    reads = "reads real members and controls, stays inside, and is not differentially private"
    seen = "by rows of every method that generates" + ", and by the loss of every model" * facts.gate_reads_people
    attempts = {} if facts.seeded else {"attempts_withheld_before": facts.withheld}
    return attempts | {
        "gate_reads_people": facts.gate_reads_people,
        "audit": f"internal: it {reads}" if facts.gate_reads_people else "computed from public values only",
        "assessed": {
            "membership": f"yes, {seen}" if facts.audited else "not assessed",
            "attribute": "not assessed",
            "extraction": "not assessed",
        },
        "meaning": "an attack that failed proves nothing by itself",
    }


def _record(facts: Facts) -> dict[str, Any]:
    record: dict[str, Any] = {"versions": dict(sorted(facts.versions.items())), "ledger": "ledger.jsonl", "files": {}}
    if facts.seeded:
        return record
    roster = facts.study.terms(facts.plan).roster
    where = {"engine": facts.engine, "run": facts.run, "created": facts.created, "command": facts.command}
    return record | where | {"roster_digest": roster}
