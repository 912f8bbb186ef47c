"""DP-SGD: a step of per-donor clipping over a step of plain SGD, ours and others', for four kinds of model.

All candidates of a model take turns in one run, with one thread each, two steps a turn, the second timed: training
follows itself, not a rival that has swept the caches. A step is forward, backward, clipping and update, without noise.
Every row has one donor; a batch is a tenth of a site's donors. Ratios are of medians.

- ``fedgenome``: ``sum_gradients``. ``+ noise``: encoded on the integers, with exact discrete Gaussian noise that a
  second thread draws meanwhile, as at a site under trust ``local``.
- ``plain SGD``: ``torch.optim.SGD`` on the mean loss.
- ``Opacus`` in each mode (hooks, ghost, functorch, expanded weights), and ``torch.func.vmap``: none draws noise here.
  What cannot run a model says so in its row. Its LSTM replaces torch's.

Wall-clock and the calling thread's CPU time are in the rows. Memory is how far a candidate, its model and its first
steps grow the process, whose allocator has given back all it can. Accounting is the ε of 1,000 sampled rounds at each
of 40 sites, of other noise each, so that no price is another's.
Run: ``python -m experiments.benchmarks.dp_sgd`` (``--quick``: the CVAE only).
"""

from __future__ import annotations

import functools
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch

from experiments import harness
from experiments.benchmarks import _dp_models as models
from experiments.benchmarks import _dp_rivals as rivals
from experiments.benchmarks._dp_models import Case
from experiments.benchmarks._dp_rivals import BOUND, RATE, Step
from experiments.benchmarks._processes import growth
from experiments.harness import Result, Target
from fedgenome.addition import gradient_precision
from fedgenome.federation import home
from fedgenome.privacy import accounting
from fedgenome.privacy.gradients import sum_gradients
from fedgenome.query import Mechanism, Query, Question, Terms, choose_scale
from fedgenome.secure import ring
from fedgenome.streams import Root
from fedgenome.study import Plan

OURS, NOISY, PLAIN = "fedgenome", "fedgenome + noise", "plain SGD"
SITES, ROUNDS = 40, 1000
_WARM = 2  # steps before any is timed
_TOO_SLOW = 15.0  # times plain SGD, from which on fewer repetitions do


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────


class Ours:
    """Steps of book-keeping, with or without noise."""

    def __init__(self, case: Case) -> None:
        self._case, self._model = case, case.model()
        rows = len(case.inputs[0])
        self._donor, self._mask = torch.arange(rows), torch.ones(rows, dtype=torch.bool)
        self.parameters = sum(p.numel() for p in self._model.parameters())
        self.query = _query(self.parameters, rows)

    def sum(self) -> torch.Tensor:
        """Return the clipped sum, (P,) float64."""
        case = self._case
        who = self._donor, self._mask
        clipped = sum_gradients(self._model, case.loss, case.inputs, *who, BOUND, self.query.question.precision)
        return torch.from_numpy(clipped.value)

    def step(self) -> None:
        """Take one step without noise."""
        self._update(self.sum())

    def noisy(self) -> None:
        """Take one step on integers, with noise."""
        query = self.query
        drawn = home.begin_noise(query, Root.secret(), ("benchmark",))
        words = ring.encode(self.sum().numpy(), query.scale, query.width)
        if drawn:
            drawn.add_to(words)
        self._update(torch.from_numpy(ring.decode(words, query.scale, query.width)))

    def _update(self, total: torch.Tensor) -> None:
        parameters = list(self._model.parameters())
        parts = torch.split(total, [parameter.numel() for parameter in parameters])
        with torch.no_grad():
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.add_(part.float().view(parameter.shape), alpha=-RATE / len(self._donor))


def _query(parameters: int, rows: int) -> Query:
    """Return what a site with noise of its own would be asked: z = 1, and ``rows`` are a tenth of its donors."""
    donors, sampling = 10 * rows, 0.1
    question = Question(
        payload={},
        length=parameters,
        reply_length=parameters,
        bound=BOUND,
        mechanism=Mechanism(kind="gaussian", level=1.0, sampling=sampling, where="home"),
        precision=gradient_precision(donors, sampling),
    )
    terms = Terms(caps=(("site", donors),), colluders=0, quorum=1, roster="", plan="")
    when: dict[str, Any] = {"study": "", "run": "benchmark", "method": "sgd", "step": 0, "attempt": 0}
    return Query(question=question, terms=terms, scale=choose_scale(question, terms), **when)


# ── measuring ────────────────────────────────────────────────────────────────────────────────────


