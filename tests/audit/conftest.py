"""A small cohort without donors' secrets: two classes, genes with class means, one range."""

from collections.abc import Callable

import numpy as np
import pytest

from fedgenome.audit.targets import Records

LOW, HIGH = 0.0, 8.0


@pytest.fixture
def draw() -> Callable[..., Records]:
    """``draw(n, rng, genes=6)``: n independent people of one population."""

    def make(n: int, rng: np.random.Generator, genes: int = 6) -> Records:
        label = rng.integers(0, 2, n)
        x = rng.normal(3 + label[:, None], 1, (n, genes)).clip(LOW, HIGH)
        return Records(x=x.astype(np.float32), label=label)

    return make


@pytest.fixture
def copying() -> Callable[..., Records]:
    """``copying(table, members, share)``: the table with its first rows replaced by members."""

    def make(table: Records, members: Records, share: float) -> Records:
        n = round(share * len(members))
        x, label = table.x.copy(), table.label.copy()
        x[:n], label[:n] = members.x[:n], members.label[:n]
        return Records(x=x, label=label)

    return make
