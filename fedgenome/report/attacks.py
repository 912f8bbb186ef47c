"""What attacks on people found: the worst case, curves, strata, near-copies, and the attacks' own controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedgenome.report import figures
from fedgenome.report.html import Html, bullets, join, section, table, tag
from fedgenome.report.sections import estimate

_RELEASED = {"data": "synthetic rows", "model": "model"}


def attacks(audit: Mapping[str, Any]) -> Html:
    """Return everything of ``Audit.to_json()``."""
    if not audit:
        return section(
            "attacks", "Attacks", tag("p", "No records were attacked: too few members or controls are at hand.")
        )
    unit = audit["unit"]
    told = (
        f"{audit['members']:,} members ({unit}s trained on) against {audit['controls']:,} controls; "
        f"{audit['base']:,} more as a base of comparison. An AUC of .5 is chance."
    )
    power = (
        f" This audit finds an AUC of {audit['detectable_auc']:.2f} with 80 % power; weaker leaks can go unseen. "
        f"It supports no claim below {audit['smallest_false_alarms']:.2g} false alarms."
    )
    head = ("attack", "on the", "attacker holds", "AUC", "95 % interval", "hits", "95 % interval", "p")
    rows = [
        (
            a["name"],
            _RELEASED[a.get("of", "data")],
            a["threat"],
            *estimate(a["auc"]),
            *estimate(a["hits"]),
            f"{a['p_value']:.2g}",
        )
        for a in audit["attacks"]
    ]
    rate = audit["attacks"][0]["false_alarms"] if audit["attacks"] else 0.1
    return section(
        "attacks",
        "Attacks",
        tag("p", told),
        tag("p", tag("strong", "Power:"), power),
        _worst(audit["worst"]),
        tag("h3", "Each attack"),
        figures.roc("attack-curves", audit["attacks"], audit["smallest_false_alarms"]).to_html(),
        table(f"Membership attacks; hits at {rate:.0%} false alarms", head, rows, numbers=(3, 4, 5, 6, 7)),
        _rates(audit["attacks"]),
        _near_copies(audit["near_copies"]),
        _strata(audit["strata"]),
        tag("h3", "Controls"),
        checks(audit["checks"]),
        tag("p", audit["statement"], class_="quiet"),
    )


def _worst(found: Mapping[str, Mapping[str, Any]]) -> Html:
    """Return the three numbers of each score, what they mean, and, folded, everything that they are over."""
    if not found:
        return Html()
    told = (
        "One score over everything that was looked at: 0 where an attacker finds no more than where nothing leaks, 1 "
        "where every member is told from every control; in between, about the share of the members whom the release "
        "gives away. The estimate is the largest of all, which chance alone lifts above 0; the lower bound pays for "
        "the search. What none of these attacks looks for, the score does not count."
    )
    head = ("score of the", "estimate", "at least", "at most", "findings", "p over them all")
    rows = [
        (
            *(_RELEASED[of], f"{w['estimate']:.3f}", f"{w['low']:.3f}", f"{w['high']:.3f}"),
            *(len(w["effects"]), f"{w['p_value']:.2g}"),
        )
        for of, w in found.items()
    ]
    level = next(iter(found.values()))["level"]
    caption = f"Worst case; each bound holds with {level:.0%} confidence"
    worst = bullets(_pointed(_RELEASED[of], w) for of, w in found.items())
    return join(
        [
            tag("h3", "Worst case"),
            tag("p", told),
            table(caption, head, rows, numbers=range(1, 6), stack=True),
            worst,
            *(_effects(_RELEASED[of], w) for of, w in found.items()),
        ]
    )


def _pointed(name: str, worst: Mapping[str, Any]) -> str:
    sure = f"surely above 0: {worst['surest']}" if worst["surest"] else "none is surely above 0"
    return f"{name}: the largest estimate is that of {worst['vector']}; {sure}"


def _effects(name: str, worst: Mapping[str, Any]) -> Html:
    head = ("finding", "estimate", "at least", "at most", "p")
    rows = [
        (e["vector"], f"{e['estimate']:.3f}", f"{e['low']:.3f}", f"{e['high']:.3f}", f"{e['p_value']:.2g}")
        for e in worst["effects"]
    ]
    caption = f"Findings on the {name}, worst first; lower bounds hold together, upper ones each, p uncorrected"
    summary = tag("summary", f"all {len(rows)} findings on the {name}")
    return tag("details", summary, table(caption, head, rows, numbers=(1, 2, 3, 4)))


def _rates(attacks: Sequence[Mapping[str, Any]]) -> Html:
    """Return hits at low false-alarm rates, or that so few controls cannot speak of them."""
    rates = attacks[0]["rates"] if attacks else []
    head = ("attack", *(f"at {100 * each['false_alarms']:g} % false alarms" for each in rates))
    rows = [(a["name"], *(each["words"] for each in a["rates"])) for a in attacks]
    return table("Hits at low false-alarm rates; the 95 % intervals of an attack hold together", head, rows, stack=True)


def _strata(strata: Sequence[Mapping[str, Any]]) -> Html:
    """Return who is exposed most, by column, and every stratum that is large enough."""
    judged, small = ([s for s in strata if bool(s["aucs"]) is large] for large in (True, False))
    if not strata:
        return Html()
    first = {s["column"]: s["words"] for s in reversed(judged)}
    rows = [
        (
            *(s["column"], s["value"], f"{s['members']:,}", f"{s['controls']:,}"),
            *(attack, *estimate(auc), f"{s['detectable_auc']:.2f}"),
        )
        for s in judged
        for attack, auc in s["aucs"].items()
    ]
    head = ("column", "value", "members", "controls", "attack", "AUC", "interval", "would be found")
    caption = "Attacks within strata; all intervals hold together at 95 %; 'would be found': AUC seen with 80 % power"
    least = f"Too few members or controls to say anything (under {strata[0]['fewest']}): "
    return join(
        [
            tag("h3", "Strata"),
            *(tag("p", tag("strong", f"Most exposed {column}: "), words) for column, words in reversed(first.items())),
            table(caption, head, rows, numbers=(2, 3, 5, 6, 7)) if rows else "",
            tag("p", least, ", ".join(f"{s['column']} {s['value']}" for s in small), class_="quiet") if small else "",
        ]
    )


def _near_copies(found: Sequence[Mapping[str, Any]]) -> Html:
    head = (
        "attack",
        "closest rows",
        "people nearest",
        "members",
        "share",
        "95 % interval",
        "by chance",
        "p",
        "least p",
    )
    rows = [
        (
            *(each[name] if name == "name" else f"{each[name]:,}" for name in ("name", "rows", "people", "members")),
            *estimate(each["share"]),
            f"{each['chance']:.3f}",
            *(f"{each[name]:.2g}" for name in ("p_value", "best_p_value")),
        )
        for each in found
    ]
    caption = "Near-copies: who is nearest to the rows that lie closest to one person; least p, if all were members"
    return table(caption, head, rows, numbers=(1, 2, 3, 4, 5, 6, 7, 8), stack=True)


def checks(checks: Sequence[Mapping[str, Any]]) -> Html:
    """Return the controls of attacks, and whether they came out as they must."""
    head = ("control", "attack", "came out", "seen", "interval", "of", "counts only if it")
    failed = tag("strong", "FAILED", class_="bad")
    rows = [
        (
            *(c["kind"], c["attack"], "as it must" if c["passed"] else failed),
            *(*estimate(c["seen"]), c["measure"], c["rule"]),
        )
        for c in checks
    ]
    caption = "Controls of the attacks: without them the numbers above mean nothing"
    return table(caption, head, rows, numbers=(3, 4), stack=True)
