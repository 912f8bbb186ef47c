"""What is written of a run once it was judged: the candidate, the internal report, and the release if it passed."""

from __future__ import annotations

import datetime
import json
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedgenome import card, folders, release
from fedgenome.audit.gate import Verdict
from fedgenome.audit.linkage.results import Linkage
from fedgenome.audit.results import Audit
from fedgenome.audit.targets import Records
from fedgenome.federate import Trained
from fedgenome.folders import RunFolder
from fedgenome.masked import Masked, on_card
from fedgenome.methods.base import Watched
from fedgenome.prepare import Prepared
from fedgenome.query import State
from fedgenome.release import Synthetic
from fedgenome.report.card_page import public_card
from fedgenome.report.inputs import Comparison, Cost, Curve, ReportInputs
from fedgenome.report.internal import internal_report
from fedgenome.streams import Root

EXIT_RELEASED, EXIT_WITHHELD = 0, 3
_SHOWN = 1000  # synthetic rows in a plot


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Done:
    """What training left behind, for the steps after it.

    Attributes:
        prepared: What was decided before; its Study is the one that was pinned.
        generator: Label of the method whose synthetic rows leave; None: masked rows do, or models alone.
        seen: Method → queries answered → state, for the training curve.
        members: One record a donor in training.
        controls: One record a donor kept from it.
        root: Randomness of the driver's steps: drawing rows, attacks.
        file: The experiment file, for the card's command.
        seconds: Wall clock of each step so far.
    """

    prepared: Prepared
    generator: str | None
    folder: RunFolder
    trained: Trained
    seen: Mapping[str, Mapping[int, State]]
    members: Records
    controls: Records
    root: Root
    file: Path
    seconds: Mapping[str, float]

    @property
    def withheld(self) -> int:
        """How many runs of this name were withheld before."""
        return folders.withheld(self.folder.path.parent, self.prepared.experiment.name)

    @property
    def reads_people(self) -> bool:
        """True if members or controls are at hand; a deployment's coordinator may hold nobody's data."""
        return len(self.members) + len(self.controls) > 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """A method's synthetic rows.

    Attributes:
        drawn: As many as an attacker with the model would draw.
        released: A random subset of them, as many as are released.
    """

    drawn: Synthetic
    released: Synthetic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What was found out about the rows.

    Attributes:
        audit: The attacks; None where there are too few donors to say anything, or rows are masked.
        linkage: Attacks on masked rows.
        verdict: What the gate makes of them.
        utility: Method → what its rows are good for, on real data, as JSON values.
        classifiers: Method → how often it is right on real data, as JSON values.
    """

    audit: Audit | None
    verdict: Verdict
    utility: Mapping[str, Any]
    classifiers: Mapping[str, Any] = field(default_factory=dict)
    linkage: Linkage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        verdict: ``released`` or ``withheld``.
        path: The release, or the candidate that stays.
        report: The internal report.
        statement: The guarantee in one line, with what ε does not cover.
        seconds: Wall clock of each step.
    """

    verdict: str
    path: Path
    report: Path
    statement: str
    seconds: Mapping[str, float]

    @property
    def exit_code(self) -> int:
        """0 released, 3 withheld."""
        return EXIT_RELEASED if self.verdict == "released" else EXIT_WITHHELD

    @property
    def last_line(self) -> str:
        """The line a user reads last."""
        return f"{self.verdict}: {self.path} · report: {self.report}"

    @property
    def text(self) -> str:
        """What the terminal shows at the end."""
        return f"{self.statement}\n{sum(self.seconds.values()):.1f} s in all\n{self.last_line}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "path": str(self.path), "report": str(self.report), "exit": self.exit_code}


def publish(done: Done, rows: Mapping[str, Rows], findings: Findings, made: Masked | None = None) -> Outcome:
    """Write candidate and report, then release or withhold: releasing is the last thing that happens.

    Args:
        rows: Synthetic rows of every method that generates.
        made: Masked rows, where they leave in place of synthetic ones.
    """
    folder, ledger, verdict = done.folder, _ledger(done), findings.verdict
    final = _write_candidate(done, rows, findings, ledger, made)
    report = _write_internal(done, rows, findings, final, ledger)
    if verdict.released:
        release.publish(folder.candidate, folder.release)
    outcome = Outcome(
        verdict=verdict.word,
        path=folder.release if verdict.released else folder.candidate,
        report=report,
        statement=card.guarantee_line(final),
        seconds=dict(done.seconds),
    )
    folder.finish(outcome.to_json())
    return outcome


def _write_candidate(
    done: Done, rows: Mapping[str, Rows], findings: Findings, ledger: list[dict[str, Any]], made: Masked | None
) -> dict[str, Any]:
    """Write all that may leave, which holds nothing read off a person but masked rows; return the final card."""
    verdict, told = findings.verdict.public(), card.build_card(_facts(done, findings.verdict))
    told = told if made is None else on_card(told, made)
    told = told if rows or made else models_alone(told)
    final = release.write_candidate(
        done.folder.candidate,
        arrays=done.trained.arrays,
        card=told,
        ledger=ledger,
        synthetic={done.generator: rows[done.generator].released} if done.generator else {},
        schema=done.prepared.study.schema_,
        masked=made.files(told) if made else None,
    )
    text = json.dumps(verdict, indent=1, ensure_ascii=False) + "\n"
    release.add_pages(done.folder.candidate, {"audit.json": text, "card.html": public_card(final, verdict)})
    return final


