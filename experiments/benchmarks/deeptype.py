"""DeepType at full size: an epoch with per-donor clipping over an epoch without, and the memory of both.

1,536 people × 20,000 genes in batches of 64, the published network (21 million weights), Adam, one thread. All take
turns, a step each, in one process; ratios are of medians of CPU time, as other work may share the machine.

- *Ours*: ``DeepType.ask``, ``answer`` and ``learn``: book-keeping, clipping, float64 sums, our Adam, a step of the
  penalty, without noise, as at one site under trust ``distributed``, where parties add it to the sum of all.
- *Plain*: forward, backward and ``torch.optim.Adam`` of the mean loss; beside it with torch's fused Adam, which it
  takes only if it is asked to.
- *Gradients*: the same without what comes after them.
- *Noise*: what a site under ``local`` draws for itself beside every step, 21 million exact discrete Gaussians.

All of it is measured once with huge pages, where the system has them, and once without: fresh memory is dearer then.
Who fits in 4 GiB is seen in a process each, which may grow by no more: Opacus' hooks hold a gradient a person.
Shares and messages are timed elsewhere (``secure_sum``).
Run: ``python -m experiments.benchmarks.deeptype`` (``--quick``: 2,000 genes, 3 steps).
"""

from __future__ import annotations

import ctypes
import functools
import math
import multiprocessing
import os
import resource
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from experiments import harness
from experiments.benchmarks._processes import growth, memory
from experiments.deeptype import worlds
from experiments.harness import Result, Target
from fedgenome.cohort.shard import Shard
from fedgenome.federation import home
from fedgenome.methods import registry
from fedgenome.methods.deeptype import DeepType
from fedgenome.models import deeptype
from fedgenome.privacy.coins import DonorNormals
from fedgenome.query import Mechanism, Query, Question, State, Terms, choose_scale
from fedgenome.secure import ring
from fedgenome.streams import Root
from fedgenome.study import MethodSpec

PEOPLE, BATCH, GENES = 1536, 64, worlds.GENES
MOST, ROOM = 1.5, 4 * 2**30  # times plain training; bytes
OURS, PLAIN, OUR_GRADIENTS, GRADIENTS = "fedgenome", "plain", "fedgenome, gradients", "plain, gradients"
FUSED, NOISE, HOOKS = "plain, fused Adam", "noise of a site under local", "Opacus hooks"
_NO_HUGE_PAGES = 41  # PR_SET_THP_DISABLE of prctl


class Ours:
    """Steps of the method, as coordinator and site take them."""

    def __init__(self, genes: int) -> None:
        spec = MethodSpec(kind="deeptype", options={"sampling": BATCH / PEOPLE, "joint": 1.0})
        method = registry.build(spec, worlds.schema(genes), PEOPLE, True)
        if not isinstance(method, DeepType):
            raise TypeError(type(method))
        self._method: DeepType = method.at(1.0)
        self._draws = DonorNormals(Root.simulation(0, "benchmark"), ("deeptype",))
        self.state: State = self._method.start(np.random.default_rng(0))

    def question(self) -> Question:
        """Return the next round's."""
        asked = self._method.ask(self.state)
        if asked is None:
            raise StopIteration
        return asked

    def gradients(self, batch: Shard) -> None:
        """Return nothing: the sum is thrown away."""
        self._method.answer(self.question(), batch, self._draws)

    def step(self, batch: Shard) -> None:
        """Take one step."""
        question = self.question()
        total = self._method.answer(question, batch, self._draws).value
        self.state = self._method.learn(self.state, question, total)


class Noise:
    """What a site under trust ``local`` adds to a sum of its own: z = 1."""

    def __init__(self, question: Question) -> None:
        mechanism = Mechanism(kind="gaussian", level=1.0, sampling=BATCH / PEOPLE, where="home")
        question = replace(question, payload={}, mechanism=mechanism)
        terms = Terms(caps=(("site", PEOPLE),), colluders=0, quorum=1, roster="", plan="")
        when: dict[str, Any] = {"study": "", "run": "benchmark", "method": "deeptype", "step": 0, "attempt": 0}
        self._query = Query(question=question, terms=terms, scale=choose_scale(question, terms), **when)

    def draw(self) -> float:
        """Draw one vector and return the seconds that took: all threads', as another than the caller's draws."""
        words = ring.encode(np.zeros(self._query.question.length), self._query.scale, self._query.width)
        begin = time.process_time()
        drawn = home.begin_noise(self._query, Root.secret(), ("benchmark",))
        if drawn is None:
            raise TypeError(NOISE)
        drawn.add_to(words)
        return time.process_time() - begin


