"""What a VCF's INFO says of a variant's effect: VEP's CSQ, SnpEff's ANN, scores of dbNSFP.

CSQ and ANN hold an entry for each transcript, whose fields the header names. Of an allele's entries the worst counts:
the highest impact with its gene, the lowest SIFT score, the highest PolyPhen score. SnpEff gives neither score.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

IMPACTS = ("HIGH", "MODERATE", "LOW", "MODIFIER")  # worst first
_NAMES = {"impact": ("IMPACT", "Annotation_Impact"), "gene": ("SYMBOL", "Gene_Name"), "allele": ("Allele",)}
_NAMES |= {"sift": ("SIFT",), "polyphen": ("PolyPhen",), "number": ("ALLELE_NUM",)}
_SIFT = ("dbNSFP_SIFT_score", "dbNSFP_SIFT4G_score")
_POLYPHEN = ("dbNSFP_Polyphen2_HDIV_score", "dbNSFP_Polyphen2_HVAR_score")
_INFO = re.compile(r'^##INFO=<ID=(?P<key>[^,]+),.*Description="(?P<words>[^"]*)"', re.MULTILINE)
_SCORE = re.compile(r"(?:^|\()(\d*\.?\d+(?:[eE]-?\d+)?)\)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What is said of one alternative allele.

    Attributes:
        sift: Lowest SIFT score, 0 (deleterious) to 1; NaN where none is told.
        polyphen: Highest PolyPhen score, 0 to 1 (damaging); NaN where none is told.
        impact: The highest of ``IMPACTS``, or "".
        gene: The gene of that impact, or "".
    """

    sift: float = math.nan
    polyphen: float = math.nan
    impact: str = ""
    gene: str = ""


def layouts(header: str) -> Mapping[str, tuple[str, ...]]:
    """Return the keys of INFO that tell of effects: of CSQ and ANN the names of their fields, of scores none.

    >>> layouts('##INFO=<ID=CSQ,Number=.,Type=String,Description="By VEP. Format: Allele|IMPACT|SIFT">')
    {'CSQ': ('Allele', 'IMPACT', 'SIFT')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for line in _INFO.finditer(header):
        key, words = line["key"], line["words"]
        if key in ("CSQ", "ANN"):
            fields = re.search(r"[^\s':|]+\s*\|.*", words)
            found[key] = tuple(name.strip(" '\"") for name in fields[0].split("|")) if fields else ()
        elif key in (*_SIFT, *_POLYPHEN):
            found[key] = ()
    return found


def effects(
    told: Mapping[str, str], layout: Mapping[str, tuple[str, ...]], alleles: Sequence[str]
) -> tuple[Effect, ...]:
    """Return the effect of each alternative allele.

    Args:
        told: What INFO says, by key.
        layout: Of :func:`layouts`.
        alleles: REF and ALTs.
    """
    if not told:
        return (Effect(),) * (len(alleles) - 1)
    entries = [_entry(text, layout[key]) for key in ("CSQ", "ANN") if key in told for text in told[key].split(",")]
    return tuple(
        _worst([entry for entry in entries if _about(entry, alleles, i)], told, i, len(alleles) - 1)
        for i in range(1, len(alleles))
    )


def _entry(text: str, fields: Sequence[str]) -> dict[str, str]:
    cells = dict(zip(fields, (cell.strip() for cell in text.split("|")), strict=False))
    return {name: next((cells[one] for one in names if one in cells), "") for name, names in _NAMES.items()}


def _about(entry: Mapping[str, str], alleles: Sequence[str], i: int) -> bool:
    """Return whether an entry is about ALT number ``i``; VEP leaves out a first letter that all alleles share."""
    if entry["number"]:
        return entry["number"] == str(i)
    if len(alleles) == 2 or not entry["allele"]:
        return True
    shared = len({allele[:1] for allele in alleles if allele != "*"}) == 1
    return entry["allele"].upper() in (alleles[i], *((alleles[i][1:] or "-",) if shared else ()))


def _worst(entries: Sequence[Mapping[str, str]], told: Mapping[str, str], i: int, alts: int) -> Effect:
    ranked = [entry for entry in entries if entry["impact"] in IMPACTS]
    worst = min(ranked, key=lambda entry: IMPACTS.index(entry["impact"]), default={"impact": "", "gene": ""})
    sift = [*_scores(entry["sift"] for entry in entries), *_listed(told, _SIFT, i, alts)]
    polyphen = [*_scores(entry["polyphen"] for entry in entries), *_listed(told, _POLYPHEN, i, alts)]
    return Effect(
        sift=min(sift, default=math.nan),
        polyphen=max(polyphen, default=math.nan),
        impact=worst["impact"],
        gene=worst["gene"],
    )


def _listed(told: Mapping[str, str], keys: Iterable[str], i: int, alts: int) -> list[float]:
    """Return a list's scores: all of them with one ALT, the allele's own where there is one for each, else none."""
    cells = next((re.split(r"[,|&;]", told[key]) for key in keys if key in told), [])
    return _scores(cells if alts == 1 else [cells[i - 1]] if len(cells) == alts else [])


def _scores(texts: Iterable[str]) -> list[float]:
    """Return the numbers among texts such as ``deleterious(0.01)``, ``0.01`` and ``.``."""
    return [float(found[1]) for text in texts if (found := _SCORE.search(text))]
