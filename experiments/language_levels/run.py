"""Levels of the language models' audit: how often it finds a leak in models that saw no canary, and where it must.

Small models are trained on 1,000 windows of a Markov chain. Then canaries of eight letters are drawn a thousand times
of either law, uniform and like the data, and judged as if some had been planted: lower ends above 0 and p-values below
.05 are false alarms, to be at most 5 % + 2 standard errors. What a model says is read off its table of all 4⁸ strings,
so that a draw costs no forward. Beside them a model each that is trained with a ladder planted, which must be found.
Run: ``python -m experiments.language_levels.run`` (some minutes; ``--quick``: one model, 20 draws).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from experiments import harness
from experiments.harness import Result, Target
from fedgenome.audit.bounds.exposure import NULL_MEAN_BITS
from fedgenome.audit.language import canaries, enumeration, extraction, markov
from fedgenome.audit.language.canaries import Canaries, Ladder, Law
from fedgenome.audit.language.markov import Markov
from fedgenome.audit.language.run import Instruments, look
from fedgenome.audit.language.score import Looks, Score, Seen, judge
from fedgenome.cohort.tokens import Tokens
from fedgenome.models.language.base import Causal
from fedgenome.models.language.sizes import CAPACITIES, Architecture, Model, build
from fedgenome.models.language.training import train
from fedgenome.models.parameters import initialise
from fedgenome.query import Array

ARCHITECTURES: tuple[Architecture, ...] = ("lstm", "transformer", "state-space")
DRAWS = 1000  # of each law, over all models
LENGTH, GIVEN, WINDOW = 8, 5, 24
PEOPLE, ORDER = 1000, 3
EPOCHS, BATCH, RATE = 20, 64, 3e-3
LADDER = Ladder(each=8, controls=60, coins=40)
LOOKS = Looks()
NOMINAL = 0.05
FOUND = 0.5  # lower end of the score of a model that saw 16 copies and more


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """A model that saw no canary, and what it says of every string.

    Attributes:
        name: Its architecture.
        laws: What canaries are drawn from, by name.
        bits: Bits a base of all strings, (4^L,).
        extracted: Whether the model completes each, bool (4^L,).
        exposure: Exposure of each under each law, (4^L,).
    """

    name: str
    laws: dict[str, Law]
    bits: Array
    extracted: Array
    exposure: dict[str, Array]

    def seen(self, drawn: Canaries, law: str) -> Seen:
        """Return what the model says of canaries."""
        at = enumeration.codes(drawn.tokens, 4)
        return Seen(
            bits=self.bits[at],
            reference=np.full(len(at), 2.0),
            exposure=self.exposure[law][at],
            extracted=self.extracted[at],
        )


def _chain(rng: np.random.Generator) -> Markov:
    """Return the law of the data: a chain whose letters hang on the three before, more than they do by chance."""
    contexts = sum(4**j for j in range(ORDER + 1))
    return Markov(torch.from_numpy(np.log(rng.dirichlet(np.full(4, 2.0), contexts))), ORDER)


def _trained(architecture: Architecture, rows: Array, repeats: Array, seed: int) -> Causal:
    model: Model = build(CAPACITIES[architecture]["small"], 4, WINDOW)
    initialise(model, np.random.default_rng([seed, 1]))
    rng, tokens = np.random.default_rng([seed, 2]), torch.from_numpy(rows)
    for _ in train(model, tokens, epochs=[EPOCHS], batch=BATCH, rate=RATE, rng=rng, repeats=repeats):
        pass
    if not isinstance(model, Causal):
        raise TypeError(f"{architecture} reads both ways")
    return model


def _world(architecture: Architecture, seed: int) -> World:
    rng = np.random.default_rng(seed)
    chain = _chain(rng)
    rows, public = (chain.draw(PEOPLE, WINDOW, rng) for _ in range(2))
    model = _trained(architecture, rows, np.ones(PEOPLE, np.int64), seed)
    alike = markov.fit(public, 4, ORDER)
    every, likely = enumeration.table(model, LENGTH), enumeration.table(alike, LENGTH)
    strings = np.arange(4**LENGTH)[:, None] // 4 ** np.arange(LENGTH - 1, -1, -1) % 4
    return World(
        name=architecture,
        laws={"uniform": canaries.uniform(4, LENGTH), "like the data": canaries.matched(alike, LENGTH)},
        bits=-every / LENGTH / math.log(2),
        extracted=extraction.discoverable(model, strings, GIVEN),
        exposure={
            "uniform": enumeration.exposures(every, strings, 4),
            "like the data": enumeration.exposures(every, strings, 4, likely),
        },
    )


def _scores(world: World, law: str, times: int, seed: int) -> Iterator[tuple[Score, Array]]:
    """Yield the score of each draw, and the exposures of all its canaries."""
    rng = np.random.default_rng([seed, 3])
    for _ in range(times):
        drawn = canaries.drawn(world.laws[law], LADDER, rng)
        seen = world.seen(drawn, law)
        yield judge(seen, drawn, LOOKS), world.exposure[law][enumeration.codes(drawn.tokens, 4)]


def _row(law: str, found: list[tuple[Score, Array]]) -> dict[str, Any]:
    scores = [score for score, _ in found]
    bits = np.concatenate([bits for _, bits in found])
    return {
        "canaries": law,
        "draws": len(found),
        "vectors": len(scores[0].worst.effects),
        "mean estimate": float(np.mean([score.worst.estimate for score in scores])),
        "surely above 0": float(np.mean([score.worst.low > 0 for score in scores])),
        "p at most .05": float(np.mean([score.worst.p_value <= NOMINAL for score in scores])),
        "negative control above 0": float(np.mean([score.void for score in scores])),
        "mean exposure, bits": float(bits.mean()),
    }


def _planted(architecture: Architecture, seed: int) -> Score:
    """Return the score of a model that was trained with a ladder planted, judged from 16 copies on."""
    rng = np.random.default_rng(seed)
    chain = _chain(rng)
    rows, public = (chain.draw(PEOPLE, WINDOW, rng) for _ in range(2))
    drawn = canaries.drawn(canaries.uniform(4, LENGTH), LADDER, rng)
    more, repeats = canaries.plant(drawn, public, rng).added
    model = _trained(
        architecture, np.concatenate([rows, more]), np.concatenate([np.ones(PEOPLE, np.int64), repeats]), seed
    )
    by = Instruments(alphabet=Tokens(), given=GIVEN, reference=markov.fit(public, 4, ORDER))
    return judge(look(model, drawn, by), drawn, Looks(least=16))


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Count false alarms of either law, and look at models that were trained with canaries."""
    named, times = (ARCHITECTURES[:1], 20) if quick else (ARCHITECTURES, DRAWS)
    found: dict[str, list[tuple[Score, Array]]] = {}
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    for seed, architecture in enumerate(named):
        world = _world(architecture, seed)
        for law in world.laws:
            share = times // len(named) + (seed < times % len(named))
            found.setdefault(law, []).extend(_scores(world, law, share, seed))
        score = _planted(architecture, 10 + seed)
        rows += [{"planted": architecture, "score, lower end": score.worst.low, **asdict(rung)} for rung in score.rungs]
        name = f"{architecture} trained with canaries, lower end of the score"
        targets.append(Target(name=name, value=score.worst.low, target=FOUND, sense="at least"))
        say(f"{architecture}: done")
    for law, scores in found.items():
        row = _row(law, scores)
        rows.append(row)
        targets += _targets(law, row)
    return Result(rows=rows, targets=targets)


def _targets(law: str, row: dict[str, Any]) -> Iterator[Target]:
    limit = NOMINAL + 2 * math.sqrt(NOMINAL * (1 - NOMINAL) / row["draws"])
    for what in ("surely above 0", "p at most .05", "negative control above 0"):
        yield Target(name=f"canaries {law}: {what}", value=row[what], target=limit, sense="at most")
    yield Target(
        name=f"canaries {law}: mean exposure, bits",
        value=row["mean exposure, bits"],
        target=NULL_MEAN_BITS * (1 + 3 / math.sqrt(row["draws"] * LADDER.size)),
        sense="at most",
    )


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
