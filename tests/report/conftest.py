"""A small run's worth of report inputs, with names that try to break out of the page."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedgenome.card import Facts, build_card
from fedgenome.query import Mechanism
from fedgenome.report.inputs import Comparison, Cost, Curve, ReportInputs
from fedgenome.study import Plan, Study

HOSTILE = '</script><script>alert(1)</script><img src="https://example.org/x" onerror=alert(2)>'
PLAN = Plan(mechanisms=(Mechanism(kind="gaussian", level=1.5, sampling=0.1, count=63, scope="cvae"),))


def make_card(trust: str = "distributed", name: str = "trial", label: str = "T", **changes: Any) -> dict[str, Any]:
    private = trust != "none"
    study = Study.model_validate(
        {
            "name": name,
            "schema": {"genes": ["CD3E", "NKG7"], "labels": ["B", label], "high": 6.0},
            "methods": [{"kind": "cvae", "options": {"rounds": 60}}],
            "privacy": {"trust": trust, **({"epsilon": 2.0, "delta": 1e-4} if private else {})},
            "donors_bound": 700,
            "quorum": 1,
            "roster": [{"name": "site-1", "cap": 400}],
            "secure": "on" if private else "off",
        }
    )
    fields: dict[str, Any] = {
        "study": study,
        "plan": PLAN if private else Plan(),
        "queries": {"cvae": 61},
        "engine": "local",
        "seeded": False,
        "gate_reads_people": True,
        "epsilon": 2.0 if private else None,
        "epsilon_two": 2.9 if private else None,
        "by_method": {"cvae": 2.0} if private else {},
    }
    return build_card(Facts(**fields | changes))


def interval(estimate: float) -> dict[str, Any]:
    return {"estimate": estimate, "low": estimate - 0.1, "high": estimate + 0.1, "level": 0.95, "method": "m"}


def make_audit(name: str = "gan-leaks") -> dict[str, Any]:
    attack = {
        "name": name,
        "threat": "synthetic data only",
        "auc": interval(0.512),
        "hits": None,
        "false_alarms": 0.1,
        "p_value": 0.4,
        "roc": {"false_alarms": [0.0, 0.01, 0.05, 0.5, 1.0], "hits": [0.0, 0.0, 0.0, 0.52, 1.0]},
        "rates": [
            {"false_alarms": 0.1, "hits": interval(0.2), "words": "0.200 [0.100, 0.300]"},
            {"false_alarms": 0.01, "hits": None, "words": "not claimable from 94 controls: 300 are needed"},
        ],
    }
    check = {"kind": "positive", "attack": name, "seen": interval(0.9), "measure": "AUC", "passed": False}
    copies = {"name": name, "rows": 50, "people": 45, "members": 38, "share": interval(0.8), "chance": 0.86}
    sizes = {"members": 560, "controls": 94, "base": 46, "rows": 100, "samples": 100, "unit": "row"}
    power = {"smallest_false_alarms": 0.03, "detectable_auc": 0.59, "void": False, "statement": "stays internal"}
    findings = {"near_copies": [copies | {"p_value": 0.6, "best_p_value": 8e-4}]}
    findings |= {"worst": {"data": make_worst(name)}, "strata": make_strata(name)}
    return {**sizes, **power, **findings, "attacks": [attack], "checks": [check | {"rule": "finds planted copies"}]}


def make_worst(name: str) -> dict[str, Any]:
    ends = {"estimate": 0.031, "low": 0.0, "high": 0.125, "p_value": 0.21}
    effect = {"vector": name, **ends, "tails": {"low": 0.01, "high": 0.05}}
    return {**ends, "level": 0.95, "vector": name, "surest": None, "effects": [effect]}


def make_strata(name: str) -> list[dict[str, Any]]:
    told = {"column": name, "members": 100, "controls": 20, "detectable_auc": 0.72, "words": f"most of {name}"}
    few = told | {"value": "few", "controls": 3, "aucs": {}, "fewest": 10}
    return [told | {"value": "many", "aucs": {name: interval(0.55)}, "fewest": 10}, few]


def make_verdict(word: str = "released") -> dict[str, Any]:
    reasons = ["gan-leaks: upper bound exceeds the limit"] if word == "withheld" else []
    return {"verdict": word, "reasons": reasons, "evidence_against": [], "evidence_for": ["not refuted"], "policy": {}}


def make_utility() -> dict[str, Any]:
    figures = {"accuracy": interval(0.71), "macro_f1": interval(0.61), "auprc": interval(0.66)}
    made = {"classifier": "logistic regression", **figures, "missing": [1]}
    said = {"estimate": 0.1, "low": 0.05, "high": 0.2, "repeats": 2, "note": ""}
    unsaid = {"estimate": None, "low": None, "high": None, "repeats": 0, "note": "too few"}
    worst = {"name": "worst", "title": "worst gene", "words": "how far off", "better": "lower"}
    copied = {"name": "dcr", "title": "copies", "words": "how near", "better": "as real"}
    return {
        "rows": {"synthetic": 100, "train": 560, "truth": 140},
        "settings": {"repeats": 2},
        "scores": [{"trained_on": kind, **made} for kind in ("synthetic", "real", "majority")],
        "metrics": [
            {**worst, "whole": {"value": 0.2, "note": "", "gene": 1}, "synthetic": said, "real": said},
            {**copied, "whole": {"value": None, "note": "needs more"}, "synthetic": unsaid, "real": unsaid},
        ],
    }


def make_inputs(rows: int = 30, hostile: str = "", **changes: Any) -> ReportInputs:
    rng = np.random.default_rng(3)
    x, label = rng.random((rows, 2)), rng.integers(0, 2, rows)
    shown = {"real": x, "real_label": label, "synthetic": x[::-1], "synthetic_label": label[::-1]}
    word = hostile or "plain"
    fields: dict[str, Any] = {
        "card": make_card(label=hostile or "T"),
        "verdict": make_verdict(),
        "audit": make_audit(word),
        "utility": {word: make_utility()},
        "curves": [Curve(name=word, x=np.arange(3), y=np.array([3.0, np.nan, 1.0]), note=word)],
        "comparisons": [Comparison(method=word, genes=["CD3E", word], labels=["B", word], **shown)],
        "cost": Cost(seconds={word: 1.5}, bytes={word: 10}, queries={word: 1}, other={"peak": word}),
        "ledger": [{"scope": word, "step": 0, word: word}],
    }
    return ReportInputs(**fields | changes)


@pytest.fixture
def inputs() -> Callable[..., ReportInputs]:
    return make_inputs


@pytest.fixture
def card() -> Callable[..., dict[str, Any]]:
    return make_card


@pytest.fixture
def verdict() -> Callable[..., dict[str, Any]]:
    return make_verdict


@pytest.fixture
def hostile() -> str:
    return HOSTILE
