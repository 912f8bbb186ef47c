import numpy as np
import pytest


@pytest.fixture
def cohort():
    """(x, label, inside): 60 rows of 12 genes, the last of which never varies; five models of 20 to 40 rows."""
    rng = np.random.default_rng(3)
    label = rng.integers(0, 3, 60)
    x = rng.normal(label[:, None], 2.0, (60, 12)) + 5
    x[:, -1] = 7.0
    inside = np.stack([rng.permuted(np.arange(60) < rows) for rows in (20, 30, 30, 33, 40)])
    return x, label, inside