class Race:
    """Candidates that take turns, and what each took.

    Args:
        case: What they train.
        pause: Seconds before each turn, in which threads of the one before end what they began.
    """

    def __init__(self, case: Case, pause: float = 0.0) -> None:
        self.case, self._pause = case, pause
        self.wall: defaultdict[str, list[float]] = defaultdict(list)
        self.cpu: defaultdict[str, list[float]] = defaultdict(list)
        self.memory: dict[str, int] = {}
        self._steps: dict[str, Step] = {}

    def enter(self, name: str, make: Callable[[], Step]) -> None:
        """Make a candidate and warm it up."""

        def started() -> None:
            self._steps[name] = make()
            for _ in range(_WARM):
                self._steps[name]()

        make()()  # what libraries set up once is not its memory
        self.memory[name] = growth(started)

    def run(self, rounds: int) -> None:
        """Let all take turns; a very slow one sits out most of them."""
        for turn in range(rounds):
            for name, step in self._steps.items():
                slow = turn >= 3 and self.over(name) > _TOO_SLOW
                if not slow:
                    self._time(name, step)

    def _time(self, name: str, step: Step) -> None:
        time.sleep(self._pause)
        step()  # brings back the caches and the memory that the one before took
        wall, cpu = time.perf_counter(), time.thread_time()
        step()
        self.wall[name].append(time.perf_counter() - wall)
        self.cpu[name].append(time.thread_time() - cpu)

    def over(self, name: str) -> float:
        """Return a candidate's median wall-clock over plain SGD's."""
        return statistics.median(self.wall[name]) / statistics.median(self.wall[PLAIN])

    def rows(self, parameters: int) -> Iterator[dict[str, Any]]:
        """Return a row for each candidate."""
        for name in self._steps:
            cpu = {n: statistics.median(self.cpu[n]) for n in (name, PLAIN)}
            yield {
                "model": self.case.name,
                "parameters": parameters,
                "candidate": name,
                "ms, median": statistics.median(self.wall[name]) * 1e3,
                "over plain SGD": self.over(name),
                "CPU ms, median": cpu[name] * 1e3,
                "CPU over plain SGD": cpu[name] / cpu[PLAIN],
                "MB": self.memory[name] / 1e6,
            }


def _race(case: Case, rounds: int) -> tuple[Race, int]:
    race, ours = Race(case), Ours(case)
    race.enter(PLAIN, functools.partial(rivals.plain, case))
    race.enter(OURS, lambda: Ours(case).step)
    for name, make in rivals.RIVALS.items():
        race.enter(name, functools.partial(make, case))
    race.run(rounds)
    alone = Race(case, pause=0.05)  # its thread would take a core from the others
    alone.enter(PLAIN, functools.partial(rivals.plain, case))
    alone.enter(NOISY, lambda: ours.noisy)
    alone.run(rounds)
    noisy, plain = alone.over(NOISY), statistics.median(race.wall[PLAIN])
    race.wall[NOISY] = [noisy * plain]
    return race, ours.parameters


def _targets(race: Race) -> Iterator[Target]:
    case = race.case
    yield Target(name=f"{case.name}: over plain SGD", value=race.over(OURS), target=case.slack, sense="at most")
    others = [race.over(name) for name in rivals.RIVALS if name.startswith("Opacus")]
    if others:
        name = f"{case.name}: over the fastest mode of Opacus"
        yield Target(name=name, value=race.over(OURS) / min(others), target=1.0, sense="at most")
    held = race.memory[OURS] / race.memory[PLAIN]
    yield Target(name=f"{case.name}: peak memory over plain SGD's", value=held, target=1.5, sense="at most")
    if case.name == "CVAE, B = 64":
        name = f"{case.name}: with noise, over plain SGD"
        yield Target(name=name, value=race.over(NOISY), target=2.5, sense="at most")


def _account() -> float:
    """Return the seconds that pricing all sites takes."""
    begin = time.perf_counter()
    for site in range(SITES):
        form = Mechanism(kind="gaussian", level=1.0 + site / SITES, sampling=0.02, count=ROUNDS, where="home")
        accounting.epsilon(Plan(mechanisms=(form,)), 1e-5)
    return time.perf_counter() - begin


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Time every candidate on every model."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus' hooks and torch's expanded weights warn at every step
        for case in models.cases()[: 2 if quick else None]:
            say(case.name)
            race, parameters = _race(case, max(3, case.steps // 4) if quick else case.steps)
            rows += race.rows(parameters)
            rows.append({"model": case.name, "candidate": NOISY, "over plain SGD": race.over(NOISY)})
            targets += _targets(race)
    seconds = _account()
    rows.append({"sites": SITES, "rounds": ROUNDS, "seconds of accounting": seconds})
    name = f"seconds of accounting, {SITES} sites of {ROUNDS} rounds"
    targets.append(Target(name=name, value=seconds, target=2.0, sense="at most"))
    return Result(rows=rows, targets=targets)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