def models_alone(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card of a release without rows."""
    return {
        **told,
        "about": {**told["about"], "product": "models"},
        "composition": {**told["composition"], "post_processing": "nothing is made of the released arrays here"},
    }


def _write_internal(
    done: Done,
    rows: Mapping[str, Rows],
    findings: Findings,
    final: dict[str, Any],
    ledger: list[dict[str, Any]],
) -> Path:
    """Write what never leaves; return the report's path."""
    found = findings.audit.to_json() if findings.audit else {}
    linked = findings.linkage.to_json() if findings.linkage else {}
    verdict, useful, right = findings.verdict.to_json(), dict(findings.utility), dict(findings.classifiers)
    told = {"audit": found, "verdict": verdict} | ({"linkage": linked} if linked else {})
    done.folder.write("audit.json", json.dumps(told, indent=1) + "\n")
    both = useful | {label: {**useful.get(label, {}), "classifier": right[label]} for label in right}
    done.folder.write("utility.json", json.dumps(both, indent=1) + "\n")
    inputs = ReportInputs(
        card=final,
        verdict=verdict,
        audit=found,
        linkage=linked,
        utility=useful,
        classifiers=right,
        curves=_curves(done),
        comparisons=[_comparison(done, label, made.drawn) for label, made in rows.items() if _shows(done)],
        cost=_cost(done),
        ledger=ledger,
    )
    return done.folder.write("report.html", internal_report(inputs))


def _facts(done: Done, verdict: Verdict) -> card.Facts:
    prepared, spec = done.prepared, done.prepared.experiment
    return card.Facts(
        study=prepared.study,
        plan=prepared.plan,
        queries=done.trained.queries,
        engine=done.trained.engine,
        seeded=done.root.seeded,
        gate_reads_people=verdict.reads_people and done.reads_people,
        audited=verdict.audited,
        withheld=done.withheld,
        epsilon=prepared.epsilon,
        epsilon_two=prepared.epsilon_colluding,
        by_method=prepared.by_method,
        unit_note=prepared.cohort.provenance,
        versions=card.library_versions(),
        texts=card.Texts(justification=spec.release.why_epsilon),
        run=done.folder.run,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=f"fedgenome run {done.file.name}" + " --on deployment.toml" * (done.trained.engine == "deployment"),
    )


def _ledger(done: Done) -> list[dict[str, Any]]:
    """Return the public ledger: what the plan holds and what was answered; never a site's own account."""
    prepared = done.prepared
    kind = "none" if prepared.epsilon is None else "simulation" if done.root.seeded else "private"
    claims = kind == "private"
    total = {"event": "plan", "kind": kind, "epsilon": prepared.epsilon if claims else None}
    total["delta"] = prepared.study.privacy.delta if claims else None
    held = [{"event": "hold", "kind": kind, "mechanism": asdict(m)} for m in prepared.plan.mechanisms]
    asked = [{"event": "answered", "kind": kind, "method": m, "queries": n} for m, n in done.trained.queries.items()]
    return [total, *held, *asked]


def _curves(done: Done) -> list[Curve]:
    """Return each method's loss over its queries, on members and on controls: internal, read without noise."""
    curves = []
    for label, states in done.seen.items():
        method = done.prepared.methods[label]
        if not isinstance(method, Watched):
            continue
        for who, rows in (("members", done.prepared.split.members), ("controls", done.prepared.split.controls)):
            if not rows.n_donors:
                continue
            losses = np.array([method.loss(state, rows) for state in states.values()])
            note = "mean over real rows, without noise: internal"
            steps = np.array(list(states))
            curves.append(Curve(name=f"{label}, {who}", x=steps, y=losses, x_title="query", y_title="loss", note=note))
    return curves


def _shows(done: Done) -> bool:
    """Whether there are rows of people to show, as numbers; letters are not."""
    return done.reads_people and done.prepared.study.schema_.tokens is None


def _comparison(done: Done, label: str, made: Synthetic) -> Comparison:
    schema, real = done.prepared.study.schema_, done.members
    shown = slice(None, None, max(1, len(made.label) // _SHOWN))
    return Comparison(
        method=label,
        genes=schema.genes,
        labels=schema.labels,
        real=real.x,
        real_label=real.label,
        synthetic=made.x[shown],
        synthetic_label=made.label[shown],
    )


def _cost(done: Done) -> Cost:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(
        seconds=dict(done.seconds),
        bytes={"sites to parties, all sites": done.trained.uploaded},
        queries=done.trained.queries,
        other={"peak memory of the driver": f"{peak / 2**20:,.0f} MiB"},
    )
