"""Adversarial feature masking, the sound form: one public list of variants a release, learned in a game over sums.

The masker stays with the coordinator and sees variants, never people. It sends a list as gates; sites answer with
clipped sums of donors' gradients (:class:`~fedgenome.models.masking.game.Game`), and the gates' part goes back through
it: post-processing. So the list, but not the rows that it is used on, is under the study's guarantee.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods import by_label
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.fedavg import AtHome
from fedgenome.methods.keeping import DEAREST, Keeper, priced, top
from fedgenome.methods.rounds import MOST_ROWS, Batch, RoundOptions, Rounds, ranks, row_draws
from fedgenome.models.masking.game import Game, advantage
from fedgenome.models.parameters import flatten, initialise, load_flat
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema


class Options(RoundOptions):
    """Options of ``masking``."""

    rounds: int = Field(default=100, ge=1, le=1_000_000, description="gradient queries")
    budget: int = Field(default=20, ge=1, description="most variants that are told")
    advantage: float | None = Field(
        default=None, gt=0, description="most that identifiers may know of who a donor is, nats: shortens the list"
    )
    price: float = Field(default=0.01, ge=0, le=DEAREST, description="weight of being found beside the label's loss")
    identifiers: tuple[Literal["matcher", "convolutions", "lstm"], ...] = Field(
        default=("matcher",), min_length=1, description="who tries to find donors"
    )
    renew: int = Field(default=25, ge=1, description="rounds after which identifiers start from nothing")
    candidates: int = Field(default=64, ge=1, le=10_000, description="made people a donor is to be told from")
    error: float = Field(default=0.01, gt=0, lt=0.5, description="chance of a dosage to be wrong at the second look")
    look: float = Field(default=0.5, gt=0, description="noise of a second look at expression, in the genes' deviations")
    exploration: float = Field(default=1.0, ge=0, description="Gumbel noise of a round's list, falling to 0")
    keep_rate: float = Field(default=0.1, gt=0, description="step of the keep logits")
    ridge: float = Field(default=0.01, ge=0, description="weight of the regression's squared weights")
    people_noise: float = Field(default=1.0, gt=0, description="noise of the first question relative to a round's")
    panel: tuple[float, ...] | None = Field(
        default=None, description="public mean of each variant: then nothing is asked before the rounds"
    )
    features: dict[str, tuple[float, ...]] = Field(default={}, description="public numbers of the variants, by name")


@dataclass(frozen=True, kw_only=True)
class Masking(Rounds[Options]):
    """A masker of variants, or genes. Not for two threads at once: they would share its model.

    State: that of :class:`Rounds` (weights begin with the gates), ``mask`` of the masker (Q,) and ``score`` (genes,)
    float32, ``price`` and ``length`` of the list, float64, ``seed`` int64, and what is known of people: ``shares``,
    ``means``, ``spread``.
    """

    @classmethod
    def build(cls, spec: MethodSpec, options: Options, schema: Schema, donors_bound: int, private: bool) -> Self:
        """Return the method that ``spec`` describes.

        Raises:
            SpecError: not one number a variant, an identifier twice, a panel of expression.
        """
        given = dict(options.features) | ({} if options.panel is None else {"panel": options.panel})
        for name, values in given.items():
            field = f"methods.{spec.label}.options.{name}: one number for each of {len(schema.genes)} variants"
            require(len(values) == len(schema.genes), field, found=len(values))
        kinds = options.identifiers
        require(len(set(kinds)) == len(kinds), f"methods.{spec.label}.options.identifiers: each once", found=kinds)
        dosages = options.panel is None or (schema.dosages and all(0 <= mean <= 2 for mean in options.panel))
        require(dosages, f"methods.{spec.label}.options.panel: means of dosages, 0 to 2", dosages=schema.dosages)
        return super().build(spec, options, schema, donors_bound, private)

    @property
    def before(self) -> int:
        """One question for people's means by label, unless a public panel gives them."""
        return 1 if self.options.panel is None else 0

    @functools.cached_property
    def model(self) -> Game:
        """What sites differentiate; its shell, made once."""
        options = self.options
        return Game(
            len(self.schema.genes),
            len(self.schema.labels),
            [kind for kind in options.identifiers if kind != "matcher"],
            error=options.error if self.schema.dosages else None,
            look=options.look,
            matcher="matcher" in options.identifiers,
        )

    @functools.cached_property
    def keeper(self) -> Keeper:
        """The coordinator's masker."""
        return Keeper(len(self.schema.genes), self.options.features, self.options.keep_rate)

    @property
    def most(self) -> int:
        """Length of the list, at most."""
        return min(self.options.budget, len(self.schema.genes))

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the identifiers' weights; the regression starts from nothing."""
        initialise(self.model.networks, rng)

    def row_loss(self, model: Game, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return each row's loss in the game."""
        loss: Tensor = model(*inputs)
        return loss

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the question for means, and the rounds; nothing under trust none."""
        rounds = super().plan(noise)
        if not (rounds and self.before):
            return rounds
        level = noise * self.factor * self.options.people_noise
        return Mechanism(kind="gaussian", level=level, scope=self.name), *rounds

    def start(self, rng: np.random.Generator) -> State:
        """Return the state of :meth:`Rounds.start`, and a masker that ranks by association with the label."""
        state = super().start(rng)
        state |= self.keeper.start(rng) | {"price": np.array(self.options.price), "length": np.array(float(self.most))}
        state["seed"] = np.array(rng.integers(1 << 62), np.int64)
        panel = None if self.options.panel is None else np.array(self.options.panel)
        return self._known(state, by_label.assumed(self.schema, panel))

    def _known(self, state: State, people: by_label.People) -> State:
        """Return the state once ``people`` are known: a regression of independent variants, and the first list."""
        weights, parts = state["weights"].copy(), self.model.parts
        weights[parts["regression"]] = people.contrasts.ravel()
        weights[parts["bias"]] = np.log(people.shares)
        after = {**state, "shares": people.shares, "means": people.means, "spread": people.spread, "weights": weights}
        return self._listed(after)

    def _people(self, state: State) -> by_label.People:
        return by_label.People(shares=state["shares"], means=state["means"], spread=state["spread"])

    def _listed(self, state: State) -> State:
        """Return the state with its scores anew, and the next round's list for gates."""
        score = self.keeper.score(state, self._people(state))
        left = 1 - (int(state["step"]) - self.before) / self.options.rounds
        noise = self.options.exploration * left * self._stream(state, "list").gumbel(size=len(score))
        weights = state["weights"].copy()
        weights[: len(score)] = top(score + noise, int(state["length"]))
        return {**state, "score": score, "weights": weights}

    def _stream(self, state: State, what: Literal["list", "people", "renew"]) -> np.random.Generator:
        """Return the coordinator's own draws of a round, the same whenever they are asked for."""
        root = Root.simulation(int(state["seed"]), self.name)
        return root.stream(what, int(state["step"])).generator()

    def ask(self, state: State) -> Question | None:
        """Ask for people's means by label first, then for a gradient sum at the round's list, against made people."""
        if int(state["step"]) < self.before:
            return by_label.question(self.schema, self.mechanism(0))
        return super().ask(state)

    def payload(self, state: State) -> dict[str, Array]:
        """Return weights, units of the rows, the price of being found, made people."""
        people = self._people(state)
        made = people.make(self.schema, self.options.candidates, self._stream(state, "people"))
        units = {"centre": people.centre, "spread": people.spread, "price": state["price"].astype(np.float32)[None]}
        return super().payload(state) | units | {"candidates": made}

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return sums by label (no payload), or the clipped gradient sum at the payload's list and weights."""
        if not question.payload:
            self.require_genes(sample)
            return by_label.answer(self.schema, question, sample)
        return super().answer(question, sample, rng)

    @property
    def sent(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a round's payload: weights, units of the rows, the price of being found, made people."""
        genes = len(self.schema.genes)
        units = {"centre": (genes,), "spread": (genes,), "price": (1,)}
        return {**super().sent, **units, "candidates": (self.options.candidates, genes)}

    def asked_of(self, question: Question, sample: Shard, rng: DonorStreams) -> Batch:
        """Return the rows that take part, to be told from the payload's people."""
        shown = {name: array for name, array in question.payload.items() if name != "weights"}
        self.model.face(**{name: torch.from_numpy(array.copy()) for name, array in shown.items()})
        return super().asked_of(question, sample, rng)

    def batch(self, sample: Shard, rng: DonorStreams) -> Batch:
        """Return rows, the draws of their second looks, and labels; complete rows with a known label count."""
        self.model.place()
        rank = ranks(sample.donor)
        kept = np.flatnonzero(rank < MOST_ROWS)
        x, label, labels = sample.x[kept], sample.label[kept], len(self.schema.labels)
        looks = row_draws(sample, rank, rng, x.shape[1])[kept]
        return Batch(
            inputs=(x, looks, np.where(label < labels, label, 0)),
            donor=sample.donor[kept],
            mask=sample.mask[kept] & np.isfinite(x).all(1) & (label < labels),
        )

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state once people's means are known, or after a round."""
        if question.payload:
            return super().learn(state, question, total)
        after = {**state, "step": np.array(1, np.int64)}
        return self._known(after, by_label.learned(self.schema, np.asarray(total, np.float64)))

    def stepped(self, state: State, gradient: npt.NDArray[np.float32]) -> State:
        """Return the state after a round: regression and identifiers learn, then the masker, then a list is drawn."""
        parts, own = self.model.parts, gradient.copy()
        own[parts["gates"]] = own[parts["tally"]] = 0
        weights = state["weights"][parts["regression"]]
        shown = np.tile(state["weights"][parts["gates"]], len(self.schema.labels))
        own[parts["regression"]] += self.options.ridge * shown * weights  # what is not shown keeps what is known of it
        after = super().stepped(state, own)
        after |= self.keeper.stepped(after, self._people(after), gradient[parts["gates"]])
        if self.options.advantage is not None:
            known = advantage(gradient[parts["tally"]], self.options.candidates)
            after |= priced(after, known - self.options.advantage, self.most)
        if (int(after["step"]) - self.before) % self.options.renew == 0:
            after |= self._renewed(after)
        return self._listed(after)

    def _renewed(self, state: State) -> State:
        """Return weights with identifiers that start from nothing, and no memory of their steps."""
        load_flat(self.model, state["weights"])
        self.initialise(self._stream(state, "renew"))
        first, second = state["first"].copy(), state["second"].copy()
        first[self.model.parts["networks"]] = second[self.model.parts["networks"]] = 0
        return {"weights": flatten(self.model), "first": first, "second": second}

    def release(self, state: State) -> dict[str, Array]:
        """Return ``told`` (genes,), 1 where a variant is told, and ``score`` (genes,), the keep logits, both float32.

        A shorter list is the top of ``score``. Neither the regression nor any identifier leaves.
        """
        self.require_finished(state)
        return {"told": top(state["score"], int(state["length"])), "score": state["score"]}

    def masked(self, arrays: Mapping[str, Array], x: Array) -> Array:
        """Return rows with what the list does not name withheld, float32 (n, genes)."""
        return np.where(arrays["told"] > 0, x, np.nan).astype(np.float32)


class MaskingAtHome(AtHome[Options], Masking):
    """The masker of :class:`Masking`, trained by several steps at every site a round."""

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after a site's means, which count as its public share of donors, or after a round."""
        people = self.donors_bound / self.sites if question.unit == "site" and not question.payload else 1.0
        return super().learn(state, question, np.asarray(total, np.float64) * people)
