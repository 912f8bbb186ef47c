"""What attacks on masked rows found: whose record is whose, by every attacker, and the attacks' own controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedgenome.report.attacks import checks
from fedgenome.report.html import Html, bullets, section, table, tag
from fedgenome.report.sections import estimate


def linkage(found: Mapping[str, Any]) -> Html:
    """Return everything of ``Linkage.to_json()``."""
    told = (
        f"{found['judged']:,} people of the release were looked for among {found['candidates']:,} ({found['panel']}); "
        f"{found['decoys']:,} more are not among them. Attackers know the mask and were fitted to {found['fitted']:,} "
        f"others in both, and {found['others']:,} more. {found['told']:,} of {found['variants']:,} variants are told."
    )
    worst = found["worst"]
    head = ("attacker", "RR", "at least", "at most", "p")
    rows = [
        (e["vector"], f"{e['estimate']:.3f}", f"{e['low']:.3f}", f"{e['high']:.3f}", f"{e['p_value']:.2g}")
        for e in worst["effects"]
    ]
    caption = f"Re-identification rate (RR) of each attacker, worst first; each bound holds with {worst['level']:.0%}"
    ranks = [(rank, f"{share:.3f}") for rank, share in found["curve"].items()]
    strata = [(name, *estimate(rate)) for name, rate in found["strata"].items()]
    return section(
        "attacks",
        "Attacks",
        tag("p", told),
        table(caption, head, rows, numbers=(1, 2, 3, 4)),
        bullets(_more(found)),
        table("The worst attacker: people whose own record is at this rank or before", ("rank", "share"), ranks),
        table("RR by class; intervals hold together", ("class", "RR", "95 % interval"), strata) if strata else "",
        tag("h3", "Controls"),
        checks(found["checks"]),
        tag("p", found["statement"], class_="quiet"),
    )


def _more(found: Mapping[str, Any]) -> list[str]:
    bits, sigmas, opened = found["bits"], found["sigmas"], found["open_set"]
    lines = [
        f"{bits['proven']:.2f} of the {bits['prior']:.2f} bits that hide a person are given away, on average",
        f"own pairs lie {sigmas['estimate']:.2f} σ above others [{sigmas['low']:.2f}, {sigmas['high']:.2f}]",
        "the decoys are too few for a rate at 1 % false identifications"
        if opened is None
        else f"found where 1 % of decoys are taken for somebody: {opened['estimate']:.3f}",
    ]
    if found["epsilon"]:
        lines.append(f"refuted for the release of one record: every ε below {found['epsilon']['epsilon']:.2f}")
    return lines + [f"{name} was left out: {why}" for name, why in found["left_out"].items()]
