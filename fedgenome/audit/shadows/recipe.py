"""How a classifier is trained: the target's recipe, which its shadows follow to the letter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fedgenome.errors import require

Activation = Literal["relu", "sigmoid", "tanh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A dropout-free perceptron and its training. Without hidden layers it is softmax regression.

    Attributes:
        steps: Updates.
        batch: Rows of a batch; under Poisson sampling the number expected.
        hidden: Widths of the hidden layers.
        activation: Between layers.
        sampling: ``shuffled``: rows in random order, each once before any comes again, ``batch`` at a time.
            ``poisson``: every row by a coin of its own; sums are divided by ``batch``, whatever came.
        optimiser: Adam (decays .9 and .999), or SGD.
        rate: Learning rate.
        momentum: Of SGD.
        decay: L2 penalty, added to the gradient (halved square of all weights, biases too).
        scale: ``own``: every model centres and scales by the rows it is trained on, and no others (which no
            ε of the target's covers). ``none``: rows are scaled already, by public numbers.
        clip: L2 bound of one row's gradient; None: DP-SGD is off.
        noise: Noise multiplier: standard deviation on the sum, in units of ``clip``.
    """

    steps: int
    batch: int
    hidden: tuple[int, ...] = (64,)
    activation: Activation = "relu"
    sampling: Literal["shuffled", "poisson"] = "shuffled"
    optimiser: Literal["adam", "sgd"] = "adam"
    rate: float = 1e-3
    momentum: float = 0.0
    decay: float = 0.0
    scale: Literal["own", "none"] = "own"
    clip: float | None = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        require(self.steps >= 1 and self.batch >= 1, "steps, batch >= 1", steps=self.steps, batch=self.batch)
        require(all(width >= 1 for width in self.hidden), "widths >= 1", hidden=self.hidden)
        require(0 < self.rate < math.inf, "0 < rate < inf", rate=self.rate)
        require(0 <= self.momentum < 1, "0 <= momentum < 1", momentum=self.momentum)
        require(0 <= self.decay < math.inf, "0 <= decay < inf", decay=self.decay)
        require(self.optimiser == "sgd" or self.momentum == 0, "momentum for SGD only", momentum=self.momentum)
        require(self.clip is None or 0 < self.clip < math.inf, "0 < clip < inf", clip=self.clip)
        rule = "0 <= noise < inf, and a clip norm wherever there is noise"
        require(0 <= self.noise < math.inf and (self.clip is not None or self.noise == 0), rule, noise=self.noise)
