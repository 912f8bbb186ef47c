import numpy as np
import pytest

from fedgenome.audit.linkage import dosages
from fedgenome.audit.linkage.dosages import MASK, MISSING
from fedgenome.errors import SpecError


def test_joint_counts_are_those_of_a_loop(monkeypatch):
    rng = np.random.default_rng(1)
    left, right = (rng.integers(-2, 3, (n, 17)).astype(np.int8) for n in (4, 5))
    monkeypatch.setattr(dosages, "_CELLS", 9 * 3 * 5)  # five variants at a time
    found = dosages.joint(left, right)
    for g, h, i, j in np.ndindex(3, 3, 4, 5):
        assert found[g, h, i, j] == sum(a == g and b == h for a, b in zip(left[i], right[j], strict=True))


def test_frequencies_leave_out_what_is_missing_or_masked():
    base = np.array([[2, MISSING, 0], [1, MASK, 0]], np.int8)
    np.testing.assert_allclose(dosages.frequencies(base), [3.5 / 5, 0.5, 0.5 / 5])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            np.zeros((2, 4), np.int8),
            r"expected \(people, variants\) of the same variants, got left=\(3,\), right=\(4,\)",
        ),
        (np.zeros((2, 3)), "expected right of integers, got dtype='float64'"),
        (np.full((2, 3), 3), "expected right below 3, or negative where nothing is told, got largest=3"),
    ],
)
def test_what_is_no_dosage_is_refused(other, message):
    with pytest.raises(SpecError, match=message):
        dosages.require_dosages(left=np.zeros((2, 3), np.int8), right=other)
