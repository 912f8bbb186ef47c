"""CrypTen holds a party's share and gives the same words back; shares stay shares of the same number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgenome.secure.crypten_runtime import unwrap, wrap


@pytest.mark.parametrize(("kind", "width"), [(np.uint32, 32), (np.uint64, 64)])
@given(data=st.data())
def test_words_come_back_as_they_were(kind, width, data):
    words = data.draw(hnp.arrays(kind, st.integers(1, 30)))
    back = unwrap(wrap(words.copy()), width)
    assert back.dtype == kind
    assert (back == words).all()


def test_short_words_stand_in_the_upper_half():
    tensor = wrap(np.array([1, 2**31], np.uint32))
    assert tensor.share.tolist() == [2**32, -(2**63)]
    assert tensor.encoder._scale == 1


@given(data=st.data())
def test_embedded_shares_add_up_to_the_signed_sum_times_2_to_the_32(data):
    masks = data.draw(hnp.arrays(np.uint32, (2, 5)))
    exact = data.draw(hnp.arrays(np.int32, 5))
    shares = [*masks, exact.view(np.uint32) - masks[0] - masks[1]]
    total = sum(wrap(share).share.numpy().view(np.uint64) for share in shares)
    assert (total.view(np.int64) == exact.astype(np.int64) << 32).all()
