"""``fedgenome audit``: attacks on any table or release, with the attacks' own controls, and the gate's verdict."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from fedgenome.cli import audit_options as options
from fedgenome.cli.shared import Common, Counts, DropUnlabelled, Json, Label, Layer, one_line_errors
from fedgenome.errors import require

if TYPE_CHECKING:
    from fedgenome.audit.gate import Policy, Verdict
    from fedgenome.audit.language.score import Score
    from fedgenome.audit.results import Attack, Audit, Check
    from fedgenome.auditing import Asked, Audited

EXIT_WITHHELD = 3
_WIDTH = 100
_NAMED = 10  # strata that are too small, by name
INTERNAL = "internal: reads real people"


def audit(
    target: options.Target,
    members: options.Members,
    controls: options.Controls,
    base: options.Base = None,
    attacks: options.Attacks = "standard",
    reference: options.Reference = None,
    canaries: options.Canaries = None,
    label: Label = "label",
    donor: options.Donor = None,
    strata: options.Strata = None,
    layer: Layer = "X",
    common: Common = False,
    counts: Counts = False,
    drop_unlabelled: DropUnlabelled = False,
    low: options.Low = None,
    high: options.High = None,
    samples: options.Samples = 5000,
    policy: options.Policy = None,
    seed: options.Seed = 0,
    report: options.Report = None,
    as_json: Json = False,
) -> None:
    """Attack any table or release and judge it: 0 nothing refuted, 3 withheld. Internal: it reads real people.

    TARGET is a release folder, or a table: .h5ad, .csv, .tsv.
    """
    with one_line_errors(as_json):
        from fedgenome import auditing
        from fedgenome.tables import Reading

        require(report is None or report.parent.is_dir(), f"--report: a folder {report.parent if report else ''}")
        limits = auditing.policy(policy)
        how = Reading(
            label=label,
            donor=donor,
            layer=layer,
            common=common,
            counts=counts,
            drop_unlabelled=drop_unlabelled,
            strata=tuple(strata or ()),
        )
        asked = auditing.Asked(
            target=target,
            members=members,
            controls=controls,
            base=base,
            reference=reference,
            canaries=canaries,
            attacks=auditing.attacks(attacks),
            how=how,
            low=low,
            high=high,
            samples=samples,
            seed=seed,
        )
        _conclude(asked, limits, report, as_json)


def _conclude(asked: Asked, limits: Policy, report: Path | None, as_json: bool) -> NoReturn:
    """Attack, judge, tell, and end with the verdict's exit code."""
    from fedgenome import auditing
    from fedgenome.audit.gate import judge

    found = auditing.run(asked)
    verdict = judge(found.audit, limits)
    told = found.to_json() | {"statement": INTERNAL, "seed": asked.seed, "verdict": verdict.to_json()}
    if report is not None:
        _write(report, told)
    typer.echo(json.dumps(told) if as_json else text(found, verdict))
    raise typer.Exit(0 if verdict.released else EXIT_WITHHELD)


def _write(report: Path, told: dict[str, Any]) -> None:
    from plotly.offline import get_plotlyjs

    from fedgenome import files
    from fedgenome.report.evaluation import audit_page

    files.replace(report, audit_page(told, (str(get_plotlyjs()),)).encode())


def text(found: Audited, verdict: Verdict) -> str:
    """Return findings and verdict in short lines."""
    audit = found.audit
    people = f"{audit.members:,} members, {audit.controls:,} controls, {audit.base:,} more as a base; the unit is "
    made = f"{audit.rows:,} rows, {found.genes:,} genes, {len(found.labels)} labels"
    head = [
        INTERNAL,
        ", ".join(f"{role} {name}" for role, name in found.files.items()),
        people + ("a donor" if audit.unit == "donor" else "a row, not a person"),
        f"{made}, values from {found.low:g} to {found.high:g}",
        *found.notes,
    ]
    word = "nothing refuted under the policy" if verdict.released else "withheld"
    lists = {
        "Reasons to withhold": verdict.reasons,
        "Evidence against": verdict.evidence_against,
        "Evidence for": verdict.evidence_for,
    }
    parts: list[list[str]] = [
        head,
        *(
            [f"Attacks on the {of} (AUC .5 is chance; 95 % intervals)", *_attacks(each)]
            for of in ("data", "model")
            if (each := [attack for attack in audit.attacks if attack.of == of])
        ),
        ["Near-copies", *(f"  {each.name}: {each.words}" for each in audit.near_copies)],
        ["Controls of the attacks", *map(_check, audit.checks)],
        ["Worst case (0: nothing is found, 1: every member is)", *_worst(audit)],
        *([f"Canaries in {name}", *_canaries(score)] for name, score in found.memorization.items()),
        ["Strata (by the attack that finds most; 95 % intervals hold together)", *_strata(audit)],
        ["Power", *_power(audit)],
        [f"Verdict: {word}", *(line for name, every in lists.items() for line in _list(name, every))],
    ]
    return "\n\n".join("\n".join(_wrapped(line) for line in part) for part in parts)


def _attacks(attacks: Sequence[Attack]) -> Iterator[str]:
    for each in attacks:
        hits = f"hits at 10 % false alarms {each.hits.words}" if each.hits else "hits: too few controls to say"
        yield f"  {each.name} ({each.threat}): AUC {each.auc.words}, p = {each.p_value:.2g}; {hits}"


def _check(check: Check) -> str:
    return f"  {'ok    ' if check.passed else 'FAILED'} {check.kind:8} {check.attack}: {check.words}"


def _worst(audit: Audit) -> Iterator[str]:
    for of, found in audit.worst.items():
        yield f"  {of}: {found.words}"


def _canaries(score: Score) -> Iterator[str]:
    for rung in score.rungs:
        seen = f"AUC {rung.auc:.2f}, {rung.bits:.2f} bits a base"
        seen += "" if rung.exposure is None else f", exposure {rung.exposure:.1f} bits (chance 1.44)"
        seen += "" if rung.extracted is None else f", {rung.extracted:.0%} completed"
        planted = f"planted {rung.repeats} times" if rung.repeats else "not planted"
        yield f"  {planted}, {rung.canaries} canaries: {seen}"
    yield f"  memorization, 0 to 1: {score.worst.words}"
    if score.void:
        yield "  void: canaries that were not planted stand out, or are told apart by halves; they are no uniform draws"


def _strata(audit: Audit) -> Iterator[str]:
    from fedgenome.audit.strata import FEWEST

    judged = [stratum for stratum in audit.strata if stratum.aucs]
    small = [stratum.name for stratum in audit.strata if not stratum.aucs]
    yield from (f"  {stratum.words}" for stratum in judged)
    if small:
        more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
        yield f"  too small to say anything (under {FEWEST} members or controls): {', '.join(small[:_NAMED])}{more}"
    if not audit.strata:
        yield "  none: everybody is of one class; --strata COLUMN gives others"


def _power(audit: Audit) -> Iterator[str]:
    yield f"  could have detected an AUC of {audit.detectable_auc:.2f} with 80 % power; smaller leaks can go unseen"
    yield f"  supports no claim below {audit.smallest_false_alarms:.2g} false alarms"
    for each in audit.near_copies:
        yield f"  {each.name}: k copies of different members allow p = {each.chance:.3f}^k at best"


def _list(name: str, every: Sequence[str]) -> list[str]:
    return [f"{name}:", *(f"  - {line}" for line in every)] if every else [f"{name}: none"]


def _wrapped(line: str) -> str:
    hang = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, _WIDTH, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)
