import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.audit.bounds.search import MOST, largest, require_level
from fedgenome.errors import SpecError


@given(st.floats(0, 500), st.floats(0, 3))
def test_end_of_what_is_refuted_is_found_from_below(end, start):
    found = largest(lambda x: x < end, start)
    assert found == start if end <= start else found <= end
    assert end <= start or found == pytest.approx(end, rel=1e-9, abs=1e-9)


def test_what_is_always_refuted_ends_at_the_most():
    assert largest(lambda x: True) == MOST


@pytest.mark.parametrize("level", [0.5, 1.0, 0.05])
def test_levels_at_which_p_values_need_not_grow_are_refused(level):
    with pytest.raises(SpecError, match=r"0.5 < level < 1, got level="):
        require_level(level)
