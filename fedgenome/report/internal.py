"""The internal report: one page with everything, that never leaves the building."""

from __future__ import annotations

from fedgenome.report import sections
from fedgenome.report.attacks import attacks
from fedgenome.report.card_page import alerts, card_sections
from fedgenome.report.html import asset, page, tag
from fedgenome.report.inputs import ReportInputs
from fedgenome.report.linkage import linkage

MARK = "Internal: this page never leaves this building. It shows real members and controls, without any noise."
_CONTENTS = {
    "verdict": "Verdict",
    "privacy": "Privacy",
    "training": "Training",
    "comparison": "Real against synthetic",
    "utility": "Utility",
    "attacks": "Attacks",
    "cost": "Cost",
    "ledger": "Ledger",
    "card": "Card",
}


def internal_report(given: ReportInputs) -> str:
    """Return the report as one self-contained page of under 6 MB; it loads nothing from anywhere."""
    schema = given.card["study"]["spec"]["schema"]
    return page(
        f"Internal report: {given.card['study']['name']}",
        tag("p", tag("strong", MARK), class_="banner plain"),
        alerts(given.card),
        sections.verdict(given.verdict, given.audit),
        sections.privacy(given.card),
        sections.training(given.curves),
        sections.comparison(given.comparisons),
        sections.utility(given.utility, schema["labels"], schema["genes"]),
        *([sections.classifiers(given.classifiers)] if given.classifiers else []),
        linkage(given.linkage) if given.linkage else attacks(given.audit),
        sections.cost(given.cost),
        sections.ledger(given.ledger),
        sections.card(given.card, card_sections(given.card)),
        contents=_CONTENTS,
        scripts=(_plotly(), asset("report.js")),
    )


def _plotly() -> str:
    """Return plotly's own script, which the package carries: no network is asked."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