class Plain:
    """Steps of ordinary training from the same weights."""

    def __init__(self, genes: int, wrap: Callable[[Any], Any] = lambda model: model, fused: bool | None = None) -> None:
        ours = Ours(genes)
        self._model, self._centres = wrap(ours._method.model), torch.from_numpy(ours.state["centres"].copy())
        self._adam = torch.optim.Adam(self._model.parameters(), 1e-3, fused=fused)

    def gradients(self, batch: Shard) -> None:
        """Take forward and backward."""
        label = torch.from_numpy(batch.label.copy())
        x = torch.from_numpy(2 * (batch.x - worlds.LOW) / (worlds.HIGH - worlds.LOW) - 1)
        inputs = x, label, self._centres[label], torch.full((len(label),), 1.2)
        self._adam.zero_grad()
        deeptype.loss(self._model, inputs).mean().backward()  # type: ignore[no-untyped-call]

    def step(self, batch: Shard) -> None:
        """Take one step."""
        self.gradients(batch)
        self._adam.step()


def _hooked(model: Any) -> Any:
    """Return the model with Opacus' hooks, which write down a gradient a row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus warns when imported
        from opacus import GradSampleModule
    return GradSampleModule(model)


_CANDIDATES: dict[str, Callable[[int], Ours | Plain]] = {
    OURS: Ours,
    PLAIN: Plain,
    HOOKS: functools.partial(Plain, wrap=_hooked),
}


def _room(candidate: str, genes: int) -> float | None:
    """Return the bytes that making a candidate and its first step take, None if more than 4 GiB; for a new process."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Opacus' backward hooks warn about inputs without gradients

    def start(genes: int) -> None:
        _CANDIDATES[candidate](genes).step(worlds.metabric(np.random.default_rng(0), BATCH, genes).shard(0, BATCH))

    start(100)  # what libraries set up once is not its memory
    resource.setrlimit(resource.RLIMIT_AS, (memory(os.getpid(), "VmSize") + ROOM,) * 2)
    try:
        return growth(lambda: start(genes))
    except (MemoryError, RuntimeError) as fault:
        if "allocate" not in str(fault):
            raise
        return None


def _epoch(genes: int, steps: int, huge_pages: bool) -> dict[str, float]:
    """Return every candidate's seconds a step, the median; for a new process."""
    torch.set_num_threads(1)
    if not huge_pages:
        ctypes.CDLL(None).prctl(_NO_HUGE_PAGES, 1, 0, 0, 0)
    ours, plain, fused = Ours(genes), Plain(genes), Plain(genes, fused=True)
    works = {
        PLAIN: plain.step,
        OURS: ours.step,
        GRADIENTS: plain.gradients,
        OUR_GRADIENTS: ours.gradients,
        FUSED: fused.step,
    }
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    world = worlds.metabric(np.random.default_rng(0), steps * BATCH, genes)
    for step in range(-1, steps):  # the first is not counted: memory is new, and libraries have not begun
        batch = world.shard(max(step, 0) * BATCH, (max(step, 0) + 1) * BATCH)
        for name, work in works.items():
            begin = time.thread_time()
            work(batch)
            if step >= 0:
                seconds[name].append(time.thread_time() - begin)
    noise = Noise(ours.question())
    seconds[NOISE] = [noise.draw() for _ in range(min(steps, 5))]
    return {name: statistics.median(every) for name, every in seconds.items()}


def _alone(work: Callable[..., Any], *arguments: object) -> Any:
    """Return what ``work`` returns in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def _targets(medians: dict[str, dict[str, float]], room: float | None) -> list[Target]:
    targets = [
        Target(name=f"{name} over plain, {pages}", value=each[ours] / each[plain], target=MOST, sense="at most")
        for pages, each in medians.items()
        for name, ours, plain in (("a step", OURS, PLAIN), ("gradients", OUR_GRADIENTS, GRADIENTS))
    ]
    name, took = "GiB of a new method and a step", math.inf if room is None else room / 2**30
    return [*targets, Target(name=name, value=took, target=ROOM / 2**30, sense="at most")]


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Train for one epoch, with and without huge pages."""
    genes, steps = (2000, 3) if quick else (GENES, PEOPLE // BATCH)
    rows: list[dict[str, Any]] = []
    medians: dict[str, dict[str, float]] = {}
    for pages, huge in (("huge pages", True), ("small pages", False)):
        say(pages)
        medians[pages] = middle = _alone(_epoch, genes, steps, huge)
        rows += [
            {
                "candidate": name,
                "memory": pages,
                "CPU ms, median": 1e3 * each,
                "over plain": each / middle[PLAIN],
            }
            for name, each in middle.items()
        ]
    rooms = {name: _alone(_room, name, genes) for name in _CANDIDATES}
    for name, room in rooms.items():
        said = {"fits in 4 GiB": "no"} if room is None else {"fits in 4 GiB": "yes", "MB, new and a step": room / 1e6}
        rows.append({"candidate": name} | said)
    return Result(rows=rows, targets=_targets(medians, rooms[OURS]))


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
