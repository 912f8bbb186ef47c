"""Classes that are easy to tell apart, in one population."""

from collections.abc import Callable

import numpy as np
import pytest

from fedgenome.audit.targets import Records
from fedgenome.utility.metrics import QUICK, Settings


@pytest.fixture
def quick() -> Settings:
    """Ten trees tell these classes apart as well as two hundred, in a twentieth of the time."""
    return Settings(repeats=2, classifiers=QUICK.classifiers, trees=10, rows=100, folds=2)


@pytest.fixture
def draw() -> Callable[..., Records]:
    """``draw(n, rng, apart=2.0, classes=3)``: class k has its mean at k·apart in every gene."""

    def make(n: int, rng: np.random.Generator, apart: float = 2.0, classes: int = 3) -> Records:
        label = rng.integers(0, classes, n)
        return Records(x=rng.normal(apart * label[:, None], 1, (n, 4)), label=label)

    return make
