"""What every method is examined on: small shards, runs on exact sums, and how far a donor moves an answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from fedgenome.cohort.shard import Shard
from fedgenome.methods import registry
from fedgenome.privacy.coins import DonorNormals
from fedgenome.query import Array, Query, Question, State, Terms, choose_scale
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema, Vocabulary

SCHEMA = Schema(genes=("A", "B", "C", "D"), labels=("x", "y", "z"), high=6.0, unit="donor")
SMALL = {"hidden": 4, "latent": 2, "rounds": 2, "sampling": 0.5}
CODES = Schema(genes=SCHEMA.genes, labels=SCHEMA.labels, high=4.0, unit="donor", tokens=Vocabulary())
DOSAGES = Schema(genes=SCHEMA.genes, labels=SCHEMA.labels, high=2.0, unit="donor", dosages=True)
SEQUENCE = {"architecture": "lstm", "width": 4, "layers": 1, "rounds": 2, "sampling": 0.5, "clip": 0.1}
NET = {"hidden": [4, 3], "rounds": 2, "sampling": 0.5}
# A kind that is not here is examined at its defaults.
OPTIONS = {
    "cvae": SMALL,
    "fedsgd": SMALL,
    "linear": {"rounds": 3, "sampling": 0.5},
    "deeptype": NET,
    "factors": {"directions": 1, "width": 1},
    "inverted": {"rounds": 3},
    "membership": {"rows": 20},
    "language": SEQUENCE,
    "masking": {"rounds": 2, "sampling": 0.5, "clip": 0.1, "budget": 2, "candidates": 3, "renew": 1},
    "afml": {"rounds": 2, "local_steps": 2},
    "tree": {"pairs": 2},
    "genotypes": {"block": 2},
}
PRELUDES = SMALL | {"rounds": 1, "normalise": "gene", "clip_quantile": 0.5}
VARIANTS = {
    "preludes": ("cvae", PRELUDES),
    "one scale": ("cvae", SMALL | {"rounds": 1, "normalise": "global"}),
    "histograms": ("gaussian", {"margins": "histograms"}),
    "masked": ("language", SEQUENCE | {"architecture": "masked", "width": 16}),
    "clusters": ("deeptype", NET | {"centres": "charged", "centres_noise": 3.0, "normalise": "gene"}),
    "zeros": ("gaussian", {"covariance": "diagonal", "zeros": True}),
}
AT_HOME = ("afml",)  # of a whole site only: no donor's contribution has a bound (test_trust)
KINDS = (*(kind for kind in registry.KINDS if kind not in AT_HOME), *VARIANTS)  # a variant: a kind, options of its own
CLASSIFIERS = ("linear", "deeptype", "clusters")
COUNTS = ("membership", "frequencies", "masking")  # which neither generate nor tell labels
GENERATORS = tuple(kind for kind in KINDS if kind not in (*CLASSIFIERS, *COUNTS))
BOUND = 20
NOISE = 2.0


def schema_of(kind: str) -> Schema:
    """Return the schema of what a kind reads."""
    return CODES if kind in registry.SEQUENCES else DOSAGES if kind in registry.DOSAGES else SCHEMA


def build(kind: str, *, private: bool = True, noise: float | None = NOISE):
    """Return a method of ``kind``, ready to ask unless ``noise`` is None."""
    kind, options = VARIANTS.get(kind, (kind, OPTIONS.get(kind, {})))
    spec = MethodSpec(kind=kind, noise=1.5, options=options)
    method = registry.build(spec, schema_of(kind), BOUND, private)
    return method if noise is None else method.at(noise)


def shard(rows_each: list[int], seed: int = 0) -> Shard:
    """Return donors of so many rows each, interleaved, with values on bin edges and at both ends."""
    rng = np.random.default_rng(seed)
    donor = rng.permutation(np.repeat(np.arange(len(rows_each)), rows_each))
    x = rng.uniform(0, 6, (len(donor), 4)).astype(np.float32)
    x[rng.random(x.shape) < 0.4] = 0
    x[rng.random(x.shape) < 0.2] = 2.5
    x[rng.random(x.shape) < 0.1] = 6
    return Shard(
        x=x,
        label=rng.integers(0, 3, len(donor)),
        donor=donor,
        donors=tuple(f"donor-{i}" for i in range(len(rows_each))),
        mask=np.ones(len(donor), bool),
    )


def _with_nan(s: Shard) -> Shard:
    x = s.x.copy()
    x[0], x[1, 2], x[2, 1] = np.nan, np.nan, np.inf
    return replace(s, x=x)


def _outlier(s: Shard) -> Shard:
    x = np.zeros_like(s.x)
    x[s.donor == 0] = 6
    return replace(s, x=x)


def _filled(s: Shard) -> Shard:
    x = s.x.copy()
    x[:, 2] = 3.0  # a gene that the site lacks, as cohort.expression.align fills it
    return replace(s, x=x)


SHARDS: dict[str, Shard] = {
    "one row a donor": shard([1] * 12),
    "several rows a donor": shard([1, 5, 2, 1, 3, 1, 0, 4]),
    "NaN and infinity": _with_nan(shard([1, 1, 2, 1, 3, 1])),
    "more rows than a gradient reads": shard([70, 1, 2]),
    "a label that the schema does not have": replace(shard([1] * 6), label=np.array([0, 1, 7, 2, 3, 0])),
    "one class": replace(shard([1] * 6), label=np.ones(6, np.int64)),
    "one donor": shard([1]),
    "an outlier": _outlier(shard([1] * 12)),
    "a gene that the site lacks": _filled(shard([1, 2, 1, 1])),
    "no rows": shard([]),
    "donors who are held, and canaries": replace(
        shard([1, 5, 2, 1, 3, 1, 2, 4]), held=np.arange(8) % 3 == 0, canary=np.array([-1] * 6 + [0, 1])
    ),
}


def terms(s: Shard) -> Terms:
    return Terms(caps=(("a", max(1, s.n_donors)),), colluders=1, quorum=1, roster="", plan="")


def query_of(question: Question, s: Shard, step: int) -> Query:
    where = terms(s)
    scale = choose_scale(question, where)
    return Query(question=question, study="", run="", method="m", step=step, attempt=0, scale=scale, terms=where)


def draws(step: int) -> DonorNormals:
    return DonorNormals(Root.simulation(3, "conformance"), ("m", step, 0))


def walk(method, s: Shard) -> Iterator[tuple[int, State, Question | None]]:
    """Run ``method`` on the exact sums of ``s``: yield (step, state, question), the last question None."""
    state, step = method.start(np.random.default_rng(1)), 0
    while (question := method.ask(state)) is not None:
        yield step, state, question
        state = method.learn(state, question, opened(question, method.answer(question, s, draws(step)).value))
        step += 1
    yield step, state, None


def opened(question: Question, total: Array) -> Array:
    """Return what a method learns of a sum: the sum itself, or its winners."""
    return np.argsort(-total, kind="stable")[: question.reply_length] if question.reduce == "select" else total


def integers(method, query: Query, s: Shard) -> Array:
    return np.rint(query.scale * method.answer(query.question, s, draws(query.step)).value)


def masked(s: Shard, donor: int) -> Shard:
    return s.without(donor)


def absent(s: Shard, donor: int) -> Shard:
    return s.take(np.arange(s.n_donors) != donor)


NEIGHBOURS: dict[str, Callable[[Shard, int], Shard]] = {"masked": masked, "absent": absent}


def farthest(method, query: Query, s: Shard, without: Callable[[Shard, int], Shard]) -> float:
    """Return how far removing one donor moves the integer answer, at most, in units of the sensitivity."""
    answer, norm = integers(method, query, s), np.inf if query.question.reduce == "select" else None
    moves = [np.linalg.norm(answer - integers(method, query, without(s, d)), norm) for d in range(s.n_donors)]
    return max(moves, default=0.0) / query.sensitivity


@functools.cache
def questions(kind: str, name: str) -> tuple[tuple[int, Question], ...]:
    """Return (step, question) of a whole run of ``kind`` on the shard ``name``; read-only, so one run serves all."""
    return tuple((step, question) for step, _, question in walk(build(kind), SHARDS[name]) if question is not None)


@functools.cache
def farthest_of(kind: str, name: str, neighbour: str) -> tuple[float, ...]:
    """Return :func:`farthest` of every question of such a run: what several tests look at is computed once."""
    method, s, without = build(kind), SHARDS[name], NEIGHBOURS[neighbour]
    return tuple(farthest(method, query_of(question, s, step), s, without) for step, question in questions(kind, name))
