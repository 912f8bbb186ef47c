"""One experiment, end to end, as named steps: prepare, federate, generate, audit, judge, report, publish."""

from __future__ import annotations

import contextlib
import datetime
import json
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from fedgenome import card, federate, folders, prepare, prices, release
from fedgenome.audit import gate
from fedgenome.audit.gate import Verdict
from fedgenome.audit.results import Audit, merge
from fedgenome.audit.run import audit, enough
from fedgenome.audit.targets import Records, people
from fedgenome.experiment import Experiment
from fedgenome.federation.checkpoint import Progress
from fedgenome.folders import RunFolder
from fedgenome.methods.base import Generator, Watched
from fedgenome.prepare import Prepared
from fedgenome.prices import Prices
from fedgenome.query import State
from fedgenome.release import Synthetic
from fedgenome.report.card_page import public_card
from fedgenome.report.inputs import Comparison, Cost, Curve, ReportInputs
from fedgenome.report.internal import internal_report
from fedgenome.streams import Root
from fedgenome.synthesis import synthesize
from fedgenome.utility.run import utility

EXIT_RELEASED, EXIT_WITHHELD = 0, 3
_AUDIT_SAMPLES = 5000  # rows that an attacker with query access draws from a released generator
_CURVE = 25  # points of a training curve
_SHOWN = 1000  # synthetic rows in a plot


class Reporter:
    """What a run tells while it works; this one is silent."""

    def step(self, text: str) -> None:
        """Begin a named step."""

    def queries(self, method: str, done: int, total: int | None) -> None:
        """Tell that ``done`` of ``total`` queries (None: unknown) are answered."""


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


@dataclass(slots=True)
class _Clock:
    """Times the named steps and tells the reporter."""

    reporter: Reporter
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.reporter.step(name)
        begin = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begin


def price(spec: Experiment) -> Prices:
    """Price an experiment without running it. The cohort is read for its genes and sites, and one answer is timed."""
    root = Root.of(spec.seed, "driver")
    prepared = prepare.prepare(spec, root.stream("split").generator())
    return prices.prices(prepared, root.stream("prices").generator())


