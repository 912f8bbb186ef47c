"""The parts of the internal report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fedgenome.report import figures
from fedgenome.report.card_page import guarantee
from fedgenome.report.html import Child, Html, bullets, facts, join, section, table, tag
from fedgenome.report.inputs import Comparison, Cost, Curve

_LEDGER_ROWS = 200  # shown; the ledger itself has all
_LEADS = ("The candidate passed the policy and was released.", "The candidate was withheld: nothing left.")


def verdict(found: Mapping[str, Any], audit: Mapping[str, Any], leads: tuple[str, str] = _LEADS) -> Html:
    """Return the gate's verdict, first thing on the page, in plain words: ``leads`` if it passed, and if not."""
    released = found["verdict"] == "released"
    lead = leads[0] if released else leads[1]
    parts: list[Child] = [tag("h2", f"Verdict: {found['verdict']}", id="verdict-title"), tag("p", lead, class_="words")]
    if audit.get("void"):
        parts.append(tag("p", tag("strong", "The audit is void: one of its own controls failed."), class_="words"))
    for name, words in (("reasons", "Why"), ("evidence_against", "Speaks against"), ("evidence_for", "Speaks for")):
        if found.get(name):
            parts += [tag("p", tag("strong", f"{words}:"), class_="words"), bullets(found[name])]
    style = "banner good" if released else "banner bad"
    return tag("section", *parts, id="verdict", class_=style, aria_labelledby="verdict-title")


def privacy(card: Mapping[str, Any]) -> Html:
    """Return ε and what it means."""
    return section("privacy", "Privacy", guarantee(card))


def training(curves: Sequence[Curve]) -> Html:
    """Return one plot per pair of axis titles."""
    kinds: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        kinds.setdefault((curve.x_title, curve.y_title), []).append(curve)
    plots = [figures.training(f"training-{k}", group).to_html() for k, group in enumerate(kinds.values())]
    return section("training", "Training", *(plots or [tag("p", "No method of this run trains in rounds.")]))


def comparison(comparisons: Sequence[Comparison]) -> Html:
    """Return real against synthetic: projections by label and gene means."""
    parts: list[Child] = []
    for k, shown in enumerate(comparisons):
        real, made = figures.projection(f"pca-{k}", shown)
        pair = tag("div", real.to_html(), made.to_html(), class_="pair")
        marks = figures.legend(shown.labels)
        parts += [tag("h3", shown.method), marks, pair, figures.gene_means(f"means-{k}", shown).to_html()]
    note = (
        "Both are shown on the first two principal components of the real rows, with the same axes; "
        "in brackets the share of the real rows' variance."
    )
    return section("comparison", "Real against synthetic", tag("p", note), *parts)


def utility(results: Mapping[str, Mapping[str, Any]], labels: Sequence[str], genes: Sequence[str]) -> Html:
    """Return train-on-synthetic, test-on-real beside real data and the majority class, and every other figure.

    Args:
        results: Method → ``Utility.to_json()``.
        labels: Names of label codes.
        genes: Names of gene indices.
    """
    if not results:
        return section("utility", "Utility", tag("p", "Not measured."))
    first = next(iter(results.values()))
    scores = [(name, s) for name, result in results.items() for s in result["scores"] if s["trained_on"] == "synthetic"]
    scores += [("real data", s) for s in first["scores"] if s["trained_on"] == "real"]
    scores += [("majority class", s) for s in first["scores"] if s["trained_on"] == "majority"]
    interval = "95 % interval"
    head = (
        "trained on",
        "classifier",
        "accuracy",
        interval,
        "macro-F1",
        interval,
        "AUPRC",
        interval,
        "classes missing",
    )
    rows = [_score_row(name, score, labels) for name, score in scores]
    caption = f"Trained on the rows named, tested on {first['rows']['truth']:,} real rows; intervals over donors"
    return section(
        "utility",
        "Utility",
        tag("p", "What a classifier learns from the synthetic rows, beside what it learns from the real ones."),
        figures.accuracies("utility-plot", scores).to_html(),
        table(caption, head, rows, numbers=(2, 3, 4, 5, 6, 7)),
        *(measures(name, result, genes) for name, result in results.items()),
    )


