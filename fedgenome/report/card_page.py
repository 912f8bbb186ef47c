"""The release card as a page: public facts only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fedgenome.card import guarantee_line
from fedgenome.report.html import Child, Html, bullets, facts, join, page, section, table, tag
from fedgenome.report.meaning import meaning

_EMPTY = Html('<span class="quiet">not filled in</span>')
_SHOWN = 60  # genes named on the page; card.json names all


def public_card(card: Mapping[str, Any], audit_public: Mapping[str, Any]) -> str:
    """Return ``card.html``: the same bytes for the same card and audit.

    Args:
        card: The release card, as written or as read back.
        audit_public: ``Verdict.public()``: what of the audit may leave.
    """
    contents = {"guarantee": "Guarantee", **{name: title for name, title, _ in _parts(card)}, "audit": "Audit"}
    return page(
        f"Release card: {card['study']['name']}",
        alerts(card),
        section("guarantee", "What is guaranteed", guarantee(card)),
        card_sections(card),
        section("audit", "Audit", _audit(card, audit_public)),
        contents=contents,
    )


def alerts(card: Mapping[str, Any]) -> Html:
    """Return what must be read first, in a red banner; empty if there is nothing."""
    if not card["alerts"]:
        return Html()
    words = [tag("p", tag("strong", line)) for line in card["alerts"]]
    return tag("div", *words, class_="banner bad", role="note", aria_label="Read this first")


def guarantee(card: Mapping[str, Any]) -> Html:
    """Return the guarantee in one line, what it means, and why this ε."""
    why = facts([("why this ε", _value(card["guarantee"]["justification"]))])
    claims = card["guarantee"]["epsilon"] is not None
    return join([tag("p", tag("strong", guarantee_line(card))), meaning(card), why if claims else ""])


def card_sections(card: Mapping[str, Any]) -> Html:
    """Return every part of the card that is not the guarantee itself."""
    return join(section(name, title, show(card)) for name, title, show in _parts(card))


def _sanitized(card: Mapping[str, Any]) -> Html:
    told = {name: value for name, value in card["sanitized"].items() if name != "caution"}
    caution = bullets(card["sanitized"]["caution"])
    return join([caution, _named(told, "unit", "one_unit_of_distance", "epsilon", "epsilon_times_diameter")])


def _not_covered(card: Mapping[str, Any]) -> Html:
    rows = [(row["what"], row["covered"], row["why"]) for row in card["not_covered"]]
    return table("What the guarantee does not cover", ("what", "covered", "why"), rows, stack=True)


def _trust(card: Mapping[str, Any]) -> Html:
    rows = [(row["actor"], row["trusted"], row["why"]) for row in card["trust"]["actors"]]
    secure = "on" if card["trust"]["secure"] == "on" else tag("strong", "off", class_="bad")
    who = table("Who is trusted with what, and why", ("actor", "trusted", "why"), rows, stack=True)
    model, protects = card["trust"]["model"], card["trust"]["protects"]
    told = [("trust model", model), ("whom it protects from", protects), ("secure aggregation", secure)]
    return join([facts(told), who])


def _mechanisms(card: Mapping[str, Any]) -> Html:
    if not card["mechanisms"]:
        return tag("p", "None: no noise was added to anything.")
    head = ("method", "mechanism", "noise multiplier", "sampling", "queries", "noise added by")
    rows = [
        (m["scope"], m["kind"], _level(m), f"{m['sampling']:g}", f"{m['count']:,}", m["where"])
        for m in card["mechanisms"]
    ]
    return table("The plan, retry reserve included", head, rows, numbers=(2, 3, 4))


def _level(mechanism: Mapping[str, Any]) -> str:
    if "noise_multiplier" in mechanism:
        return f"{mechanism['noise_multiplier']:.4g}"
    each = f"ε = {mechanism['epsilon']:.4g} a winner, " if "epsilon" in mechanism else ""
    return f"{each}winners: {mechanism['winners']}"


def _composition(card: Mapping[str, Any]) -> Html:
    composition = dict(card["composition"])
    by_method = composition.pop("epsilon_by_method", {})
    split = (
        facts([(f"ε of each method alone, per {card['guarantee']['unit']}", _value(by_method))]) if by_method else ""
    )
    return join([_named(composition, "price", "within_the_plan", "queries_answered"), split])


def _study(card: Mapping[str, Any]) -> Html:
    study = card["study"]
    spec, schema = study["spec"], study["spec"]["schema"]
    genes, labels = schema["genes"], schema["labels"]
    methods = [
        (m["name"] or m["kind"], m["kind"], _value(m["options"]) if m["options"] else "") for m in spec["methods"]
    ]
    more = f" and {len(genes) - _SHOWN:,} more" if len(genes) > _SHOWN else ""
    public = facts(
        [
            ("study digest", tag("code", study["digest"])),
            ("plan digest", tag("code", study["plan_digest"])),
            (f"genes ({len(genes):,})", ", ".join(genes[:_SHOWN]) + more),
            (f"labels ({len(labels):,})", ", ".join(labels)),
            ("range of values", f"{schema['low']:g} to {schema['high']:g}; beyond it values are clipped"),
        ]
    )
    return join([table("Methods", ("name", "kind", "options"), methods), public])


def _about(card: Mapping[str, Any]) -> Html:
    about = {name: value for name, value in card["about"].items() if name != "curators"}
    rows = [(row["site"], row["role"], f"{row['cap']:,}") for row in card["about"]["curators"]]
    caps = table(
        "Sites, with the public cap that stands in for their size", ("site", "role", "cap"), rows, numbers=(2,)
    )
    return join(
        [
            _named(about, "product", "intended_use"),
            caps,
            tag("h3", "Signed off by"),
            _named(card["sign_off"], "name", "role"),
        ]
    )


def _record(card: Mapping[str, Any]) -> Html:
    record = card["record"]
    files = [(name, tag("code", digest)) for name, digest in sorted(record["files"].items())]
    versions = table("Versions", ("library", "version"), sorted(record["versions"].items()))
    rest = {name: value for name, value in record.items() if name not in ("files", "versions")}
    return join([_named(rest), table("SHA-256 of the files", ("file", "digest"), files), versions])


def _audit(card: Mapping[str, Any], audit: Mapping[str, Any]) -> Html:
    risk = {name: value for name, value in card["risk"].items() if name != "gate_reads_people"}
    # The decision is an alert of the card already; what charged sums said is in the evidence, in words.
    told = {name: value for name, value in audit.items() if name not in ("decision", "charged") and value != []}
    return join([_named(told, "verdict", "statement"), _named(risk)])


def _named(pairs: Mapping[str, Any], *first: str) -> Html:
    """Show a mapping, ``first`` first and the rest sorted: a card that was read back has no order of its own."""
    names = [*(name for name in first if name in pairs), *sorted(set(pairs) - set(first))]
    return facts((name.replace("_", " "), _value(pairs[name])) for name in names)


def _value(value: object) -> Child:
    if value is None or value == "" or value == {} or value == []:
        return _EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return _inner((f"{key}: ", value[key]) for key in sorted(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _inner(("", item) for item in value)
    return str(value)


def _inner(items: Iterable[tuple[str, object]]) -> Html:
    return bullets(join([name.replace("_", " "), _value(item)]) for name, item in items)


def _parts(card: Mapping[str, Any]) -> tuple[tuple[str, str, Callable[[Mapping[str, Any]], Html]], ...]:
    sanitized = ("sanitized", "Sanitized rows: another guarantee", _sanitized)
    return (*([sanitized] if card.get("sanitized") else []), *_PARTS)


_PARTS = (
    ("not-covered", "What is not protected", _not_covered),
    ("trust", "Who is trusted", _trust),
    ("mechanisms", "Mechanisms", _mechanisms),
    ("composition", "Composition", _composition),
    ("study", "Study", _study),
    ("about", "Purpose and people", _about),
    ("record", "Record", _record),
)