def run(spec: Experiment, file: Path, out: Path, *, resume: bool = False, reporter: Reporter | None = None) -> Outcome:
    """Run an experiment to its verdict.

    Args:
        spec: The experiment.
        file: Where it was read from, for the card's command.
        out: Folder of run folders.
        resume: Continue the newest unfinished run.

    Raises:
        FedgenomeError: bad input (before anything is written or spent), a role that failed, a budget refused.
    """
    clock = _Clock(reporter or Reporter())
    dump = spec.model_dump(mode="json")
    folder = folders.unfinished(out, spec.name, dump) if resume else None
    run_id, deal = (folder.run, folder.deal) if folder else folders.reserve(spec.seed)
    root = Root(bytes.fromhex(deal), seeded=spec.seed is not None)
    # The parties start first: their imports take seconds, and the cohort can be read meanwhile.
    with _interruptible() as check, federate.parties(spec.seed, secure=spec.engine.secure == "on") as parties:
        with clock.step("prepare"):
            prepared = prepare.prepare(spec, root.stream("split").generator())
        folder = folder or folders.create(out, spec.name, dump, run_id, deal)
        with clock.step("federate"):
            watch = _Watch(prepared, clock.reporter, check)
            trained = federate.federate(prepared, _place(spec, folder), parties, watch)
    prepared = replace(prepared, study=trained.study)
    done = _Done(prepared=prepared, folder=folder, trained=trained, seen=watch.seen, root=root, file=file, clock=clock)
    with clock.step("generate"):
        rows = _generate(done)
    with clock.step("audit"):
        audited = _audits(done, rows)
        verdict = gate.judge(audited, spec.audit)
    with clock.step("evaluate"):
        useful = {label: _utility(done, label, made) for label, made in rows.items()}
    with clock.step("report"):
        return _finish(done, rows, audited, verdict, useful)


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Yield a check that raises if Ctrl-C was pressed.

    Python drops a KeyboardInterrupt that happens to be raised in a finalizer or a callback of the
    collector; a run of minutes must end all the same, so every query asks again.
    """
    pressed = threading.Event()

    def press(_number: int, _frame: FrameType | None) -> None:
        pressed.set()
        raise KeyboardInterrupt

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    # Only the main thread may handle signals; and a job that was started to ignore Ctrl-C goes on ignoring it.
    if threading.current_thread() is not threading.main_thread() or before == signal.SIG_IGN:
        yield check
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Done:
    """What training left behind, for the steps after it."""

    prepared: Prepared
    folder: RunFolder
    trained: federate.Trained
    seen: Mapping[str, Mapping[int, State]]
    root: Root
    file: Path
    clock: _Clock

    @property
    def seeded(self) -> bool:
        return self.root.seeded

    @property
    def members(self) -> Records:
        return people(self.prepared.split.members)

    @property
    def controls(self) -> Records:
        return people(self.prepared.split.controls)


def _place(spec: Experiment, folder: RunFolder) -> federate.Place:
    ledgers = spec.engine.ledgers or folder.internal / "sites"
    return federate.Place(
        state=folder.internal / "state",
        ledgers=ledgers,
        parties=folder.internal / "parties",
        run=folder.run,
        seed=spec.seed,
    )


class _Watch:
    """Tells the reporter of every query and keeps some states for the training curve.

    Attributes:
        seen: Method → queries answered → state, about ``_CURVE`` of each method.
    """

    def __init__(self, prepared: Prepared, reporter: Reporter, check: Callable[[], None]) -> None:
        self._totals = {m: sum(x.count for x in prepared.base if x.scope == m) or None for m in prepared.methods}
        self._reporter = reporter
        self._check = check
        self.seen: dict[str, dict[int, State]] = {m: {} for m in prepared.methods}

    def __call__(self, label: str, progress: Progress) -> None:
        self._check()
        total = self._totals[label]
        self._reporter.queries(label, progress.step, total)
        if progress.step % max(1, (total or _CURVE * 4) // _CURVE) == 0:
            self.seen[label][progress.step] = progress.state


def _generate(done: _Done) -> dict[str, Synthetic]:
    """Draw rows from every method that generates: as many as are released, or as an attacker would draw."""
    count = max(_AUDIT_SAMPLES, done.prepared.experiment.release.rows)
    return {
        label: synthesize(method, done.trained.arrays[label], count, done.root.stream("rows", label).generator())
        for label, method in done.prepared.methods.items()
        if isinstance(method, Generator)
    }


def _released(done: _Done, rows: Synthetic, label: str) -> Synthetic:
    """Return as many of a method's rows as are released: a random subset of those drawn."""
    count = done.prepared.experiment.release.rows
    chosen = np.sort(done.root.stream("table", label).generator().choice(len(rows.label), count, replace=False))
    return Synthetic(x=rows.x[chosen], label=rows.label[chosen])


def _audits(done: _Done, rows: Mapping[str, Synthetic]) -> Audit | None:
    """Attack every generator of the release; None where there are too few donors to say anything."""
    if not enough(done.members, done.controls):
        return None
    return merge({label: _audit(done, label, made) for label, made in rows.items()})


def _audit(done: _Done, label: str, made: Synthetic) -> Audit:
    """Attack a method's rows: the released table where it makes that, and what more its model would draw."""
    schema = done.prepared.study.schema_
    released = label == done.prepared.experiment.generator
    table = _released(done, made, label) if released else made
    return audit(
        members=done.members,
        controls=done.controls,
        synthetic=_records(table),
        samples=_records(made),
        low=schema.low,
        high=schema.high,
        rng=done.root.stream("audit").generator(),  # the same for every method: one control base for all
        unit=schema.unit,
    )


def _records(made: Synthetic) -> Records:
    return Records(x=made.x, label=made.label)


def _utility(done: _Done, label: str, made: Synthetic) -> dict[str, Any]:
    low = done.prepared.study.schema_.low
    rng = done.root.stream("utility").generator()
    table = _records(_released(done, made, label))
    return utility(members=done.members, controls=done.controls, synthetic=table, low=low, rng=rng).to_json()


