"""The two forms of a rule, against each other and against autograd on one donor."""

import pytest
import torch

from fedgenome.privacy.rules import Convolution, Linear, Lookup, Scale, Total, squared_norms

DONORS, EACH = 4, 3
CONV = {"kernel": 3, "stride": 2, "padding": (1, 2), "dilation": 2}


def drawn(*shape, seed=0):
    return torch.randn(DONORS * EACH, *shape, generator=torch.Generator().manual_seed(seed))


def looked_up():
    return torch.randint(0, 5, (DONORS * EACH, 6, 1), generator=torch.Generator().manual_seed(2))


CASES = {
    "linear": (Linear(names=("w", "b"), donors=DONORS, a=drawn(7), outputs=5), drawn(5, seed=1)),
    "no bias": (Linear(names=("w",), donors=DONORS, a=drawn(7), outputs=5), drawn(5, seed=1)),
    "sequence": (Linear(names=("w", "b"), donors=DONORS, a=drawn(4, 7), outputs=5), drawn(4, 5, seed=1)),
    "picture": (Linear(names=("w", "b"), donors=DONORS, a=drawn(4, 2, 7), outputs=5), drawn(4, 2, 5, seed=1)),
    "conv": (Convolution(names=("w", "b"), donors=DONORS, a=drawn(4, 9), outputs=5, **CONV), drawn(5, 4, seed=1)),
    "look-up": (Lookup(names=("w",), donors=DONORS, a=looked_up(), entries=5, skipped=None), drawn(6, 3, seed=1)),
    "padded": (Lookup(names=("w",), donors=DONORS, a=looked_up(), entries=5, skipped=2), drawn(6, 3, seed=1)),
}

ALONE = {  # a row a donor: wide inputs, and wide outputs
    "one row": (Linear(names=("w", "b"), donors=DONORS, a=drawn(7)[:DONORS], outputs=5), drawn(5, seed=1)[:DONORS]),
    "narrow": (Linear(names=("w", "b"), donors=DONORS, a=drawn(3)[:DONORS], outputs=5), drawn(5, seed=1)[:DONORS]),
}


@pytest.mark.parametrize("together", [0, 2])
@pytest.mark.parametrize("kind", [*CASES, "one row", "narrow"])
def test_ghost_and_dense_forms_agree(kind, together):
    use, g = (CASES | ALONE)[kind]
    dense = use.dense(g, 0, DONORS)
    norms = sum(squared_norms(gradients) for gradients in dense)
    torch.testing.assert_close(use.squared_norms(g), norms, rtol=1e-5, atol=0)
    factors = torch.linspace(0, 1, DONORS, dtype=torch.float64)
    totals = [Total(torch.full((gradients.shape[1],), torch.nan, dtype=torch.float64)) for gradients in dense]
    for _ in range(2):
        use.add(g, factors, totals, together)
    for total, gradients in zip(totals, dense, strict=True):
        torch.testing.assert_close(total.end(), 2 * factors @ gradients.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", CASES)
def test_donors_taken_in_parts_are_those_taken_together(kind):
    use, g = CASES[kind]
    parts = [use.dense(g, first, first + 1) for first in range(DONORS)]
    for together, apart in zip(use.dense(g, 0, DONORS), zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(apart), together)


@pytest.mark.parametrize("channels", [-1, 1])
def test_scale_sums_products_over_positions(channels):
    a, g = drawn(4, 6), drawn(4, 6, seed=1)
    weight, bias = Scale(names=("w", "b"), donors=DONORS, a=a, channels=channels).dense(g, 1, 3)
    rows = slice(EACH, 3 * EACH)
    over = (1, 2) if channels == -1 else (1, 3)
    torch.testing.assert_close(weight, (a * g)[rows].view(2, EACH, 4, 6).sum(over))
    torch.testing.assert_close(bias, g[rows].view(2, EACH, 4, 6).sum(over))


@pytest.mark.parametrize(("length", "width", "ghost"), [(1, 4, True), (2, 40, True), (11, 40, False), (9, 40, True)])
def test_gradients_are_written_down_where_they_take_less_room(length, width, ghost):
    use = Linear(names=("w",), donors=DONORS * EACH, a=drawn(length, width), outputs=40)
    assert use.ghost is ghost


def test_squares_beyond_float32_are_finite():
    assert squared_norms(torch.full((2, 3), 3e38)).tolist() == pytest.approx([2.7e77] * 2, rel=1e-6)
