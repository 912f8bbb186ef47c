"""Noise of metric privacy on the lattice Z^K (Chatzikokolakis et al. 2013): P(z) ∝ exp(−rate·‖z‖₂).

In the continuum that is a uniform direction times a radius of Gamma(K, 1/rate), and a mixture of normals whose
variance v is of Gamma((K + 1)/2, rate²/2). Here the mixture is one of *discrete* Gaussians, drawn exactly on integers
(:mod:`fedgenome.secure.noise`), over variances v₀·exp(2hj) with j whole: the trapezoidal rule in log σ. With
R = rate·‖z‖ and any 0 < θ < π/2, Poisson's summation bounds its relative error against exp(−R) by

    2·Σ_k≥1 exp(−2πkθ/h' + R·(1 − cos θ)) / √cos θ        h' = 2h, the step in log v

(contour of ∫ exp(y/2 + 2πiky/h' − R·cosh y) dy moved by iθ). The step is chosen so that this is at most 2^-38 up to
the radius that all but 1e-32 of the noise keeps. Nothing in it is rounded after it was drawn.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import special

from fedgenome.errors import require
from fedgenome.secure import noise
from fedgenome.streams import Stream

FEWEST = 10  # coordinates: with fewer, variances too small for an exact sampler are not rare enough
_WIDE = 1e-32  # share of the noise beyond the radii that the mixture is right at
_DEEP = 75.0  # nats below the likeliest variance where the mixture is cut: under 3e-33 each
_RIGHT = 38  # bits that the mixture is right to, before float arithmetic
_SLACK = 2.0**-36  # what that and the weights' arithmetic (2e4 numbers of 2^-52) can add to a log ratio
_NUMBER = 2e-31  # noise.Sampler.total_variation is below it (tested)
_PICK_BITS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Vectors of Z^K whose chance falls exponentially in their length.

    Attributes:
        coordinates: K >= 10.
        rate: Of exp(−rate·‖z‖₂), in grid steps.
        sigmas: Standard deviations of the discrete Gaussians.
        ends: Up to which 128-bit number each of them is picked.
    """

    coordinates: int
    rate: float
    sigmas: tuple[float, ...] = field(repr=False)
    ends: tuple[int, ...] = field(repr=False)

    @property
    def slack(self) -> float:
        """By how much a log ratio of two probabilities may pass rate · (difference of lengths)."""
        return _SLACK

    @property
    def delta(self) -> float:
        """Bound on the total variation to a distribution that keeps :attr:`slack` everywhere, a vector."""
        cut = 4 * math.exp(-_DEEP) + len(self.ends) * 2.0**-_PICK_BITS + 2 * _WIDE
        return cut + self.coordinates * _NUMBER

    def draw(self, streams: Sequence[Stream]) -> npt.NDArray[np.int64]:
        """Return one vector a stream, (len(streams), K)."""
        out = np.empty((len(streams), self.coordinates), np.int64)
        picked = [bisect.bisect_right(self.ends, _number(stream)) for stream in streams]
        for which in sorted(set(picked)):  # one table at a time
            sampler = noise.sampler(self.sigmas[which])
            for row in [i for i, one in enumerate(picked) if one == which]:
                out[row] = sampler.draw(self.coordinates, streams[row])
        return out


@functools.lru_cache(maxsize=16)
def metric(coordinates: int, rate: float) -> Metric:
    """Return the noise of ``coordinates`` numbers at ``rate``.

    Raises:
        SpecError: fewer than 10 coordinates, or a rate so large that the grid is too coarse for it.
    """
    require(coordinates >= FEWEST, f"{FEWEST} coordinates or more", coordinates=coordinates)
    step, half = _step(coordinates), (coordinates + 1) / 2
    # Log weight of log v = log v₀ + t is half·(t − e^t + 1), largest at 0.
    below = next(j for j in itertools.count() if half * (j * step - 1 + math.exp(-j * step)) > _DEEP)
    above = next(j for j in itertools.count() if half * (math.exp(j * step) - 1 - j * step) > _DEEP)
    places = [j * step for j in range(-below, above + 1)]
    sigmas = tuple(math.sqrt(2 * half) / rate * math.exp(t / 2) for t in places)
    require(sigmas[0] >= noise.LEAST_SIGMA, "a grid finer than the noise", least_sigma=sigmas[0])
    weights = [math.exp(half * (t - math.expm1(t))) for t in places]
    return Metric(coordinates=coordinates, rate=rate, sigmas=sigmas, ends=_ends(weights))


def _step(coordinates: int) -> float:
    """Return the step in log v at which the mixture is right to 2^-38 at every radius that matters."""
    widest = float(special.gammainccinv(coordinates, _WIDE)) + 1
    theta = min(1.0, math.sqrt(2 * _RIGHT / widest))
    room = _RIGHT * math.log(2) + 2 + widest * (1 - math.cos(theta))  # 2·Σ … / √cos 1 is under e² of the first term
    return 2 * math.pi * theta / room


def _ends(weights: Sequence[float]) -> tuple[int, ...]:
    """Return cumulative weights as multiples of 2^-128 that end at 1; what rounding leaves is the likeliest's."""
    total = math.fsum(weights)
    shares = [int(math.ldexp(weight / total, _PICK_BITS)) for weight in weights]
    shares[int(np.argmax(weights))] += (1 << _PICK_BITS) - sum(shares)
    return tuple(itertools.accumulate(shares))


def _number(stream: Stream) -> int:
    return int.from_bytes(stream.read(_PICK_BITS // 8), "big")