def classifiers(results: Mapping[str, Mapping[str, Any]]) -> Html:
    """Return how often each released classifier is right.

    Args:
        results: Method → ``Told.to_json()``.
    """
    interval = "95 % interval"
    head = ("method", "accuracy", interval, "macro-F1", interval, "majority class", interval)
    rows = [
        (name, *(text for figure in ("accuracy", "macro_f1", "majority") for text in estimate(told[figure])))
        for name, told in results.items()
    ]
    caption = f"On {next(iter(results.values()))['rows']:,} real rows of donors kept apart; intervals over donors"
    return section("classifiers", "Classifiers", table(caption, head, rows, numbers=(1, 2, 3, 4, 5, 6)))


def _score_row(name: str, score: Mapping[str, Any], labels: Sequence[str]) -> tuple[Child, ...]:
    missing = ", ".join(labels[code] for code in score["missing"]) or "none"
    figures_ = (text for figure in ("accuracy", "macro_f1", "auprc") for text in estimate(score[figure]))
    return name, score["classifier"], *figures_, missing


def measures(name: str, result: Mapping[str, Any], genes: Sequence[str]) -> Html:
    """Return the table of all figures of ``Utility.to_json()``: the table's, and real rows' in its place."""
    head = ("figure", "whole table", "table", "real half", "better", "what it says")
    rows = [
        (m["title"], _value(m["whole"], genes), _spread(m["synthetic"]), _spread(m["real"]), m["better"], m["words"])
        for m in result["metrics"]
    ]
    caption = (
        f"{name}: the whole table; then as many rows of it and of real people, against the same real rows "
        f"(mean and range of {result['settings']['repeats']} repeats)"
    )
    notes = {m["title"]: m["whole"]["note"] for m in result["metrics"] if m["whole"]["note"]}
    told = bullets(f"{title}: {note}" for title, note in notes.items()) if notes else ""
    return join([table(caption, head, rows, numbers=(1, 2, 3), stack=True), told])


def _value(found: Mapping[str, Any], genes: Sequence[str]) -> str:
    if found["value"] is None:
        return "–"
    gene = f" ({genes[found['gene']]})" if "gene" in found else ""
    return f"{found['value']:.3f}{gene}"


def _spread(found: Mapping[str, Any]) -> str:
    if found["estimate"] is None:
        return "–"
    return f"{found['estimate']:.3f} ({found['low']:.3f} – {found['high']:.3f})"


def estimate(found: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return an estimate and its interval as text."""
    if found is None:
        return "–", "too few controls to say"
    return f"{found['estimate']:.3f}", f"{found['low']:.3f} – {found['high']:.3f}"


def cost(spent: Cost) -> Html:
    """Return what the run took."""
    total = sum(spent.seconds.values())
    steps = [(name, f"{seconds:.2f}") for name, seconds in spent.seconds.items()] + [("total", f"{total:.2f}")]
    sent = [(name, f"{n:,}") for name, n in spent.bytes.items()]
    asked = [(name, f"{n:,}") for name, n in spent.queries.items()]
    return section(
        "cost",
        "Cost",
        table("Wall-clock time of each step", ("step", "seconds"), steps, numbers=(1,)),
        table("Bytes sent", ("what", "bytes"), sent, numbers=(1,)) if sent else "",
        table("Queries answered", ("method", "queries"), asked, numbers=(1,)) if asked else "",
        facts(spent.other.items()),
    )


def ledger(records: Sequence[Mapping[str, Any]]) -> Html:
    """Return the ledger's records, oldest first."""
    if not records:
        return section("ledger", "Ledger", tag("p", "Empty: nothing was charged."))
    names = list(dict.fromkeys(name for record in records for name in record))
    rows = [[_cell(record.get(name)) for name in names] for record in records[:_LEDGER_ROWS]]
    caption = f"{len(records):,} records, oldest first" + (
        f"; the first {_LEDGER_ROWS}" * (len(records) > _LEDGER_ROWS)
    )
    return section("ledger", "Ledger", tag("details", tag("summary", caption), table("Ledger", names, rows)))


def _cell(value: object) -> str:
    if isinstance(value, str) and len(value) == 64:  # a digest: its head tells it from others
        return f"{value[:12]}…"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def card(released: Mapping[str, Any], parts: Html) -> Html:
    """Return the release card, parts and source, folded."""
    source = tag("pre", json.dumps(released, indent=2, sort_keys=True, ensure_ascii=False), tabindex=0)
    folded = tag("details", tag("summary", "card.json"), source)
    return join([tag("h2", "Release card", id="card"), parts, folded])
