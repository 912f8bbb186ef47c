"""A conditional Wasserstein GAN with a gradient penalty (Gulrajani et al. 2017), with and without DP.

With privacy the critic learns by DP-SGD: the loss of a real row is its own (one fake row of its label, one point
between the two for the penalty), so that its gradient, by ``torch.func``, can be clipped alone. Opacus' hooks cannot
differentiate the penalty's gradient once more. The generator sees real rows through the critic only. Labels are
drawn from noisy counts. Without privacy nothing is clipped or noised and genes are standardised by the rows
themselves; with it, by public guesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from experiments.synthesis.loop import Facts
from fedgenome.audit.targets import Records
from fedgenome.models.parameters import initialise
from fedgenome.privacy import accounting
from fedgenome.query import Array, Mechanism
from fedgenome.study import Plan

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How it is trained. Noise is relative to a critic step's.

    Attributes:
        steps: Steps of the generator.
        critic: Steps of the critic before each.
        sampling: Poisson rate of a critic step.
        clip: L2 bound of a row's gradient.
        labels_noise: Noise of the label counts.
    """

    steps: int = 600
    critic: int = 3
    sampling: float = 0.1
    clip: float = 1.0
    labels_noise: float = 4.0
    hidden: int = 128
    latent: int = 16
    rate: float = 2e-4
    penalty: float = 10.0


PLAIN = Settings()
PRIVATE = Settings(steps=150, rate=1e-3)
MIDDLE, SPREAD = 7.5, 2.5  # public guesses at log expression


def wgan(
    rows: Records, facts: Facts, epsilon: float | None, rng: np.random.Generator, settings: Settings | None = None
) -> Records:
    """Return a table; without ``epsilon``, of a GAN without privacy."""
    chosen = settings or (PLAIN if epsilon is None else PRIVATE)
    level = 0.0 if epsilon is None else multiplier(chosen, epsilon, facts.delta)
    centre, scale = (rows.x.mean(0), rows.x.std(0) + 1e-3) if epsilon is None else (MIDDLE, SPREAD)
    labels = len(facts.schema.labels)
    counts = np.bincount(rows.label, minlength=labels) + level * chosen.labels_noise * rng.standard_normal(labels)
    weights = np.maximum(counts, 0) / max(np.maximum(counts, 0).sum(), 1e-9) if counts.max() > 0 else np.ones(labels)
    weights = weights / weights.sum()
    x = torch.from_numpy(((rows.x - centre) / scale).astype(np.float32))
    hot = functional.one_hot(torch.from_numpy(rows.label), labels).float()
    generator = _trained(x, hot, weights, facts.donors_bound, chosen, level, rng)
    label = np.sort(rng.choice(labels, facts.rows, p=weights))
    with torch.no_grad():
        made = generator(_latents(label, labels, chosen, rng)).numpy()
    return Records(
        x=np.clip(centre + scale * made, facts.schema.low, facts.schema.high).astype(np.float32), label=label
    )


def multiplier(settings: Settings, epsilon: float, delta: float) -> float:
    """Return the noise multiplier of a critic step at which everything costs ``epsilon``."""

    def plan(noise: float) -> Plan:
        counts = Mechanism(kind="gaussian", level=noise * settings.labels_noise, scope="wgan")
        steps = settings.steps * settings.critic
        return Plan(
            mechanisms=(counts, Mechanism(kind="gaussian", level=noise, sampling=settings.sampling, count=steps))
        )

    return accounting.calibrate(plan, epsilon, accounting.usable(plan(1.0), epsilon, delta))


def _net(inputs: int, hidden: int, outputs: int, rng: np.random.Generator) -> nn.Module:
    with torch.device("meta"):  # on meta nothing is drawn
        made = nn.Sequential(
            *(nn.Linear(inputs, hidden), nn.LeakyReLU(0.2)),
            *(nn.Linear(hidden, hidden), nn.LeakyReLU(0.2)),
            nn.Linear(hidden, outputs),
        )
    made = made.to_empty(device="cpu")
    initialise(made, rng)
    return made


