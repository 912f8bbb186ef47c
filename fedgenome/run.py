"""One experiment, end to end, as named steps: prepare, federate, generate, audit, judge, report, publish."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from fedgenome import federate, folders, masked, prepare, prices, trust
from fedgenome.audit import charged, gate
from fedgenome.audit.linkage import judge
from fedgenome.audit.results import Audit, Charged, merge
from fedgenome.audit.run import audit, enough
from fedgenome.audit.scales import Codes, Values
from fedgenome.audit.strata import stratified
from fedgenome.audit.targets import Records, people
from fedgenome.audit.worst_case import scored
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.experiment import Experiment
from fedgenome.federation.checkpoint import Progress
from fedgenome.folders import RunFolder
from fedgenome.masked import masker_of
from fedgenome.methods.base import Classifier, Following, Generator, Method, Scored
from fedgenome.prepare import Prepared
from fedgenome.prices import Prices
from fedgenome.publication import Done, Findings, Outcome, Rows, publish
from fedgenome.query import State
from fedgenome.release import Synthetic
from fedgenome.streams import Root
from fedgenome.synthesis import synthesize
from fedgenome.utility.classify import told
from fedgenome.utility.metrics import RUN
from fedgenome.utility.run import Real, finite, utility

_AUDIT_SAMPLES = 5000  # rows that an attacker with query access draws from a released generator
_CURVE = 25  # points of a training curve


class Reporter:
    """What a run tells while it works; this one is silent."""

    def step(self, text: str) -> None:
        """Begin a named step."""

    def warn(self, text: str) -> None:
        """Say what the operator should know before anything is spent."""

    def queries(self, method: str, done: int, total: int | None) -> None:
        """Tell that ``done`` of ``total`` queries (None: unknown) are answered."""


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
    return prices.prices(prepared)


def run(
    spec: Experiment,
    file: Path,
    out: Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    deployment: federate.Roles | None = None,
) -> Outcome:
    """Run an experiment to its verdict.

    Args:
        spec: The experiment.
        file: Where it was read from, for the card's command.
        out: Folder of run folders.
        resume: Continue the newest unfinished run.
        deployment: Who trains, where that is not this machine.

    Raises:
        FedgenomeError: bad input (before anything is written or spent), a role that failed, a budget refused.
    """
    clock = _Clock(reporter or Reporter())
    dump = spec.model_dump(mode="json") | ({"on": deployment.engine} if deployment else {})
    folder = folders.unfinished(out, spec.name, dump) if resume else None
    run_id, deal = (folder.run, folder.deal) if folder else folders.reserve(spec.seed)
    # The parties start first: their imports take seconds, and the cohort can be read meanwhile.
    with _interruptible() as check, deployment or federate.Simulated(spec) as roles:
        deal = roles.deal or deal
        root = Root(bytes.fromhex(deal), seeded=spec.seed is not None)
        with clock.step("prepare"):
            prepared = roles.prepare(spec, root.stream("split").generator())
        generator = None if masker_of(prepared) else generator_of(prepared)
        if masker_of(prepared):
            masked.check(prepared, root)
        if spec.engine.ledgers is not None and deployment is None:
            folders.made(spec.engine.ledgers, "engine.ledgers")
        folder = folder or folders.create(out, spec.name, dump, run_id, deal)
        with clock.step("federate"):
            watch = _Watch(prepared, clock.reporter, check)
            trained = roles.federate(prepared, _place(spec, folder), watch)
    prepared = replace(prepared, study=trained.study)
    done = Done(
        prepared=prepared,
        generator=generator,
        folder=folder,
        trained=trained,
        seen=watch.seen,
        members=people_of(prepared, prepared.split.members),
        controls=people_of(prepared, prepared.split.controls),
        root=root,
        file=file,
        seconds=clock.seconds,
    )
    return _conclude(done, clock)


def people_of(prepared: Prepared, shard: Shard) -> Records:
    """Return rows with their strata: the class and, where the sites are hospitals, the hospital."""
    found, cohort = people(shard), prepared.cohort
    strata = {"label": np.array(prepared.split.labels)[found.label]}
    if prepared.experiment.split.by == "column" and cohort.site is not None:
        site = dict(zip(cohort.owners, cohort.site, strict=True))
        strata["site"] = np.array([site[donor] for donor in shard.donors], str)[found.owner]
    return replace(found, strata=strata)


def _conclude(done: Done, clock: _Clock) -> Outcome:
    """Generate, audit, evaluate, judge and write."""
    policy = done.prepared.experiment.audit
    if masker := masker_of(done.prepared):
        return _conclude_masked(done, masker, clock)
    with clock.step("generate"):
        rows = _generate(done)
    with clock.step("audit"):
        sums, missed = _charged(done)
        audited = _audits(done, rows, sums)
        verdict = gate.judge(audited, policy, sums, missed, done.withheld)
    with clock.step("evaluate"):
        compared = len(done.controls) > 0 and done.prepared.study.schema_.tokens is None  # the suite is of expression
        useful = {label: _utility(done, made) for label, made in rows.items() if compared}
        right = _classified(done) if compared else {}
    with clock.step("report"):
        return publish(done, rows, Findings(audit=audited, verdict=verdict, utility=useful, classifiers=right))


def _conclude_masked(done: Done, label: str, clock: _Clock) -> Outcome:
    """Mask, attack by linkage, judge and write: that somebody is a member, the rows of a masked release say."""
    with clock.step("audit"):
        made = masked.masked(done.prepared, label, done.trained.arrays[label], done.root)
        verdict = judge.judge(made.linkage, done.prepared.experiment.audit, done.withheld)
    with clock.step("report"):
        return publish(done, {}, Findings(audit=None, verdict=verdict, utility={}, linkage=made.linkage), made)


def generator_of(prepared: Prepared) -> str | None:
    """Return the label of the method that makes the synthetic data: the one that is named, or the first that can.

    None where models that tell losses leave alone: there is something to attack.

    Raises:
        SpecError: the named method generates nothing, or no method generates rows or tells losses.
    """
    able = [label for label, method in prepared.methods.items() if isinstance(method, Generator)]
    named = prepared.experiment.release.generator
    if not able and named is None and any(isinstance(method, Scored) for method in prepared.methods.values()):
        return None
    if not able or (named is not None and named not in able):
        which = f"one of {', '.join(able)}" if able else "such as marginals or cvae"
        seen = named if named is not None else ", ".join(prepared.methods)
        raise SpecError(f"release.generator: expected a method that generates rows ({which}), got {seen}")
    return named or able[0]


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
    """Tells the reporter what to warn of and of every query, and keeps some states for the training curve.

    Attributes:
        seen: Method → queries answered → state, about ``_CURVE`` of each method.
    """

    def __init__(self, prepared: Prepared, reporter: Reporter, check: Callable[[], None]) -> None:
        self._totals = prepared.queries
        for line in prepared.warnings:
            reporter.warn(line)
        self._reporter = reporter
        self._check = check
        self.seen: dict[str, dict[int, State]] = {m: {} for m in prepared.methods}

    def __call__(self, label: str, progress: Progress) -> None:
        self._check()
        total = self._totals.get(label)
        self._reporter.queries(label, progress.step, total)
        if progress.step % max(1, (total or _CURVE * 4) // _CURVE) == 0:
            self.seen[label][progress.step] = progress.state


def _generate(done: Done) -> dict[str, Rows]:
    """Draw rows from every method that generates."""
    return {
        label: _rows(done, label, method)
        for label, method in done.prepared.methods.items()
        if isinstance(method, Generator)
    }


def _rows(done: Done, label: str, method: Generator) -> Rows:
    count = done.prepared.experiment.release.rows
    rng = done.root.stream("rows", label).generator()
    drawn = synthesize(method, done.trained.arrays[label], max(_AUDIT_SAMPLES, count), rng)
    rng = done.root.stream("table", label).generator()
    chosen = np.sort(rng.choice(len(drawn.label), count, replace=False))
    return Rows(drawn=drawn, released=Synthetic(x=drawn.x[chosen], label=drawn.label[chosen]))


def _charged(done: Done) -> tuple[tuple[Charged, ...], tuple[str, ...]]:
    """Return what each method that had sites count says of the release, and the generators that none is about."""
    earlier: dict[str, Method] = {}
    told: list[Charged] = []
    covered: set[str] = set()
    for label, method in done.prepared.methods.items():
        if isinstance(method, Following):
            about = method.followed(earlier)
            told.append(_counted(done, label, about))
            covered.add(about)
        earlier[label] = method
    return tuple(told), tuple(n for n, m in earlier.items() if isinstance(m, Generator) and n not in covered)


def _counted(done: Done, label: str, about: str) -> Charged:
    """Return what the noisy counts of the method ``label`` say of the release of ``about``."""
    prepared, arrays = done.prepared, done.trained.arrays[label]
    study, planned = prepared.study, prepared.methods[label].plan(prepared.noise) if prepared.noise else ()
    noise = trust.deviation(study, trust.placed(planned[0], study.privacy.trust)) if planned else 0.0
    found = charged.found(f"{label} of {about}", arrays["counts"], noise)
    delta = study.privacy.delta or 0.0
    seen = charged.guessed(arrays["guess"], float(arrays["right"]), noise, delta, prepared.epsilon)
    return replace(found, canaries=seen)


def _audits(done: Done, rows: Mapping[str, Rows], sums: Sequence[Charged]) -> Audit | None:
    """Attack every method of the release; None where there are too few donors to say anything."""
    if not enough(done.members, done.controls):
        return None
    methods = done.prepared.methods.items()
    able = [label for label, method in methods if label in rows or isinstance(method, Scored)]
    return stratified(scored(merge({label: _audit(done, label, rows.get(label)) for label in able}), sums))


def _audit(done: Done, label: str, made: Rows | None) -> Audit:
    """Attack what a method releases: its weights, and its rows.

    Args:
        made: The released table where it makes that, and what more it would draw; None: it makes none.
    """
    schema, method = done.prepared.study.schema_, done.prepared.methods[label]
    table, samples = (None, None) if made is None else (made.released, made.drawn)
    return audit(
        members=done.members,
        controls=done.controls,
        synthetic=_records(table if label == done.generator else samples),
        samples=_records(samples),
        losses=functools.partial(method.losses, done.trained.arrays[label]) if isinstance(method, Scored) else None,
        scale=Codes(schema.tokens.size) if schema.tokens else Values(schema.low, schema.high),
        rng=done.root.stream("audit").generator(),  # the same for every method: one control base for all
        unit=schema.unit,
    )


def _utility(done: Done, made: Rows) -> dict[str, Any]:
    schema = done.prepared.study.schema_
    seed = int(done.root.stream("utility").generator().integers(2**31))
    real = Real(truth=finite(done.controls, schema.low), train=finite(done.members, schema.low))
    released = Records(x=made.released.x, label=made.released.label)
    return utility(released, real, seed=seed, settings=RUN, dosages=schema.dosages).to_json()


def _classified(done: Done) -> dict[str, Any]:
    """Return how often each classifier is right on controls."""
    low, arrays = done.prepared.study.schema_.low, done.trained.arrays
    train, truth = finite(done.members, low), finite(done.controls, low)
    seed = int(done.root.stream("utility").generator().integers(2**31))
    return {
        label: told(functools.partial(method.predict, arrays[label]), truth, train, seed).to_json()
        for label, method in done.prepared.methods.items()
        if isinstance(method, Classifier)
    }


def _records(made: Synthetic | None) -> Records | None:
    return None if made is None else Records(x=made.x, label=made.label)
