"""The end of what a test refutes."""

from __future__ import annotations

from collections.abc import Callable

from fedgenome.errors import require

MOST = 2.0**10  # no ε and no μ beyond it means anything
_STEPS = 48  # halvings: to a relative 1e-14 of the last bracket


def require_level(level: float) -> float:
    """Return 1 − ``level``, the chance of a false alarm that a bound may have.

    Raises:
        SpecError: unless 0.5 < level < 1. Below, p-values need not grow with ε.
    """
    require(0.5 < level < 1, "0.5 < level < 1", level=level)
    return 1 - level


def largest(refuted: Callable[[float], bool], start: float = 0.0) -> float:
    """Return the end of the values from ``start`` on that are ``refuted``, from below; ``start`` if it is not.

    A value is refuted only if all smaller ones are: then the end is a confidence bound, and no value beyond it
    has been looked at for its own sake. ``MOST`` where everything is refuted.
    """
    if not refuted(start):
        return start
    low, high = start, max(1.0, 2 * start)
    while refuted(high):
        if high >= MOST:
            return MOST
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
