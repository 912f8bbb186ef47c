"""What ε means, in words that need no course: shared by the public card and the internal report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fedgenome.card import UNITS, epsilon_text
from fedgenome.query import PARTIES
from fedgenome.report.html import Html, bullets, tag

_FALSE_ALARMS = 0.1
_NOTHING_RULED_OUT = 0.995  # from here on a bound on hits says nothing a reader could use


def most_hits(epsilon: float, delta: float, false_alarms: float) -> float:
    """Return the largest true-positive rate that (ε, δ) allows any test at this false-alarm rate.

    Source: Kairouz, Oh, Viswanath 2015, Theorem 2.1: the region of hypothesis tests.

    >>> round(most_hits(1.0, 0.0, 0.1), 3), most_hits(50.0, 0.0, 0.1)
    (0.272, 1.0)
    """
    odds = math.exp(min(epsilon, 700.0))
    return min(1.0, odds * false_alarms + delta, 1 - (1 - delta - false_alarms) / odds)


def meaning(card: Mapping[str, Any]) -> Html:
    """Return what the card's guarantee means, as a list."""
    guarantee = card["guarantee"]
    if guarantee["epsilon"] is None:
        return tag("p", "Nothing bounds what a reader of this release can learn about single people.")
    lines = [
        _odds(guarantee),
        _hits(guarantee),
        _delta(guarantee),
        _unit(guarantee),
        _colluders(card),
        _where(card),
    ]
    return bullets(lines)


def _odds(guarantee: Mapping[str, Any]) -> str:
    change = (
        "replacing all data of one site by none" if _sites(guarantee) else f"adding or removing one {_one(guarantee)}"
    )
    return (
        f"ε = {epsilon_text(guarantee['epsilon'])}: {change} changes the odds of any "
        f"outcome by a factor of at most e^ε = {guarantee['odds']}, but for δ."
    )


def _hits(guarantee: Mapping[str, Any]) -> str:
    most = most_hits(guarantee["epsilon"], guarantee["delta"], _FALSE_ALARMS)
    what = "one site's data were used" if _sites(guarantee) else f"one {_one(guarantee)} took part"
    who = f"whoever guesses whether {what}, wrongly accusing one outsider in ten,"
    if most >= _NOTHING_RULED_OUT:
        return f"At this ε the mathematics alone rules out hardly any attack: {who} might be right about nearly all."
    return f"In other words, {who} recognises at most {math.ceil(most * 1000) / 10:g} % of those who did."


def _sites(guarantee: Mapping[str, Any]) -> bool:
    return str(guarantee["unit"]) == UNITS["site"]


def _one(guarantee: Mapping[str, Any]) -> str:
    unit = str(guarantee["unit"])
    return f"{unit}," if "," in unit else unit


def _delta(guarantee: Mapping[str, Any]) -> str:
    bound = guarantee["donors_bound"]
    return f"δ = {guarantee['delta']:g} is the slack in that bound; the public bound on the cohort's size is {bound:,}."


def _unit(guarantee: Mapping[str, Any]) -> str:
    note = f" The data: {guarantee['unit_note']}." if guarantee["unit_note"] else ""
    word = guarantee["unit"].split(" ")[0]
    return f"Protected unit: {guarantee['unit']}. Behind k {word}s of one person: k times the ε, and more δ.{note}"


def _colluders(card: Mapping[str, Any]) -> str:
    guarantee = card["guarantee"]
    if card["trust"]["model"] == "local":
        return "It holds whichever computing parties collude: every site adds all of its noise at home."
    two = epsilon_text(guarantee["epsilon_two_colluders"])
    t = guarantee["colluders"]
    return f"It holds if at most {t} of the {PARTIES} computing parties collude; if two do, ε = {two}; if all do, none."


def _where(card: Mapping[str, Any]) -> str:
    if any(m["where"] == "home" for m in card["mechanisms"]):
        return "Each site adds noise to its own answers before they leave."
    return "Noise is added once, inside the secure sum: nobody sees a single site's vector or a sum without noise."
