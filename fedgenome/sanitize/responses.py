"""Randomised response (Warner 1965): a label is kept, or becomes any other one with equal chances."""

from __future__ import annotations

import math
from decimal import Context, Decimal

from fedgenome.errors import require
from fedgenome.streams import Stream

_BITS = 128
_MOST_EPSILON = 80.0  # beyond, another label is rarer than 2^-115: an exact label by another name


def respond(label: int, labels: int, epsilon: float, stream: Stream) -> int:
    """Return a label whose chances differ by at most e^ε between any two true ones.

    With k labels the true one is kept with chance e^ε/(e^ε + k − 1), rounded down to a multiple of 2^-128. A label
    that is none of them becomes any of them with equal chances.

    Raises:
        SpecError: no labels, or not 0 < epsilon <= 80.
    """
    require(labels >= 1, "one label or more", labels=labels)
    require(0 < epsilon <= _MOST_EPSILON, f"0 < epsilon <= {_MOST_EPSILON:g}", epsilon=epsilon)
    if not 0 <= label < labels:
        return _below(labels, stream)
    if _number(stream) < _kept(labels, epsilon) or labels == 1:
        return label
    other = _below(labels - 1, stream)
    return other + (other >= label)


def _kept(labels: int, epsilon: float) -> int:
    """Return the chance of the true label in units of 2^-128, rounded down."""
    context = Context(prec=80)
    odds = context.divide(Decimal(labels - 1), context.exp(Decimal(epsilon)))
    return int(context.divide(Decimal(1 << _BITS), context.add(Decimal(1), odds)))


def _below(n: int, stream: Stream) -> int:
    """Return a number below ``n``, each with the same chance: words beyond the last whole multiple are drawn anew."""
    most = (1 << _BITS) // n * n
    while (word := _number(stream)) >= most:
        pass
    return word % n


def _number(stream: Stream) -> int:
    return int.from_bytes(stream.read(_BITS // 8), "big")


def error_rate(labels: int, epsilon: float) -> float:
    """Return the chance that a label becomes another one.

    >>> round(error_rate(6, 2.0), 3)
    0.404
    """
    return (labels - 1) / (math.exp(min(epsilon, _MOST_EPSILON)) + labels - 1)