def _latents(label: Array, labels: int, settings: Settings, rng: np.random.Generator) -> Tensor:
    z = torch.from_numpy(rng.standard_normal((len(label), settings.latent), np.float32))
    return torch.cat([z, functional.one_hot(torch.from_numpy(np.asarray(label, np.int64)), labels).float()], dim=1)


def _trained(
    x: Tensor, hot: Tensor, weights: Array, expected: int, settings: Settings, level: float, rng: np.random.Generator
) -> nn.Module:
    genes, labels = x.shape[1], hot.shape[1]
    generator = _net(settings.latent + labels, settings.hidden, genes, rng)
    critic = _net(genes + labels, settings.hidden, 1, rng)
    slow, fast = (torch.optim.Adam(net.parameters(), settings.rate, (0.0, 0.9)) for net in (generator, critic))
    batch = max(2, round(settings.sampling * expected))
    for _ in range(settings.steps):
        for _ in range(settings.critic):
            at = np.flatnonzero(rng.random(len(x)) < settings.sampling)
            with torch.no_grad():
                z = torch.from_numpy(rng.standard_normal((len(at), settings.latent), np.float32))
                fake = generator(torch.cat([z, hot[at]], dim=1))
            between = torch.from_numpy(rng.random((len(at), 1), np.float32))
            gradients = _critic_gradients(critic, (x[at], hot[at], fake, between), settings, level, rng)
            for name, parameter in critic.named_parameters():
                parameter.grad = gradients[name] / (settings.sampling * expected)
            fast.step()
        label = rng.choice(labels, batch, p=weights)
        inputs = _latents(label, labels, settings, rng)
        slow.zero_grad()
        (-critic(torch.cat([generator(inputs), inputs[:, settings.latent :]], dim=1)).mean()).backward()
        slow.step()
    return generator


def _critic_gradients(
    critic: nn.Module, rows: tuple[Tensor, ...], settings: Settings, level: float, rng: np.random.Generator
) -> Weights:
    """Return the sum of the rows' gradients, each clipped, and noised; of no row, noise alone."""
    weights = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    if not level:
        total = grad(lambda w: vmap(lambda *row: row_loss(critic, w, settings.penalty, *row))(*rows).sum())(weights)
        return dict(total)
    sums = clipped_sum(critic, weights, rows, settings)
    deviation = level * settings.clip
    return {
        name: total + deviation * torch.from_numpy(rng.standard_normal(tuple(total.shape), np.float32))
        for name, total in sums.items()
    }


def clipped_sum(
    critic: nn.Module, weights: Mapping[str, Tensor], rows: tuple[Tensor, ...], settings: Settings
) -> Weights:
    """Return the sum over rows of their gradients, each of L2 norm at most ``settings.clip``."""
    if not len(rows[0]):
        return {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def one(w: Weights, *row: Tensor) -> Tensor:
        return row_loss(critic, w, settings.penalty, *row)

    each = vmap(grad(one), in_dims=(None, *[0] * len(rows)))(dict(weights), *rows)
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in each.values()]).norm(dim=0)
    factors = (settings.clip / norms.clamp(min=1e-12)).clamp(max=1)
    return {name: torch.tensordot(factors, g, 1) for name, g in each.items()}


def row_loss(
    critic: nn.Module, weights: Weights, penalty: float, x: Tensor, hot: Tensor, fake: Tensor, between: Tensor
) -> Tensor:
    """Return one real row's loss: fake minus real score, and the penalty at a point between the two."""

    def score(row: Tensor) -> Tensor:
        told: Tensor = functional_call(critic, weights, torch.cat([row, hot])[None])
        return told.squeeze()

    slope = grad(score)(between * x + (1 - between) * fake)
    total: Tensor = score(fake) - score(x) + penalty * (slope.norm() - 1) ** 2
    return total