def _finish(
    done: _Done, rows: Mapping[str, Synthetic], audited: Audit | None, verdict: Verdict, useful: Mapping[str, Any]
) -> Outcome:
    """Write candidate and report, then publish or withhold: publishing is the last thing that happens."""
    spec, folder = done.prepared.experiment, done.folder
    ledger = _ledger(done)
    final = release.write_candidate(
        folder.candidate,
        arrays=done.trained.arrays,
        card=card.build_card(_facts(done, audited=audited is not None)),
        ledger=ledger,
        synthetic={spec.generator: _released(done, rows[spec.generator], spec.generator)},
        schema=done.prepared.study.schema_,
    )
    public = verdict.public()
    told = json.dumps(public, indent=1, ensure_ascii=False) + "\n"
    release.add_pages(folder.candidate, {"audit.json": told, "card.html": public_card(final, public)})
    found = audited.to_json() if audited else {}
    folder.write("audit.json", json.dumps({"audit": found, "verdict": verdict.to_json()}, indent=1) + "\n")
    folder.write("utility.json", json.dumps(dict(useful), indent=1) + "\n")
    report = folder.write(
        "report.html",
        internal_report(
            ReportInputs(
                card=final,
                verdict=verdict.to_json(),
                audit=found,
                utility=useful,
                curves=_curves(done),
                comparisons=[_comparison(done, label, made) for label, made in rows.items()],
                cost=_cost(done),
                ledger=ledger,
            )
        ),
    )
    if verdict.released:
        release.publish(folder.candidate, folder.release)
    outcome = Outcome(
        verdict=verdict.word,
        path=folder.release if verdict.released else folder.candidate,
        report=report,
        statement=card.guarantee_line(final),
        seconds=dict(done.clock.seconds),
    )
    folder.finish(outcome.to_json())
    return outcome


def _facts(done: _Done, *, audited: bool) -> card.Facts:
    prepared, spec = done.prepared, done.prepared.experiment
    return card.Facts(
        study=prepared.study,
        plan=prepared.plan,
        queries=done.trained.queries,
        engine=spec.engine.kind,
        seeded=done.seeded,
        gate_reads_people=True,
        audited=audited,
        epsilon=prepared.epsilon,
        epsilon_two=prepared.epsilon_colluding,
        by_method=prepared.by_method,
        unit_note=prepared.cohort.provenance,
        versions=card.library_versions(),
        texts=card.Texts(justification=spec.release.why_epsilon),
        run=done.folder.run,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=f"fedgenome run {done.file.name}",
    )


def _ledger(done: _Done) -> list[dict[str, Any]]:
    """Return the public ledger: what the plan holds and what was answered; never a site's own account."""
    prepared = done.prepared
    kind = "none" if prepared.epsilon is None else "simulation" if done.seeded else "private"
    claims = kind == "private"
    total = {"event": "plan", "kind": kind, "epsilon": prepared.epsilon if claims else None}
    total["delta"] = prepared.study.privacy.delta if claims else None
    held = [{"event": "hold", "kind": kind, "mechanism": asdict(m)} for m in prepared.plan.mechanisms]
    asked = [{"event": "answered", "kind": kind, "method": m, "queries": n} for m, n in done.trained.queries.items()]
    return [total, *held, *asked]


def _curves(done: _Done) -> list[Curve]:
    """Return each method's loss over its queries, on members and on controls: internal, read without noise."""
    curves = []
    for label, states in done.seen.items():
        method = done.prepared.methods[label]
        if not isinstance(method, Watched):
            continue
        for who, rows in (("members", done.prepared.split.members), ("controls", done.prepared.split.controls)):
            losses = np.array([method.loss(state, rows) for state in states.values()])
            note = "mean over real rows, without noise: internal"
            steps = np.array(list(states))
            curves.append(Curve(name=f"{label}, {who}", x=steps, y=losses, x_title="query", y_title="loss", note=note))
    return curves


def _comparison(done: _Done, label: str, made: Synthetic) -> Comparison:
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


def _cost(done: _Done) -> Cost:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(
        seconds=dict(done.clock.seconds),
        bytes={"sites to parties, all sites": done.trained.uploaded},
        queries=done.trained.queries,
        other={"peak memory of the driver": f"{peak / 2**20:,.0f} MiB"},
    )
